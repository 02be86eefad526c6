"""What works on one sheet for a serving process, in a process of its own: see `desk.py`.

It reads a line of JSON and then the sheet, and prints one line of JSON. The first line holds
secrets, so it comes through the pipe and stands in no list of processes. The pipe stays open until
the answer: when it closes, who asked is dead, and so is this process at once.
"""

import asyncio
import gc
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.administration import price_lists, routes, schedules
from app.administration.desk import SIMULATE, busy_with, desk_of
from app.administration.operator import Operator, Scope
from app.administration.plans import Sheet, Wanted
from app.administration.simulate import Window, simulate
from app.children import step_back
from app.errors import DatabaseUnavailable, JalurError, Problem
from app.lifecycle.trade import DealerLimits
from app.sealing import Sealer
from app.storage import drafts
from app.storage.pool import DATABASE_ERRORS, Pool, PoolSettings, open_pool
from dealers.registry import load
from routing.sheet import Form

_CONNECTIONS = 3


@dataclass(frozen=True, slots=True)
class _Job:
    """An errand as it came through the pipe."""

    means: Mapping[str, Any]
    errand: Mapping[str, Any]
    content: bytes

    @property
    def by(self) -> Operator:
        given = self.errand["by"]
        scopes = frozenset(Scope(each) for each in given["scopes"])
        return Operator(given["name"], given["origin"], scopes)

    @property
    def sheet(self) -> Sheet:
        return Sheet(self.content, Form(self.errand["form"]))

    @property
    def wanted(self) -> Wanted:
        return Wanted(**self.errand["wanted"])

    @property
    def now(self) -> datetime:
        return datetime.fromisoformat(self.errand["now"])

    @property
    def limits(self) -> DealerLimits:
        means = self.means
        return DealerLimits(load(), Sealer(means["secret_keys"]), means["longest_call_seconds"])


_Verb = Callable[[Pool, _Job], Awaitable[dict[str, Any]]]


async def _diff(pool: Pool, job: _Job) -> dict[str, Any]:
    return (await routes.diff(pool, job.by, job.sheet, job.wanted, job.now)).document()


async def _apply(pool: Pool, job: _Job) -> dict[str, Any]:
    return (await routes.apply(pool, job.by, job.sheet, job.wanted, job.now)).document()


async def _put_off(pool: Pool, job: _Job) -> dict[str, Any]:
    at = datetime.fromisoformat(job.errand["at"])
    return (await schedules.put_off(pool, job.by, job.sheet, job.wanted, at, job.now)).document()


async def _roll_back(pool: Pool, job: _Job) -> dict[str, Any]:
    version, applied = await routes.roll_back(
        pool, job.by, job.errand["version"], job.wanted, job.now
    )
    return {"to": version, **applied.document()}


async def _apply_due(pool: Pool, job: _Job) -> dict[str, Any]:
    done = await schedules.apply_due(pool, UUID(job.errand["schedule_id"]), job.now)
    return {} if done is None else schedules.document(done)


async def _pull(pool: Pool, job: _Job) -> dict[str, Any]:
    dealer_id = job.errand["dealer_id"]
    pulled = await price_lists.pull(pool, job.by, dealer_id, job.limits, job.now)
    if not job.errand["apply"]:
        planned = await routes.diff(pool, job.by, pulled.sheet, job.wanted, job.now)
        return {**pulled.document(), **planned.document()}
    applied = await price_lists.apply(pool, job.by, pulled, job.wanted, job.now)
    return {**pulled.document(), **applied.document()}


async def _simulate(pool: Pool, job: _Job) -> dict[str, Any]:
    sheet = None if job.errand["in_force"] else job.sheet
    since, until = (datetime.fromisoformat(job.errand[name]) for name in ("since", "until"))
    window = Window(since, until)
    return (await simulate(pool, job.by, sheet, job.wanted, window, job.now)).document()


_VERBS: Mapping[str, _Verb] = {
    "diff": _diff,
    "apply": _apply,
    "put_off": _put_off,
    "roll_back": _roll_back,
    "apply_due": _apply_due,
    "pull": _pull,
    SIMULATE: _simulate,
}


async def _run(job: _Job) -> dict[str, Any]:
    means, desk = job.means, desk_of(job.errand["verb"])
    settings = PoolSettings(means["dsn"], means["role"], max_size=_CONNECTIONS, steps_back=True)
    pool = await open_pool(settings)
    try:
        async with pool.acquire() as at_the_desk:
            # Held until this process ends, however it ends.
            if not await drafts.take_desk(at_the_desk, desk):
                raise busy_with(desk)
            return await _VERBS[job.errand["verb"]](pool, job)
    except DATABASE_ERRORS as error:
        raise DatabaseUnavailable(f"the database refused: {error}") from error
    finally:
        pool.terminate()


def _read_job() -> _Job:
    means = json.loads(sys.stdin.buffer.readline())
    content = sys.stdin.buffer.read(means["length"])
    if len(content) != means["length"]:
        raise DatabaseUnavailable("the sheet did not come whole; nothing was changed")
    threading.Thread(target=_end_with_who_asked, daemon=True).start()
    return _Job(means, means["errand"], content)


def _end_with_who_asked() -> None:
    """A table that nobody waits for any more must not come into force minutes later."""
    # Not through sys.stdin, whose lock would be held when this process ends by itself.
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _refusal(error: JalurError) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": type(error).__name__, "detail": str(error)}
    if isinstance(error, Problem):
        faults = [(each.field, each.message) for each in error.errors]
        told |= {"code": error.code, "detail": error.detail, "errors": faults}
    return told


def main() -> None:
    """Do one errand."""
    step_back()
    # Rows come and go by the million and leave no cycles behind.
    gc.disable()
    try:
        told: dict[str, Any] = {"done": asyncio.run(_run(_read_job()))}
    except JalurError as error:
        told = _refusal(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller must be told
        told = _refusal(DatabaseUnavailable(f"{type(error).__name__}: {error}"))
    sys.stdout.write(json.dumps(told, default=str) + "\n")


if __name__ == "__main__":
    main()
