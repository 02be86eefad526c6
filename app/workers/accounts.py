"""Accounts: our balances at dealers pulled now and then, and what all processes know of them.

Each dealer is asked by one process at a time, which holds its row for a while; what was taken since
is counted anew every ten seconds, by whichever process comes first. Every process reads, each
second, what is left and which prices rose, and writes down what it heard itself.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from app.errors import JalurError
from app.lifecycle.account import PULLED, Balanced, LastHours, Rules, count_anew, record_balance
from app.lifecycle.admit import Admission, Kind, boottime_seconds
from app.lifecycle.call import DealerCalls
from app.lifecycle.route import Router
from app.lifecycle.sessions import NoSession
from app.lifecycle.trade import DealerAccess
from app.metrics import Metrics
from app.runway import runway_hours
from app.storage import dealer_accounts, price_rises, purchase_hours
from app.storage.dealer_accounts import Standing
from app.storage.pool import DATABASE_ERRORS, Pool
from app.storage.purchase_hours import HOUR
from dealers.contract import Request, UnreadableAnswer

log = structlog.get_logger()

_PERIOD_SECONDS = 1.0
_PLACES = 8
"""How many dealers one process asks at once."""
_LEASE = timedelta(minutes=3)
"""Longer than any call."""
_TURN_SECONDS = 30.0
_AFTER_FAILURE_SECONDS = 60.0
_REST = 20
"""Counting anew takes at most one part in so many of the time."""


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """How often balances are pulled, and how long a route whose price rose stays muted."""

    balance_interval_seconds: float = 300.0
    rise_mute_seconds: float = 86_400.0


class Accounts:
    """One process's part."""

    def __init__(
        self,
        pool: Pool,
        router: Router,
        calls: DealerCalls,
        admission: Admission,
        metrics: Metrics,
        settings: AccountSettings,
        random_fraction: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._router = router
        self._calls = calls
        self._admission = admission
        self._metrics = metrics
        self._settings = settings
        self._random_fraction = random_fraction
        self._last_hours = LastHours()

    # -------------------------------------------------------------- every process

    async def exchange(self) -> None:
        """Write down what this process heard, and take up what stands."""
        await self._save_refusals()
        watch = self._router.price_watch
        unsaved = watch.take_unsaved()
        async with self._pool.acquire() as connection:
            if unsaved:
                lasts = timedelta(seconds=self._settings.rise_mute_seconds)
                await price_rises.note(connection, unsaved, lasts)
            watch.saved(unsaved, await price_rises.standing(connection))
            standings = await dealer_accounts.standings(connection)
        self._metrics.price_risen_routes(watch.count)
        if self._router.loaded:
            self._take_up(standings)

    async def take_leave(self) -> None:
        """Write down what was heard last; given up after a second."""
        with contextlib.suppress(TimeoutError, *DATABASE_ERRORS):
            async with asyncio.timeout(_PERIOD_SECONDS):
                await self.exchange()

    async def _save_refusals(self) -> None:
        floats = self._router.floats
        refusals = floats.take_refusals()
        if not refusals:
            return
        try:
            async with self._pool.acquire() as connection:
                await dealer_accounts.note_refusals(connection, refusals)
        except BaseException:
            floats.keep_refusals(refusals)
            raise

    def _take_up(self, standings: list[Standing]) -> None:
        dealers = self._router.trade.dealers
        known = [row for row in standings if row.dealer_id in dealers]
        reserves = {name: access.float_terms.reserve for name, access in dealers.items()}
        self._router.floats.take_up(known, reserves)
        self._metrics.dealer_accounts(
            [self._shown(row, dealers[row.dealer_id]) for row in known if row.rupiah is not None]
        )

    def _shown(self, row: Standing, access: DealerAccess) -> tuple[str, dict[str, float | None]]:
        """A dealer's account as the metrics show it."""
        told = row.rupiah or 0
        expected = told - row.spent - row.in_flight
        difference = 0
        if row.expected_low is not None and row.expected_high is not None:
            difference = min(told - row.expected_low, 0) or max(told - row.expected_high, 0)
        reserve = access.float_terms.reserve
        hours = runway_hours(expected - reserve, row.hourly, datetime.now(UTC).minute)
        return row.dealer_id, {
            "told": told,
            "expected": expected,
            "difference": difference,
            "differs": abs(difference) > access.float_terms.tolerance,
            "in_flight": row.in_flight,
            "age": row.balance_age,
            "runway": None if hours is None else hours * HOUR.total_seconds(),
        }

    # -------------------------------------------------------------- processes that work

    async def run(self) -> None:
        """Pull balances and count, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pull_regularly())
            group.create_task(self._count_regularly())

    async def _pull_regularly(self) -> None:
        while True:
            await self._do("balances", self.pull_due)
            await asyncio.sleep(self._varied(_PERIOD_SECONDS))

    async def _count_regularly(self) -> None:
        while True:
            started = time.monotonic()
            await self._do("floats", self.count)
            took = time.monotonic() - started
            await asyncio.sleep(max(self._varied(_PERIOD_SECONDS), took * _REST))

    async def _do(self, name: str, duty: Callable[[], Awaitable[None]]) -> None:
        try:
            await duty()
        except (*DATABASE_ERRORS, JalurError) as error:
            self._metrics.duty_failed(name)
            log.warning("upkeep.failed", duty=name, reason=f"{type(error).__name__}: {error}")
        except Exception:
            self._metrics.duty_failed(name)
            log.exception("upkeep.failed", duty=name)
        else:
            self._metrics.duty_done(name, datetime.now(UTC).timestamp())

    async def count(self) -> None:
        """Count what was taken since the balances that nobody else counts from."""
        async with self._pool.acquire() as connection, connection.transaction():
            await count_anew(connection)

    async def pull_due(self) -> None:
        """Ask the dealers whose balance is due, some at once."""
        # A dealer's only place or token may be another process's: that one asks.
        dealers = {
            dealer_id: access
            for dealer_id, access in self._router.trade.dealers.items()
            if self._admission.has_part(access)
        }
        async with self._pool.acquire() as connection:
            await dealer_accounts.open_missing(connection)
            claimed = await dealer_accounts.claim_pulls(connection, dealers, _PLACES, _LEASE)
        async with asyncio.TaskGroup() as group:
            for dealer_id, asked_at in claimed:
                group.create_task(self._pull(dealers[dealer_id], asked_at))

    async def _pull(self, access: DealerAccess, asked_at: datetime) -> None:
        """Ask one dealer. Never raises: the lease ends what fails here."""
        dealer_id = access.row.dealer_id
        try:
            told = await self._ask(access)
            async with self._pool.acquire() as connection:
                if isinstance(told, str | None):
                    pause = self._pause(access, failed=told is not None)
                    await dealer_accounts.put_off(connection, dealer_id, pause, told)
                    balanced = None
                else:
                    now = await purchase_hours.moment(connection)
                    hourly = await self._last_hours.of(connection, dealer_id, now)
                    async with connection.transaction():
                        balanced = await record_balance(
                            *(connection, dealer_id, told, PULLED, asked_at, hourly),
                            self._rules(access),
                        )
        except DATABASE_ERRORS as error:
            log.warning("balance.lost", dealer_id=dealer_id, reason=type(error).__name__)
            return
        self._tell(dealer_id, told, balanced)

    async def _ask(self, access: DealerAccess) -> int | str | None:
        """The balance, or why there is none, once the dealer has room for the question."""
        if not await self._admission.turn(access, Kind.QUESTION, _TURN_SECONDS):
            return "no-room: purchases and checks take all that the dealer bears"
        try:
            return await self._ask_now(access)
        finally:
            self._admission.leave(access.row.dealer_id, Kind.QUESTION)

    async def _ask_now(self, access: DealerAccess) -> int | str | None:
        """The balance, why there is none, or None where the protocol has no such question."""
        sessions, until = self._calls.sessions, boottime_seconds() + access.row.timeout_seconds
        try:
            account = await sessions.account(access, until)
            request: Request | None = access.dialect.balance(account)
        except NoSession as refusal:
            return f"no-session: {refusal}"
        except Exception as error:  # noqa: BLE001 - whatever the protocol tripped on
            return f"not-built: {type(error).__name__}"
        if request is None:
            return None
        called = await self._calls.call(access, request, Kind.QUESTION)
        if called.answer is None:
            return f"{called.report.code}: {called.report.message}"
        sessions.heard(access, account, called.answer)
        try:
            return access.dialect.read_balance(account, called.answer).rupiah
        except UnreadableAnswer as error:
            return f"unreadable: {error}"

    def _tell(self, dealer_id: str, told: int | str | None, balanced: Balanced | None) -> None:
        if isinstance(told, str):
            self._metrics.balance_pulled(dealer_id, "failed")
            log.warning("balance.not_pulled", dealer_id=dealer_id, reason=told)
        elif balanced is not None:
            self._metrics.balance_pulled(dealer_id, "agrees" if balanced.agrees else "differs")
            fields = {"dealer_id": dealer_id, "rupiah": balanced.seen.rupiah}
            if balanced.agrees:
                log.debug("balance.pulled", **fields)
            else:
                log.warning("balance.differs", **fields, difference=balanced.difference)

    def _rules(self, access: DealerAccess) -> Rules:
        pause = self._pause(access, failed=False)
        return Rules(access.float_terms.tolerance, pause)

    def _pause(self, access: DealerAccess, *, failed: bool) -> timedelta:
        """How long until the dealer is asked again, varied a little."""
        stated = access.float_terms.interval_seconds
        wanted = self._settings.balance_interval_seconds if stated is None else stated
        if failed:
            wanted = min(wanted, _AFTER_FAILURE_SECONDS)
        least = access.capabilities.balance_interval_seconds
        return timedelta(seconds=max(self._varied(wanted), least, _PERIOD_SECONDS))

    def _varied(self, seconds: float) -> float:
        return seconds * (0.9 + 0.2 * self._random_fraction())
