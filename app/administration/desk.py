"""The desk where a serving process has sheets worked on: a process of its own for each.

A sheet of a million lines takes the better part of a minute. In this process it would hold up
every order, in a thread too. So the sheet goes through a pipe to a child (`desk_job.py`), which
works on it at a lower priority, and what comes back is small. One sheet at a time: the second is
refused at once, whichever process it comes to. Simulations, which take longer, have a desk of their
own, so that no change of the table waits for one.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, cast

from app import errors
from app.administration.operator import Operator
from app.administration.plans import Wanted
from app.children import run_child
from app.errors import Conflict, DatabaseUnavailable, FieldError, JalurError, Problem
from app.storage.drafts import Desk
from app.storage.pool import PoolSettings
from routing.sheet import Form

_JOB = "app.administration.desk_job"
BUSY = "table-busy"
SIMULATE = "simulate"


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be done with a sheet, or with one that is kept. What a verb does not need is
    left out."""

    verb: str
    now: datetime
    by: Operator | None = None
    wanted: Wanted | None = None
    form: Form = Form.CSV
    at: datetime | None = None
    """Put it off to this moment."""
    version: int | None = None
    schedule_id: str | None = None
    dealer_id: str | None = None
    apply: bool = False
    since: datetime | None = None
    """The orders to replay: from here on."""
    until: datetime | None = None
    in_force: bool = False
    """Replay them on the table in force alone: there is no sheet."""


def desk_of(verb: str) -> Desk:
    """Where an errand is done."""
    return Desk.SIMULATIONS if verb == SIMULATE else Desk.SHEETS


class TableDesk:
    """One process's desks."""

    def __init__(
        self, database: PoolSettings, secret_keys: Sequence[str], longest_call_seconds: float
    ) -> None:
        self._means = {
            "dsn": database.dsn,
            "role": database.role,
            "secret_keys": list(secret_keys),
            "longest_call_seconds": longest_call_seconds,
        }
        self._taken: set[Desk] = set()

    @property
    def busy(self) -> bool:
        """Whether a sheet is being worked on here."""
        return Desk.SHEETS in self._taken

    def require_free(self, verb: str) -> None:
        """Raise Conflict (`table-busy`) before a sheet is even received."""
        desk = desk_of(verb)
        if desk in self._taken:
            raise busy_with(desk)

    async def run(self, errand: Errand, sheet: Sequence[bytes] = ()) -> dict[str, Any]:
        """Have an errand done, with the sheet in pieces. Returns its document.

        Raises what the errand raises, and Conflict (`table-busy`).
        """
        self.require_free(errand.verb)
        desk = desk_of(errand.verb)
        self._taken.add(desk)
        try:
            return await self._run(errand, sheet)
        finally:
            self._taken.remove(desk)

    async def _run(self, errand: Errand, sheet: Sequence[bytes]) -> dict[str, Any]:
        # The length tells a sheet that came whole from one whose sender died on the way.
        job = {**self._means, "errand": asdict(errand), "length": sum(map(len, sheet))}
        first = json.dumps(job, default=_plain).encode() + b"\n"
        return _outcome(*await run_child(_JOB, [first, *sheet]))


def busy_with(desk: Desk) -> Conflict:
    """What to raise where somebody is at this desk."""
    what = "sheet is being worked on" if desk is Desk.SHEETS else "simulation is running"
    return Conflict(BUSY, f"Another {what}: try again in a minute.")


def _outcome(told: bytes, status: int | None) -> dict[str, Any]:
    try:
        answer = json.loads(told)
    except ValueError:
        raise DatabaseUnavailable(
            f"the work on the sheet ended with status {status} and no word; `jalur audit list` "
            "tells whether it was done"
        ) from None
    if "done" in answer:
        return answer["done"]
    raise _raised(answer)


def _raised(answer: dict[str, Any]) -> JalurError:
    kind = getattr(errors, answer["kind"])
    if not issubclass(kind, Problem):
        return kind(answer["detail"])
    faults = [FieldError(field, message) for field, message in answer["errors"]]
    return kind(answer["code"], answer["detail"], errors=faults)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(cast("frozenset[str]", value))
    raise TypeError(f"{type(value).__name__} cannot be handed over")
