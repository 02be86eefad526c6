"""Census: which processes buy, and each one's part of the dealers' limits.

About once a second a process writes itself down in PostgreSQL with what it holds of every dealer's
places and rate. It takes its fair part, and no more than the others leave; the rows are written one
process at a time, so all that is held never adds up to more than a dealer's limits. What a process
holds too much it keeps only as long as its calls are under way.

Who cannot write itself down for a while stops claiming, and is missed by the others some time after
that. docs/decisions/0025 says what that does to the limits.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

import structlog

from app.lifecycle.admit import Admission, boottime_seconds, whole_of
from app.lifecycle.route import Router
from app.lifecycle.trade import DealerAccess
from app.metrics import Metrics
from app.storage import processes
from app.storage.pool import DATABASE_ERRORS, Pool
from app.storage.processes import Holding, Process
from routing.division import Part, fair, granted

log = structlog.get_logger()

_BEAT_SECONDS = 1.0
VALID_SECONDS = 3.0
"""So long after it last wrote itself down a process claims."""
MISSED_SECONDS = 5.0
"""A process whose row stood still for so long, while we wrote ours, is gone."""
_LONGEST_BEAT_SECONDS = 2.0
_LEAVE_SECONDS = 1.0


@dataclass(slots=True)
class _Watch:
    """When each other process last wrote itself down, as this one saw it."""

    seen: dict[UUID, tuple[object, float]] = field(default_factory=dict[UUID, tuple[object, float]])
    """Its beat, and since when it stands at that, by the monotonic clock."""
    looked_at: float = float("-inf")

    def missing(self, others: Sequence[Process], forgotten: timedelta, now: float) -> set[UUID]:
        """Those that are gone.

        A row must stand still before our eyes, since after an outage of the database everybody's
        row is old; unless it is so old that no call of its process is under way any more.
        """
        if now - self.looked_at > VALID_SECONDS:
            self.seen.clear()
        self.looked_at = now
        known = self.seen
        self.seen = {
            each.process_id: known[each.process_id]
            if each.process_id in known and known[each.process_id][0] == each.beat_at
            else (each.beat_at, now)
            for each in others
        }
        return {
            each.process_id
            for each in others
            if now - self.seen[each.process_id][1] >= MISSED_SECONDS or each.age >= forgotten
        }


class Census:
    """One process's line in the census, and its part of the dealers' limits."""

    def __init__(
        self,
        pool: Pool,
        router: Router,
        admission: Admission,
        metrics: Metrics,
        longest_act_seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._router = router
        self._admission = admission
        self._metrics = metrics
        self._forgotten = timedelta(seconds=longest_act_seconds)
        self._monotonic = monotonic
        self._watch = _Watch()
        self.process_id = uuid4()

    async def join(self) -> None:
        """Begin with what the others leave; where the database is away, with nothing."""
        self._admission.divide({}, 0)
        await self._try()

    async def run(self) -> None:
        """Take part until cancelled."""
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            await self._try()

    async def leave(self) -> None:
        """Nothing is claimed any more and nothing is under way: the others may have all of it."""
        self._admission.divide({}, 0)
        try:
            async with asyncio.timeout(_LEAVE_SECONDS), self._pool.acquire() as connection:
                await processes.delete(connection, self.process_id)
        except DATABASE_ERRORS as error:
            log.warning("process.not_left", reason=f"{type(error).__name__}: {error}")

    async def beat(self) -> None:
        """Write this process down with its part. Raises what the database raises."""
        started = boottime_seconds()
        async with (
            asyncio.timeout(_LONGEST_BEAT_SECONDS),
            self._pool.acquire() as connection,
            connection.transaction(),
        ):
            await processes.lock(connection)
            found = await processes.read(connection)
            others = [each for each in found if each.process_id != self.process_id]
            gone = self._watch.missing(others, self._forgotten, self._monotonic())
            others = [each for each in others if each.process_id not in gone]
            parts = self._parts(others)
            # Before the commit, from which on the others may go by it.
            self._admission.narrow(parts)
            await processes.write(connection, self.process_id, self._holds(parts), list(gone))
        self._admission.divide(parts, started + VALID_SECONDS)
        self._metrics.buying_processes(len(others) + 1)
        if gone:
            log.warning("process.missed", processes=[str(each) for each in gone])

    async def _try(self) -> None:
        try:
            await self.beat()
        except DATABASE_ERRORS as error:
            self._metrics.duty_failed("census")
            log.warning("process.not_counted", reason=f"{type(error).__name__}: {error}")
        except Exception:
            self._metrics.duty_failed("census")
            log.exception("process.not_counted")

    def _parts(self, others: Sequence[Process]) -> dict[str, Part]:
        """What this process may do at each dealer from now on."""
        ids = sorted(str(each) for each in [self.process_id, *(o.process_id for o in others)])
        return {
            dealer_id: self._part(access, ids, others)
            for dealer_id, access in self._router.trade.dealers.items()
        }

    def _part(self, access: DealerAccess, ids: Sequence[str], others: Sequence[Process]) -> Part:
        dealer_id, whole, own = access.row.dealer_id, whole_of(access), str(self.process_id)
        held = [each.holds[dealer_id] for each in others if dealer_id in each.holds]
        return Part(
            granted(
                whole.places,
                fair(whole.places, ids, own, dealer_id),
                sum(each.places for each in held),
            ),
            granted(
                whole.units,
                fair(whole.units, ids, own, dealer_id),
                sum(each.units for each in held),
            ),
        )

    def _holds(self, parts: Mapping[str, Part]) -> dict[str, Holding]:
        """What this process holds from now on: its part, and what is still under way beyond it."""
        holds: dict[str, Holding] = {}
        for dealer_id, access in self._router.trade.dealers.items():
            pace, part = self._admission.pace(access), parts[dealer_id]
            places = max(part.places, pace.in_use)
            limit = min(pace.limit, part.places)
            holds[dealer_id] = Holding(places, part.units, limit, pace.in_use)
        return holds
