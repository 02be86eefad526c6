"""Reconcile: ask dealers about purchases whose outcome is not known, as each protocol declares.

A check is claimed like a purchase: in one commit the fence rises and the lease begins. What was
`sent` and whose lease ran out becomes `unknown` by that very claim.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from app.errors import DatabaseUnavailable, Overloaded
from app.hops import passed_on
from app.lifecycle.admit import Admission, Kind, boottime_seconds
from app.lifecycle.call import DealerCalls
from app.lifecycle.execute import Lease
from app.lifecycle.outset import Looks
from app.lifecycle.route import Router
from app.lifecycle.sessions import NoSession
from app.lifecycle.settle import Settler, too_old_to_resend
from app.lifecycle.trade import DealerAccess
from app.storage import attempts
from app.storage.attempts import DueAttempt
from app.storage.pool import DATABASE_ERRORS, Pool
from app.storage.work_queues import WorkQueue
from app.words import OPEN_ATTEMPT, AttemptState, Source, Word
from dealers.contract import Outcome, Recovery, Report, TopUp

log = structlog.get_logger()

_ELSEWHERE = 16
"""How many purchases of a dealer that is not configured are looked at in one claim."""


@dataclass(frozen=True, slots=True)
class Check:
    """A committed check, claimed at `started` (CLOCK_BOOTTIME seconds)."""

    due: DueAttempt
    started: float


class Reconciler:
    """Claims and makes this process's share of the checks."""

    def __init__(
        self,
        pool: Pool,
        router: Router,
        settler: Settler,
        calls: DealerCalls,
        admission: Admission,
        lease: Lease,
        lane_groups: Sequence[Sequence[int]],
        installation_id: UUID,
    ) -> None:
        self._pool = pool
        self._router = router
        self._settler = settler
        self._calls = calls
        self._admission = admission
        self._lease = lease
        self._lane_groups = lane_groups
        self._installation_id = str(installation_id)
        self.looks = Looks(attempts.first_due)

    async def claim(self, limit: int) -> list[Check]:
        """Claim up to `limit` attempts that are due in each lane group.

        Each has its place and token, taken before the claim.
        """
        checks: list[Check] = []
        queues = self.looks.queues()
        for lanes in self._lane_groups:
            started = boottime_seconds()
            places = self._places(limit)
            taken = +Counter(places)
            for dealer_id, count in taken.items():
                self._admission.take(dealer_id, Kind.QUESTION, count)
            due: list[DueAttempt] = []
            try:
                for queue in queues:
                    due += await self._claim_group(queue, lanes, limit, _left(places, due))
                self._note_what_is_left(due, places)
            except DATABASE_ERRORS as error:
                # What was claimed already is committed: it is asked all the same.
                log.warning("claim.failed", reason=f"{type(error).__name__}: {error}")
            finally:
                self._account_for(due, places, taken)
                for dealer_id, count in taken.items():
                    self._admission.give_back(dealer_id, Kind.QUESTION, count)
            checks += [Check(each, started) for each in due]
        return checks

    async def _claim_group(
        self, queue: WorkQueue, lanes: Sequence[int], limit: int, places: Mapping[str, int]
    ) -> list[DueAttempt]:
        least_seconds = {
            dealer_id: access.capabilities.min_check_interval_seconds
            for dealer_id, access in self._router.trade.dealers.items()
        }
        async with self._pool.acquire() as connection, connection.transaction():
            due = await attempts.claim_due(
                connection,
                queue,
                uuid7(),
                lanes,
                limit,
                self._lease.duration,
                places,
                _ELSEWHERE,
                least_seconds,
                await self.looks.since(connection, queue),
            )
        self.looks.looked(queue, len(due), everywhere=all(free > 0 for free in places.values()))
        return due

    def _account_for(
        self, due: Sequence[DueAttempt], places: Mapping[str, int], taken: Counter[str]
    ) -> None:
        """Keep what the claimed checks hold."""
        for dealer_id, count in Counter(each.dealer_id for each in due).items():
            if places.get(dealer_id, 0) > 0:
                taken[dealer_id] -= count
            else:
                # Of a dealer that was not in the table as room was made: nothing is sent there.
                self._admission.take(dealer_id, Kind.QUESTION, count)

    def _note_what_is_left(self, due: Sequence[DueAttempt], places: Mapping[str, int]) -> None:
        """Note where there may be more checks than there was room for."""
        found = Counter(each.dealer_id for each in due)
        for dealer_id, offered in places.items():
            if offered > 0:
                self._admission.found(dealer_id, Kind.QUESTION, offered, found[dealer_id])

    def leave(self, check: Check) -> None:
        """The check is over: its place is free."""
        self._admission.leave(check.due.dealer_id, Kind.QUESTION)

    def _places(self, most: int) -> dict[str, int]:
        return {
            dealer_id: min(self._admission.small_room(access, Kind.QUESTION), most)
            for dealer_id, access in self._router.trade.dealers.items()
        }

    async def check(self, check: Check) -> None:
        """Ask once and settle what the dealer says. Never raises: what fails is asked again."""
        due = check.due
        try:
            report, transport = await self._ask(check)
        except asyncio.CancelledError:
            report, transport = Report(Outcome.UNKNOWN, "stopped"), True
        word = Word(due.attempt_no, Source.CHECK, report, due.fence, transport)
        try:
            await self._settler.settle(due.lane, due.order_id, word)
        except (DatabaseUnavailable, Overloaded) as error:
            log.warning("word.lost", order_id=due.order_id, reason=str(error))

    def _send_before(self, check: Check, access: DealerAccess) -> float:
        """Until when (CLOCK_BOOTTIME) the question may begin to be sent."""
        left_seconds = seconds_left(check.due, access)
        return min(self._lease.send_before(check.started, access), check.started + left_seconds)

    async def _ask(self, check: Check) -> tuple[Report, bool]:
        due = check.due
        access = self._router.trade.dealers.get(due.dealer_id)
        refusal = _cannot_ask(due, access)
        if access is None or refusal is not None:
            return Report(Outcome.UNKNOWN, refusal or "dealer-gone"), True
        send_before = self._send_before(check, access)
        try:
            account = await self._calls.sessions.account(access, send_before)
        except NoSession as refusal:
            return Report(Outcome.UNKNOWN, "no-session", str(refusal)), True
        if boottime_seconds() >= send_before:
            return Report(Outcome.UNKNOWN, "lease-ran-out"), True
        order = TopUp(
            due.dealer_ref,
            due.dealer_sku,
            due.customer_number,
            due.max_price,
            access.account.options.get("callback_url"),
            due.counter,
            passed_on(due.hops, self._installation_id),
            due.sent_at,
        )
        try:
            request = access.dialect.status(account, order)
        except Exception as error:  # noqa: BLE001 - whatever the protocol tripped on
            return Report(Outcome.UNKNOWN, "not-built", type(error).__name__), True
        called = await self._calls.call(access, request, Kind.QUESTION, due.trace)
        if called.answer is None:
            # That this question was not sent proves nothing about the purchase.
            return Report(Outcome.UNKNOWN, called.report.code, called.report.message), True
        self._calls.sessions.heard(access, account, called.answer)
        return access.dialect.read_status(account, order, called.answer), False


