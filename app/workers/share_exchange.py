"""The exchange of market shares: each second what this process counted goes to the others, what
they counted comes in, and every doubt is settled by counting anew from the database.

Nothing waits for it. docs/decisions/0019 has the data's way and what can be miscounted how long.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import structlog

from app.activities import is_cancelled, until_one_fails
from app.errors import ExchangeLost, JalurError
from app.lifecycle.route import Router
from app.metrics import Metrics
from app.storage import installation, purchase_hours
from app.storage.pool import DATABASE_ERRORS, LOCKED, Pool
from app.storage.purchase_hours import HOUR, LATE, UNCOMMITTED
from app.storage.share_stream import News, Position, Received, ShareStream, open_stream
from routing.monopoly import largest_difference

log = structlog.get_logger()

_PERIOD_SECONDS = 1.0
_GAP_SECONDS = 0.02
"""Between two messages: many may ask at the same moment."""
_ANSWERS_SECONDS = 1.5
"""How long answers are waited for before counting anew."""
_LIVING_SECONDS = 3.0
"""Who spoke within this is asked."""
_SILENT_SECONDS = 5.0
"""Who has not spoken for this long is gone, with what it had not told."""
_PROMPT_SECONDS = 2.0
"""A process that is connected later than this after its start may have been counted already."""
_RETRY_SECONDS = 1.0
_MOST_ROWS = 500
_LEAVE_SECONDS = 1.0
_REST = 20
"""Counting anew takes at most one part in so many of the time."""


class Why(StrEnum):
    """Why shares are counted anew."""

    START = "start"
    CONNECTED = "connected"
    GAP = "gap"
    SILENCE = "silence"
    GROUPS = "groups"
    CORRECTION = "correction"


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """Where to, and how often all is counted anew without any doubt."""

    redis_url: str | None = None
    correction_seconds: float = 300.0
    retry_for_seconds: float = 600.0
    """How long after an order's acceptance its last purchase may be sent."""


