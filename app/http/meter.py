"""The meter: whether a request still fits into the rates, told from memory nearly always.

The buckets stand in Redis. This process leases a little of each one that is in use, about what the
next tenth of a second needs and at most a sixteenth of the bucket, spends it from memory, asks for
more before it is gone and gives back what lies idle, but for a crumb, so that who comes now and
then finds it. Only who finds nothing leased waits for Redis.

All processes together never spend more than the bucket lets through. They may spend less: by what
others hold leased at that moment, for as long as they hold it: a second at most, a crumb longer.

While Redis is away each process keeps its part of every rate by itself: the rate divided by the
processes that answer the API. docs/decisions/0037 says what that does to the rates.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from uuid import uuid4

import structlog

from app.activities import is_cancelled, until_one_fails
from app.errors import ExchangeLost
from app.metrics import Metrics
from app.rates import Rate
from app.storage import api_processes, installation
from app.storage.pool import DATABASE_ERRORS, Pool
from app.storage.rate_buckets import Ask, RateBuckets, Told, open_buckets

log = structlog.get_logger()

_AHEAD_SECONDS = 0.1
"""A lease is what is needed so long."""
_SHARE = 16
"""One part of so many is the most of a bucket that a process leases, or one request."""
_SHORTEST_LOOK_SECONDS = 0.02
_LEASE_SECONDS = 1.0
"""So long after it last asked a process may spend what it leased."""
_IDLE_SECONDS = 0.2
"""What lies unused so long is given back, but for a crumb."""
_CRUMB = 256
"""One part of so many of a bucket may stay leased longer."""
_CRUMB_LEASE_SECONDS = 30.0
_CRUMB_IDLE_SECONDS = 20.0
"""What lies unused so long is given back whole; what is used is leased anew."""
_FRESH_SECONDS = 0.1
"""So long what Redis said of a bucket that is used up is believed."""
_FORGET_SECONDS = 5.0
_MOST_ASKS = 256
_LEAST = 32
"""Leased at least, where a part is so much: a burst waits for one answer, not for ten."""
_PATIENCE_SECONDS = 1.0
"""So long who finds nothing leased asks again, while others are quicker to what came."""
_LEAST_ANSWERS = 4
"""So often at least it hears an answer: a process that stood still is no reason to refuse."""
_RETRY_SECONDS = 0.5
_COUNT_SECONDS = 1.0
_COUNTED_WITHIN_SECONDS = 2.0


class Fill(NamedTuple):
    """How full a bucket is, as far as is known here."""

    remaining: int
    full_in_seconds: int


class Bucket:
    """What this process knows and holds of one bucket."""

    __slots__ = (
        "contacted",
        "debt",
        "ends",
        "key",
        "lease",
        "level",
        "rate",
        "seen",
        "spent",
        "target",
        "used",
        "waiters",
    )

    def __init__(self, key: str, rate: Rate, level: float, now: float) -> None:
        self.key = key
        self.rate = rate
        self.level = level
        """What nobody held at `seen`; without Redis, what is left of this process's own part."""
        self.seen = now
        self.lease = 0
        self.spent = 0
        """Of the lease, since Redis last heard of it."""
        self.ends = 0.0
        """From when on the lease may not be spent."""
        self.debt = 0
        """Spent without a lease."""
        self.target = 1
        self.contacted = self.used = now
        self.waiters: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def crumb(self) -> int:
        """So little may stay leased while nothing is asked."""
        return self.rate.quota // _CRUMB

    def is_due(self, now: float) -> bool:
        """Whether what is leased, spent or owed has lain long enough to speak of it."""
        if not (self.lease or self.spent or self.debt):
            return False
        is_crumb = self.lease <= self.crumb and not self.debt
        return now - self.contacted >= (_CRUMB_IDLE_SECONDS if is_crumb else _IDLE_SECONDS)

    def free(self, now: float) -> int:
        """What may be spent of the lease."""
        return max(0, self.lease - self.spent) if now < self.ends else 0

    def left(self, now: float, parts: int = 1) -> float:
        """What nobody holds by now; `parts` is into how many the bucket is divided."""
        whole = max(1.0, self.rate.quota / parts)
        grown = self.level + (now - self.seen) * self.rate.per_second / parts
        return min(whole, grown)

    def forget_lease(self) -> None:
        """Spend nothing more of it."""
        self.lease = self.spent = 0
        self.ends = 0.0