def _left(places: Mapping[str, int], due: Sequence[DueAttempt]) -> dict[str, int]:
    """The places that these checks leave."""
    found = Counter(each.dealer_id for each in due)
    return {dealer_id: free - found[dealer_id] for dealer_id, free in places.items()}


def seconds_left(due: DueAttempt, access: DealerAccess) -> float:
    """For how long after the claim the question may be sent, where it is the purchase itself.

    Past its dealer's age limit it would buy again, whatever the lease says.
    """
    longest_seconds = access.capabilities.max_age_seconds
    if access.capabilities.recovery != Recovery.SAME_REF_IS_STATUS or longest_seconds is None:
        return math.inf
    return longest_seconds - due.age.total_seconds() - access.row.connect_timeout_seconds


def _cannot_ask(due: DueAttempt, access: DealerAccess | None) -> str | None:
    """Why this attempt may not be asked about, or None. Asking can be buying."""
    if access is None:
        return "dealer-gone"
    if access.capabilities.recovery == Recovery.NONE:
        return "cannot-ask"
    if access.capabilities.recovery != Recovery.SAME_REF_IS_STATUS:
        return None
    if too_old_to_resend(access.capabilities, due.age):
        return "too-old-to-ask"
    # A success may be asked about once the dealer itself contradicted it: it named the reference.
    asked_by_dealer = due.state == AttemptState.SUCCEEDED
    return None if due.state in OPEN_ATTEMPT or asked_by_dealer else "closed"