class ShareExchange:
    """One process's part in the exchange. Without Redis it only counts anew now and then."""

    def __init__(
        self,
        pool: Pool,
        router: Router,
        metrics: Metrics,
        settings: ExchangeSettings,
        random_fraction: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._router = router
        self._metrics = metrics
        self._settings = settings
        self._random_fraction = random_fraction
        self._me = secrets.token_hex(8)
        self._stream: ShareStream | None = None
        self._started_at = self._came_back_at = time.monotonic()
        # What is told.
        self._number = 0
        self._unconfirmed: News | None = None
        self._telling = asyncio.Lock()
        self._asked = asyncio.Event()
        # What is heard.
        self._read = Position()
        self._numbers: dict[str, int] = {}
        """Each process's last number, as far as this one knows all of its messages to that."""
        self._spoke_at: dict[str, float] = {}
        self._heard_up_to: dict[str, Position] = {}
        self._hearing_out = False
        self._somebody_spoke = asyncio.Event()
        # Doubts.
        self._doubt: Why | None = None
        self._doubted = asyncio.Event()
        self._busy_seconds = 0.0
        self._counted_by: tuple[int, dict[str, str], int | None] | None = None
        router.tally.told = settings.redis_url is not None

    @property
    def age_seconds(self) -> float | None:
        """How long ago this process last read what it had told itself; None without Redis."""
        if self._settings.redis_url is None:
            return None
        return time.monotonic() - self._came_back_at

    @property
    def peers(self) -> int:
        """How many other processes it knows all messages of."""
        return len(self._numbers)

    async def run(self) -> None:
        """Exchange until cancelled."""
        self._counted_by = self._see_what_is_counted_by()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settle_doubts())
            group.create_task(self._watch())
            if self._settings.redis_url is not None:
                group.create_task(self._stay_connected(self._settings.redis_url))

    async def count_anew(self, why: Why) -> None:
        """Count the shares anew. Raises what the database raises, and JalurError."""
        await self._write_hours()
        await self._hear_out(why)
        before, started = self._router.shares, time.monotonic()
        await self._router.rebuild_shares(self._pool, datetime.now(UTC))
        await self._router.rebuild_sales(self._pool, datetime.now(UTC))
        self._busy_seconds = time.monotonic() - started
        self._metrics.shares_counted_anew(why, self._busy_seconds)
        if why is Why.CORRECTION:
            minimum = self._router.trade.snapshot.policy.minimum_sample_orders
            now = datetime.now(UTC)
            difference = largest_difference(before, self._router.shares, now, minimum)
            self._metrics.shares_corrected(difference)

    async def take_leave(self) -> None:
        """Tell what is left to tell, and that nothing more comes; given up after a second."""
        if self._settings.redis_url is None:
            return
        with contextlib.suppress(ExchangeLost, TimeoutError, *DATABASE_ERRORS):
            async with asyncio.timeout(_LEAVE_SECONDS):
                async with open_stream(self._settings.redis_url, await self._name()) as stream:
                    self._drop_what_came_late()
                    await self._tell(stream, leaves=True)

    # -------------------------------------------------------------- doubts

    def doubt(self, why: Why) -> None:
        """Have the shares counted anew soon."""
        if self._doubt is None or why is Why.CONNECTED:
            self._doubt = why
        self._doubted.set()

    async def _settle_doubts(self) -> None:
        while not is_cancelled():
            why = await self._next_doubt()
            try:
                await self.count_anew(why)
            except (*DATABASE_ERRORS, JalurError) as error:
                self._metrics.duty_failed("shares")
                log.warning(
                    "shares.not_counted", why=why, reason=f"{type(error).__name__}: {error}"
                )
                self.doubt(why)
            except Exception:
                self._metrics.duty_failed("shares")
                log.exception("shares.not_counted", why=why)
                self.doubt(why)
            # Varied, so that processes with the same doubt do not all ask at once.
            await asyncio.sleep(max(0.5 + self._random_fraction(), self._busy_seconds * _REST))

    async def _next_doubt(self) -> Why:
        varied = 0.75 + 0.5 * self._random_fraction()
        try:
            async with asyncio.timeout(self._settings.correction_seconds * varied):
                await self._doubted.wait()
        except TimeoutError:
            return Why.CORRECTION
        self._doubted.clear()
        why, self._doubt = self._doubt, None
        return why or Why.CORRECTION

    def _see_what_is_counted_by(self) -> tuple[int, dict[str, str], int | None] | None:
        """The window, the owner groups, and the revision of routes that state quotas: what
        a route sold before it had one is not known."""
        if not self._router.loaded:
            return None
        trade = self._router.trade
        snapshot = trade.snapshot
        groups = {dealer_id: each.owner_group for dealer_id, each in snapshot.dealers.items()}
        quotas = trade.goods.revision if snapshot.image.has_quotas else None
        return snapshot.policy.window_days, groups, quotas

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            self._miss_the_silent()
            self._look_at_table()

    def _look_at_table(self) -> None:
        """Doubt the shares when the table in force has other owner groups, quotas or window."""
        found = self._see_what_is_counted_by()
        if found != self._counted_by:
            self._counted_by = found
            self.doubt(Why.GROUPS)

    def _miss_the_silent(self) -> None:
        before = time.monotonic() - _SILENT_SECONDS
        for sender in [each for each, at in self._spoke_at.items() if at < before]:
            self._forget(sender)
            self.doubt(Why.SILENCE)

    # -------------------------------------------------------------- counting anew

    async def _write_hours(self) -> None:
        """Write the hours that are over and not written yet, one a commit.

        Another process that writes the same one at this moment does it for all.
        """
        days = self._router.trade.snapshot.policy.window_days
        sent_by = timedelta(seconds=self._settings.retry_for_seconds)
        try:
            async with self._pool.acquire() as connection:
                # Everybody's clock: ours may be ahead and take an hour to be over that is not.
                now = await purchase_hours.moment(connection)
                last = now - (sent_by + LATE + UNCOMMITTED) - HOUR
                wanted = purchase_hours.hours(now - timedelta(days=days), last)
                found = await purchase_hours.review(connection, wanted)
                for hour in found.due:
                    await purchase_hours.write(connection, hour)
                await purchase_hours.vouch(connection, wanted, found.seen_at)
        except LOCKED:
            log.debug("shares.hours_written_elsewhere")

    async def _hear_out(self, why: Why) -> None:
        """Have every other process tell what it has, so that all of it is before the look.

        Who does not answer is not known any more.
        """
        stream = self._stream
        if stream is None:
            return
        self._hearing_out = True
        if why is Why.CONNECTED:
            # Others may be connecting too; within the period each that is there has spoken.
            await asyncio.sleep(_PERIOD_SECONDS * 1.2)
        try:
            asked_at = await self._tell(stream, asks=True)
            await self._wait_for_answers(asked_at)
            answered = self._answered(asked_at)
            for sender in [each for each in self._numbers if each not in answered]:
                del self._numbers[sender]
        except ExchangeLost:
            self._numbers.clear()
        finally:
            self._hearing_out = False

    async def _wait_for_answers(self, asked_at: Position) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANSWERS_SECONDS):
                while not self._living() <= self._answered(asked_at):
                    self._somebody_spoke.clear()
                    await self._somebody_spoke.wait()

    def _answered(self, asked_at: Position) -> set[str]:
        return {sender for sender, read in self._heard_up_to.items() if read >= asked_at}

    def _living(self) -> set[str]:
        since = time.monotonic() - _LIVING_SECONDS
        return {sender for sender, at in self._spoke_at.items() if at >= since}

    # -------------------------------------------------------------- telling

    async def _name(self) -> str:
        async with self._pool.acquire() as connection:
            return await installation.name(connection)

    async def _stay_connected(self, redis_url: str) -> None:
        while not is_cancelled():
            try:
                async with open_stream(redis_url, await self._name()) as stream:
                    await self._exchange(stream)
            except (ExchangeLost, *DATABASE_ERRORS) as error:
                if self._stream is not None:
                    log.warning("shares.exchange_lost", reason=str(error))
            except Exception:
                self._metrics.duty_failed("exchange")
                log.exception("shares.exchange_failed")
            self._stream = None
            await asyncio.sleep(_RETRY_SECONDS)

    async def _exchange(self, stream: ShareStream) -> None:
        self._read = await stream.end()
        if is_cancelled():
            return
        self._numbers.clear()
        self._spoke_at.clear()
        self._heard_up_to.clear()
        self._drop_what_came_late()
        self._stream = stream
        self._hearing_out = True
        self.doubt(Why.CONNECTED)
        await until_one_fails(self._tell_regularly(stream), self._listen(stream))

    def _drop_what_came_late(self) -> None:
        """What was never told for long may have been counted by others from the database: they
        are to see that a message is missing, and count anew."""
        late = time.monotonic() - self._started_at > _PROMPT_SECONDS
        if self._number == 0 and late and self._router.tally.forget():
            self._number = 1

    async def _tell_regularly(self, stream: ShareStream) -> None:
        while not is_cancelled():
            await self._tell(stream)
            await asyncio.sleep(_GAP_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PERIOD_SECONDS - _GAP_SECONDS):
                    await self._asked.wait()
            self._asked.clear()

    async def _tell(
        self, stream: ShareStream, *, asks: bool = False, leaves: bool = False
    ) -> Position:
        """Tell all there is, in one message or more. Returns the last one's place.

        Raises ExchangeLost; what is not confirmed then is sent again, under its number.
        """
        async with self._telling:
            if self._unconfirmed is not None:
                await self._append(stream, self._unconfirmed)
            while True:
                news = self._next_news(asks=asks, leaves=leaves)
                position = await self._append(stream, news)
                if not self._router.tally:
                    return position

    def _next_news(self, *, asks: bool, leaves: bool) -> News:
        tally = self._router.tally
        if tally.dropped:
            tally.dropped = False
            self._number += 1
        rows = tally.take(_MOST_ROWS)
        self._number += 1
        more = bool(tally)
        read = Position() if more else self._read
        return News(self._me, self._number, read, asks, leaves and not more, rows)

    async def _append(self, stream: ShareStream, news: News) -> Position:
        self._unconfirmed = news
        position = await stream.append(news)
        self._unconfirmed = None
        self._metrics.share_rows("published", len(news.rows))
        return position

    # -------------------------------------------------------------- hearing

    async def _listen(self, stream: ShareStream) -> None:
        since = time.monotonic()
        while not is_cancelled():
            for received in await stream.after(self._read, _PERIOD_SECONDS):
                self._hear(received)
            if time.monotonic() - max(self._came_back_at, since) > _SILENT_SECONDS:
                raise ExchangeLost("what this process tells does not come back")

    def _hear(self, received: Received) -> None:
        self._read = received.position
        news = received.news
        if news is None:
            self.doubt(Why.GAP)
        elif news.sender == self._me:
            self._came_back_at = time.monotonic()
        else:
            self._hear_another(news)

    def _hear_another(self, news: News) -> None:
        self._spoke_at[news.sender] = time.monotonic()
        self._heard_up_to[news.sender] = news.read
        self._somebody_spoke.set()
        if news.asks:
            self._asked.set()
        last = self._numbers.get(news.sender, 0)
        if news.number <= last:
            return
        if news.number != last + 1 and not self._hearing_out:
            self.doubt(Why.GAP)
        self._numbers[news.sender] = news.number
        self._router.hear(news.rows)
        self._metrics.share_rows("taken_in", len(news.rows))
        if news.leaves:
            self._forget(news.sender)

    def _forget(self, sender: str) -> None:
        self._numbers.pop(sender, None)
        self._spoke_at.pop(sender, None)
        self._heard_up_to.pop(sender, None)