class Meter:
    """One process's view of all rates. Without Redis it keeps them alone."""

    def __init__(
        self,
        pool: Pool,
        redis_url: str | None,
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._url = redis_url
        self._metrics = metrics
        self._monotonic = monotonic
        self._process_id = uuid4()
        self._leases = 0
        """Raised when Redis was lost: what was leased before is not spent any more."""
        self._known: dict[str, Bucket] = {}
        self._asking: dict[str, Bucket] = {}
        self._asked = asyncio.Event()
        self._swept_at = monotonic()
        self.processes = 1
        """How many processes answer the API."""
        self._said_lost = False
        self.central = False
        """Whether the rates are those of all processes together."""

    # -------------------------------------------------------------- spending

    async def take(self, rates: Sequence[tuple[str, Rate]], count: int) -> tuple[str, Rate] | None:
        """Spend `count` of every bucket named, or of none: then the first one that lacks them."""
        for key, rate in rates:
            if count > rate.quota:
                return key, rate
        patient_until = self._monotonic() + _PATIENCE_SECONDS
        answers = 0
        while True:
            now = self._monotonic()
            buckets = [self._bucket(key, rate, now) for key, rate in rates]
            has = self._leases_enough if self.central else self._keeps_enough
            lacking = [bucket for bucket in buckets if not has(bucket, count, now)]
            if not lacking:
                self._spend(buckets, count, now)
                return None
            empty = self._surely_empty(lacking, count, now)
            is_patient = now < patient_until or answers < _LEAST_ANSWERS
            if empty is not None or not is_patient:
                refusing = empty or lacking[0]
                return refusing.key, refusing.rate
            await self._refilled(lacking, count)
            answers += 1

    def take_now(self, rates: Sequence[tuple[str, Rate]], count: int) -> bool:
        """As `take`, if it can be done without a wait; else nothing is spent."""
        now = self._monotonic()
        buckets = [self._bucket(key, rate, now) for key, rate in rates]
        has = self._leases_enough if self.central else self._keeps_enough
        if not all(has(bucket, count, now) for bucket in buckets):
            return False
        self._spend(buckets, count, now)
        return True

    def fill(self, key: str, rate: Rate) -> Fill:
        """How full a bucket is."""
        now = self._monotonic()
        bucket = self._bucket(key, rate, now)
        parts = 1 if self.central else self.processes
        left = min(rate.quota, max(0.0, bucket.left(now, parts)) * parts + bucket.free(now))
        return Fill(int(left), math.ceil((rate.quota - left) / rate.per_second))

    def wait_seconds(self, key: str, rate: Rate, count: int) -> int:
        """In about how long `count` may be there, at least a second."""
        missing = count - self.fill(key, rate).remaining
        return max(1, min(rate.window_seconds, math.ceil(missing / rate.per_second)))

    def _spend(self, buckets: Sequence[Bucket], count: int, now: float) -> None:
        for bucket in buckets:
            bucket.used = now
            if self.central:
                bucket.spent += count
                if bucket.lease - bucket.spent < bucket.target >> 1:
                    self._ask(bucket)
            else:
                bucket.level = bucket.left(now, self.processes) - count
                bucket.seen = now
                if self._url is not None:
                    bucket.debt += count

    def _surely_empty(self, lacking: Sequence[Bucket], count: int, now: float) -> Bucket | None:
        """The first bucket that need not be asked about: Redis spoke of it a moment ago."""
        if not self.central:
            return lacking[0]
        return next((bucket for bucket in lacking if _used_up(bucket, count, now)), None)

    def _leases_enough(self, bucket: Bucket, count: int, now: float) -> bool:
        return bucket.free(now) >= count

    def _keeps_enough(self, bucket: Bucket, count: int, now: float) -> bool:
        """What comes at once may be more than this process's part, which is then owed: none is
        refused for ever because there are many processes."""
        part = max(1.0, bucket.rate.quota / self.processes)
        return bucket.left(now, self.processes) >= min(count, part)

    def _bucket(self, key: str, rate: Rate, now: float) -> Bucket:
        bucket = self._known.get(key)
        if bucket is None:
            part = rate.quota if self.central else max(1.0, rate.quota / self.processes)
            seen = now - _FRESH_SECONDS if self.central else now
            bucket = self._known[key] = Bucket(key, rate, part, seen)
        bucket.rate = rate
        return bucket

    def _ask(self, bucket: Bucket) -> None:
        self._asking[bucket.key] = bucket
        self._asked.set()

    async def _refilled(self, buckets: Sequence[Bucket], count: int) -> None:
        """Wait until Redis has answered about these, or is lost."""
        answers: list[asyncio.Future[None]] = []
        for bucket in buckets:
            answers.append(asyncio.get_running_loop().create_future())
            bucket.waiters.append((count, answers[-1]))
            self._ask(bucket)
        for answered in answers:
            await answered

    # -------------------------------------------------------------- leasing

    async def run(self) -> None:
        """Count the processes, and lease from Redis where there is one, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._count_for_ever())
                if self._url is not None:
                    group.create_task(self._lease_for_ever(self._url))
        finally:
            self._lose()

    async def leave(self) -> None:
        """The process ends: the others need not count it."""
        try:
            async with (
                asyncio.timeout(_COUNTED_WITHIN_SECONDS),
                self._pool.acquire() as connection,
            ):
                await api_processes.delete(connection, self._process_id)
        except DATABASE_ERRORS as error:
            log.warning("rates.not_left", reason=f"{type(error).__name__}: {error}")

    async def count_processes(self) -> None:
        """Write this process down and count those that answer the API. Raises what the database
        raises; the count stays as it was."""
        async with asyncio.timeout(_COUNTED_WITHIN_SECONDS), self._pool.acquire() as connection:
            self.processes = await api_processes.beat(connection, self._process_id)
        self._metrics.api_processes(self.processes)

    async def _count_for_ever(self) -> None:
        while True:
            try:
                await self.count_processes()
            except DATABASE_ERRORS as error:
                log.warning("rates.not_counted", reason=f"{type(error).__name__}: {error}")
            self._forget(self._monotonic())
            await asyncio.sleep(_COUNT_SECONDS)

    async def _lease_for_ever(self, url: str) -> None:
        name = await self._database_name()
        while True:
            try:
                await until_one_fails(self._lease(url, name))
            except ExchangeLost as error:
                self._say_lost(str(error))
            self._lose()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _database_name(self) -> str:
        while True:
            try:
                async with self._pool.acquire() as connection:
                    return await installation.name(connection)
            except DATABASE_ERRORS as error:
                self._say_lost(f"{type(error).__name__}: {error}")
            await asyncio.sleep(_RETRY_SECONDS)

    def _say_lost(self, reason: str) -> None:
        """Once a loss: Redis is tried again twice a second."""
        if self.central or not self._said_lost:
            log.warning("rates.local", processes=self.processes, reason=reason)
        self._said_lost = True

    async def _lease(self, url: str, name: str) -> None:
        """Lease while Redis answers. Raises ExchangeLost."""
        async with open_buckets(url, name) as redis:
            await redis.exchange(self._lease_name, [])
            self._begin()
            while not is_cancelled():
                due = self._due(self._monotonic())
                if due:
                    await self._settle(redis, due)
                if not self._asking:
                    await self._something_asked()

    async def _something_asked(self) -> None:
        """Wait until somebody asks, or until it is time to look at what lies idle."""
        self._asked.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AHEAD_SECONDS):
                await self._asked.wait()

    def _due(self, now: float) -> list[Bucket]:
        """The buckets to speak of with Redis, at most so many at once."""
        if now - self._swept_at >= _AHEAD_SECONDS:
            self._swept_at = now
            for bucket in self._known.values():
                if bucket.is_due(now):
                    self._asking[bucket.key] = bucket
        return [self._asking.pop(key) for key in list(self._asking)[:_MOST_ASKS]]

    def _forget(self, now: float) -> None:
        """Let go of buckets that nobody has used for a while, and that hold nothing."""
        parts = 1 if self.central else self.processes
        for bucket in list(self._known.values()):
            held = bucket.lease or bucket.spent or bucket.debt or bucket.waiters
            full = self.central or bucket.left(now, parts) >= bucket.rate.quota / parts
            if not held and full and now - bucket.used > _FORGET_SECONDS:
                del self._known[bucket.key]

    async def _settle(self, redis: RateBuckets, due: Sequence[Bucket]) -> None:
        """Tell Redis what was spent of these buckets and lease anew. Raises ExchangeLost."""
        started = self._monotonic()
        waiting = [bucket.waiters for bucket in due]
        asks = [_ask_of(bucket, started) for bucket in due]
        for bucket in due:
            bucket.waiters = []
        try:
            told = await redis.exchange(self._lease_name, asks)
            for bucket, ask, each in zip(due, asks, told, strict=True):
                self._hear(bucket, ask, each, started)
        finally:
            for _, answered in (waiter for waiters in waiting for waiter in waiters):
                if not answered.done():
                    answered.set_result(None)

    def _hear(self, bucket: Bucket, ask: Ask, told: Told, started: float) -> None:
        bucket.lease, bucket.level = told.lease, told.level
        bucket.spent -= ask.spent
        bucket.debt -= ask.debt
        bucket.ends = started + ask.term_seconds
        bucket.contacted = started
        bucket.seen = self._monotonic()

    @property
    def _lease_name(self) -> str:
        return f"{self._process_id.hex}:{self._leases}"

    def _begin(self) -> None:
        """Redis answers: what was spent meanwhile is owed to it."""
        self.central = True
        now = self._monotonic()
        for bucket in self._known.values():
            bucket.level, bucket.seen = bucket.rate.quota, now - _FRESH_SECONDS
        self._metrics.rates_central(shared=True)
        log.info("rates.central")

    def _lose(self) -> None:
        """Redis is away: nothing leased counts any more, each process keeps its part alone."""
        now, was_central = self._monotonic(), self.central
        self.central = False
        self._leases += 1
        self._metrics.rates_central(shared=False)
        self._asking.clear()
        for bucket in self._known.values():
            if was_central:
                part = max(1.0, bucket.rate.quota / self.processes)
                bucket.level = min(part, bucket.left(now) / self.processes)
                bucket.seen = now
            bucket.forget_lease()
            for _, answered in bucket.waiters:
                if not answered.done():
                    answered.set_result(None)
            bucket.waiters = []


def _used_up(bucket: Bucket, count: int, now: float) -> bool:
    """Whether Redis said so a moment ago."""
    return now - bucket.seen < _FRESH_SECONDS and bucket.left(now) + bucket.free(now) < count


def _ask_of(bucket: Bucket, now: float) -> Ask:
    """What to ask for. What is given back is not spent from this moment on."""
    looked = max(now - bucket.contacted, _SHORTEST_LOOK_SECONDS)
    most = max(1, bucket.rate.quota // _SHARE)
    needed = math.ceil(bucket.spent / looked * _AHEAD_SECONDS)
    bucket.target = min(most, max(_LEAST, needed))
    waiting = sum(count for count, _ in bucket.waiters)
    unused = 0.0 if waiting else now - bucket.used
    want = min(bucket.rate.quota, bucket.target + waiting)
    if unused >= _IDLE_SECONDS:
        want = min(want, bucket.crumb) if unused < _CRUMB_IDLE_SECONDS else 0
    bucket.lease = bucket.spent + min(bucket.free(now), want)
    need = min((count for count, _ in bucket.waiters), default=0)
    term = _CRUMB_LEASE_SECONDS if want <= bucket.crumb else _LEASE_SECONDS
    return Ask(bucket.key, bucket.rate, bucket.spent, bucket.debt, need, want, term)
