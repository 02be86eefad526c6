"""Execute: claim what can be sent now, commit the intent, then buy, holding no connection.

A claim is one commit: the `ready` rows go, the attempts stand as `sent` with their reference, lease
and fence. Only then does a byte leave, and only while the lease surely still runs. Where there is
room for an order's dealer at the moment it is accepted, that commit is its claim as well.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from uuid import UUID

import orjson
import structlog
from uuid_utils.compat import uuid7

from app.errors import DatabaseUnavailable, Overloaded
from app.hops import passed_on
from app.lifecycle.admit import Admission, Kind, boottime_seconds
from app.lifecycle.call import DealerCalls
from app.lifecycle.handover import Handover
from app.lifecycle.mark import Held, Marker
from app.lifecycle.retry import choose_past
from app.lifecycle.route import Router
from app.lifecycle.sessions import NoSession
from app.lifecycle.settle import Settler, Withdrawal
from app.lifecycle.trade import DealerAccess
from app.outbound.client import FailureKind
from app.references import dealer_reference
from app.storage import attempts, ready
from app.storage.attempts import NewAttempt
from app.storage.lanes import Rounds
from app.storage.orders import NewOrder
from app.storage.pool import DATABASE_ERRORS, DISCONNECTED, Connection, Pool
from app.storage.ready import Claimable, Ready
from app.traces import Trace
from app.words import NOT_REACHED, UNSENT, Source, Word
from dealers.contract import Fault, Outcome, Report, TopUp
from routing.choose import Inquiry, as_record
from routing.health import BreakerState
from routing.table import Route

log = structlog.get_logger()

_MOVES = 64
"""How many rows a claim takes from a dealer that is down, to send them elsewhere."""
_LATER = timedelta(seconds=1)
_WAIT_KNOWN_SECONDS = 1.0
"""So long what a claim found of waiting says something."""
_UUID_CLOCK_BIT = 80
"""The bits above are the milliseconds at which a version 7 id was made."""


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a claim lasts. A call must end before its lease does, whatever it waits for."""

    seconds: float = 90.0

    @property
    def duration(self) -> timedelta:
        """The lease as the database takes it."""
        return timedelta(seconds=self.seconds)

    @property
    def longest_call_seconds(self) -> float:
        """The longest time-outs that a dealer may have: half of the lease is left for waiting."""
        return self.seconds / 2

    def send_before(self, started_seconds: float, access: DealerAccess) -> float:
        """Until when an act claimed at `started_seconds` (CLOCK_BOOTTIME) may begin to send."""
        call_seconds = access.row.timeout_seconds + access.row.connect_timeout_seconds
        return started_seconds + self.seconds - call_seconds


@dataclass(frozen=True, slots=True)
class Purchase:
    """A committed attempt, ready to be sent until `send_before` (CLOCK_BOOTTIME seconds)."""

    lane: int
    order_id: UUID
    attempt_no: int
    access: DealerAccess
    order: TopUp
    ticket: int
    """The breaker's."""
    send_before: float
    trace: Trace | None = None
    """The order's."""
    test: bool = False
    """Whether its order is of the test side."""


@dataclass(frozen=True, slots=True)
class Intention:
    """A first purchase, claimed if the commit that accepts its order says so."""

    attempt: NewAttempt
    purchase: Purchase


@dataclass(frozen=True, slots=True)
class _Planned:
    """A purchase that a claim is to make, and the number that it holds, where it needs one."""

    new: NewAttempt
    access: DealerAccess
    order: TopUp
    ticket: int
    held: Held | None
    trace: Trace | None
    test: bool

    @property
    def key(self) -> tuple[int, UUID]:
        return self.new.lane, self.new.order_id


@dataclass(slots=True)
class _Plan:
    """What a claim does with the rows it locked. Those that want a number first are left alone."""

    places: Counter[str]
    """What is taken for purchases at each dealer and not used yet."""
    purchases: list[_Planned] = field(default_factory=list[_Planned])
    moves: list[Ready] = field(default_factory=list[Ready])
    moved: list[tuple[Inquiry, str, Route]] = field(
        default_factory=list[tuple[Inquiry, str, Route]]
    )
    expired: list[Claimable] = field(default_factory=list[Claimable])


class Executor:
    """Claims and sends this process's share of the purchases."""

    def __init__(
        self,
        pool: Pool,
        router: Router,
        settler: Settler,
        calls: DealerCalls,
        marker: Marker,
        admission: Admission,
        lease: Lease,
        lane_groups: Sequence[Sequence[int]],
        installation_id: UUID,
    ) -> None:
        self._pool = pool
        self._router = router
        self._settler = settler
        self._calls = calls
        self._marker = marker
        self._admission = admission
        self._lease = lease
        self._groups = deque((lanes, Rounds()) for lanes in lane_groups)
        """The lanes that one statement looks at, those first whose turn it is."""
        self._installation_id = str(installation_id)
        self.handover: Handover[Purchase] = Handover()
        self.expired: dict[UUID, Claimable] = {}
        """Orders past their time, to be given up outside the claim."""
        self._behind_since: Mapping[str, float] = {}
        """Since when each claim found more than it took, though most of the dealer was free."""
        self._waited_seconds = 0.0
        self._waited_until = 0.0

    @property
    def lease(self) -> timedelta:
        """How long a claim lasts."""
        return self._lease.duration

    def intend(
        self, order: NewOrder, route: Route, tier: str, *, test: bool = False
    ) -> Intention | None:
        """Claim a place for an order's first purchase, to be bought as soon as it is accepted.

        None where there is no room here, others wait for the dealer already, the purchase needs a
        number first, or may not be made any more: the order then waits in the table. What is
        intended is either begun or abandoned.
        """
        access = self._router.trade.dealers.get(route.dealer_id)
        if not self.handover.is_open:
            return None
        if access is not None and self._marker.concerns(access, route):
            return None
        if access is None or access.test is not test or not self._has_room(access):
            return None
        started = boottime_seconds()
        new = self._attempt(order, 1, None, route, access, uuid7(), tier)
        if new.cost > new.max_price:
            # The margins changed since the pick: the claim from the table goes by the new ones.
            return None
        ticket = self._router.breaker(route.dealer_id).enter(self._calls.monotonic())
        purchase = Purchase(
            order.lane,
            order.order_id,
            1,
            access,
            self._top_up(new, order, access),
            ticket or 0,
            self._lease.send_before(started, access),
            order.trace,
            test,
        )
        if not self.handover.reserve():
            return None
        self._admission.take(route.dealer_id, Kind.PURCHASE)
        self._router.floats.spend(route.dealer_id, new.cost)
        return Intention(new, purchase)

    def begin(self, intention: Intention) -> None:
        """The claim is committed: buy."""
        self.handover.hand_over(intention.purchase)

    def abandon(self, intention: Intention) -> None:
        """The claim was not committed, or that is not known: its lease, if it has one, tells."""
        self._admission.give_back(intention.purchase.access.row.dealer_id, Kind.PURCHASE)
        self._router.floats.spend(intention.attempt.dealer_id, -intention.attempt.cost)
        self.handover.release()

    def _has_room(self, access: DealerAccess) -> bool:
        """Whether a new order may go at once: there is room, and nobody waits for it."""
        breaker = self._router.breaker(access.row.dealer_id)
        is_closed = breaker.state(self._calls.monotonic()) is BreakerState.CLOSED
        return is_closed and self._admission.has_room_at_once(access)

    def places(self) -> dict[str, int]:
        """How many purchases can be claimed for each dealer now."""
        states = self._router.breaker_states()
        places: dict[str, int] = {}
        for dealer_id, access in self._router.trade.dealers.items():
            free = self._room(access)
            if states[dealer_id] is not BreakerState.CLOSED:
                free = min(free, 1) if self._router.is_up(dealer_id) else 0
            if free > 0:
                places[dealer_id] = free
        return places

    def pause_seconds(self) -> float:
        """How long at most until there may be room for an order that waits; infinite if unknown."""
        return self._admission.seconds_to_token()

    @property
    def waited_seconds(self) -> float:
        """How long orders had waited in the table, when last claimed, since their dealers have had
        room for them; 0 where dealers are what they wait for."""
        known = self._calls.monotonic() < self._waited_until
        return self._waited_seconds if known else 0.0

    def _room(self, access: DealerAccess) -> int:
        if self.handover.is_open:
            return self._admission.small_room(access, Kind.PURCHASE)
        return self._admission.room(access, Kind.PURCHASE)

    def _to_be_moved(self) -> list[str]:
        """The dealers that cannot be called now: the orders that wait for them go elsewhere."""
        trade, is_up = self._router.trade, self._router.is_up
        return [*trade.left_out, *(each for each in trade.dealers if not is_up(each))]

    async def claim(self, now: datetime, most: int) -> list[Purchase]:
        """Claim what there is room for, at most `most` a dealer; each has its place and token.

        They are taken before the claim, so that what is claimed can be sent at once. `now` serves
        prices and hours only; leases are the database's time.
        """
        purchases: list[Purchase] = []
        started, behind = self._calls.monotonic(), set[str]()
        self._groups.rotate(-1)
        for lanes, rounds in tuple(self._groups):
            room = self.places()
            places = {dealer_id: min(free, most) for dealer_id, free in room.items()}
            moves = dict.fromkeys(self._to_be_moved(), min(_MOVES, most))
            if not places and not moves:
                break
            self._admission.look(places)
            unused = Counter(places)
            try:
                claimed = await self._claim(lanes, rounds, places, moves, now)
                unused.subtract(each.access.row.dealer_id for each in claimed)
            except (*DATABASE_ERRORS, DatabaseUnavailable) as error:
                # What other groups claimed is committed: it is sent all the same.
                log.warning("claim.failed", reason=f"{type(error).__name__}: {error}")
                continue
            finally:
                self._admission.looked(places, unused)
            purchases += claimed
            behind.update(each for each in places if not unused[each] and self._free(each, room))
        self._note_waiting(purchases, behind, started, now)
        return purchases

    def _free(self, dealer_id: str, room: Mapping[str, int]) -> bool:
        """Whether orders that wait for a dealer with so much room wait for this process."""
        access = self._router.trade.dealers.get(dealer_id)
        return access is not None and self._admission.is_mostly_free(access, room[dealer_id])

    def _note_waiting(
        self, claimed: Sequence[Purchase], behind: AbstractSet[str], started: float, now: datetime
    ) -> None:
        """Note for how long the claimed ones waited for this process, which is `behind` with what
        waits for these dealers though there was room."""
        self._behind_since = {each: self._behind_since.get(each, started) for each in behind}
        waited = [
            min(_age_seconds(each, now), started - self._behind_since[each.access.row.dealer_id])
            for each in claimed
            if _is_first(each, behind)
        ]
        self._waited_seconds = median(waited) if waited else 0.0
        self._waited_until = self._calls.monotonic() + _WAIT_KNOWN_SECONDS

    def leave(self, purchase: Purchase) -> None:
        """The dealer has answered, or was not asked: the purchase's place is free."""
        self._admission.leave(purchase.access.row.dealer_id, Kind.PURCHASE)

    async def _claim(
        self,
        lanes: Sequence[int],
        rounds: Rounds,
        places: Mapping[str, int],
        moves: Mapping[str, int],
        now: datetime,
    ) -> list[Purchase]:
        started = boottime_seconds()
        claim_id = uuid7()
        plan = _Plan(Counter(places))
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                limits = {**places, **moves}
                wanted = [(each, limit, rounds.first(each)) for each, limit in limits.items()]
                rows = await ready.take(connection, wanted, lanes, UNSENT, NOT_REACHED)
                self._note_what_waits(limits, rounds, rows)
                self._plan(plan, rows, claim_id, now)
                await self._commit_intent(connection, plan)
        except DISCONNECTED:
            planned, plan.purchases = plan.purchases, []
            try:
                plan.purchases = await self._read_back(claim_id, planned)
            finally:
                self._take_back([each for each in planned if each not in plan.purchases])
        except BaseException:
            self._take_back(plan.purchases)
            raise
        self._count_moves(plan, now)
        self.expired |= {row.order_id: row for row in plan.expired}
        return [self._claimed(planned, started) for planned in plan.purchases]

    def _claimed(self, planned: _Planned, started: float) -> Purchase:
        new, access, held = planned.new, planned.access, planned.held
        send_before = self._lease.send_before(started, access)
        if held is not None:
            self._marker.used(new.order_id, new.attempt_no, new.dealer_id)
            send_before = min(send_before, held.until)
        return Purchase(
            new.lane,
            new.order_id,
            new.attempt_no,
            access,
            planned.order,
            planned.ticket,
            send_before,
            planned.trace,
            planned.test,
        )

    def _note_what_waits(
        self, limits: Mapping[str, int], rounds: Rounds, rows: Sequence[Claimable]
    ) -> None:
        """A dealer of whom all that was wanted was found may have more; another has none left."""
        found: dict[str, list[int]] = {dealer_id: [] for dealer_id in limits}
        for row in rows:
            found[row.dealer_id].append(row.lane)
        for dealer_id, limit in limits.items():
            lanes = found[dealer_id]
            self._admission.found(dealer_id, Kind.PURCHASE, limit, len(lanes))
            rounds.looked(dealer_id, lanes, everything=len(lanes) < limit)

    async def give_up_expired(self) -> None:
        """Withdraw the orders that claims found too old; one that fails is found again."""
        expired, self.expired = self.expired, {}
        async with asyncio.TaskGroup() as group:
            for row in expired.values():
                group.create_task(self._give_up(row))

    async def _give_up(self, row: Claimable) -> None:
        try:
            await self._settler.withdraw(row.lane, row.order_id, Withdrawal.EXPIRED)
        except (DatabaseUnavailable, Overloaded) as error:
            log.warning("order.not_expired", order_id=row.order_id, reason=str(error))
        except Exception:
            # One order's surprise stops nobody else; a claim finds it again.
            log.exception("order.not_expired", order_id=row.order_id)

    async def _commit_intent(self, connection: Connection, plan: _Plan) -> None:
        if plan.moves:
            await ready.move(connection, plan.moves)
        if plan.purchases:
            written = [planned.new for planned in plan.purchases]
            await attempts.insert(connection, written, self._lease.duration)
            await ready.delete(connection, [(new.lane, new.order_id) for new in written])

    def _take_back(self, purchases: Sequence[_Planned]) -> None:
        """These are not sent: their money stays, and a probe among them is free for another one."""
        for planned in purchases:
            self._router.floats.spend(planned.new.dealer_id, -planned.new.cost)
            self._router.breaker(planned.new.dealer_id).left(planned.ticket)

    async def _read_back(self, claim_id: UUID, purchases: Sequence[_Planned]) -> list[_Planned]:
        """The reply to the commit was lost: send only what the database says was claimed."""
        if not purchases:
            raise DatabaseUnavailable("the database went away")
        keys = [planned.key for planned in purchases]
        try:
            async with self._pool.acquire() as connection:
                stands = await attempts.claimed(connection, claim_id, keys)
        except DISCONNECTED as error:
            # Not sent, perhaps claimed: the lease will run out and the dealer will be asked.
            raise DatabaseUnavailable("the database went away") from error
        return [planned for planned in purchases if planned.key in stands]

    # -------------------------------------------------------------- planning

    def _plan(self, plan: _Plan, rows: Sequence[Claimable], claim_id: UUID, now: datetime) -> None:
        for row in rows:
            if now >= row.retry_until:
                plan.expired.append(row)
            else:
                self._plan_row(plan, row, claim_id, now)

    def _plan_row(self, plan: _Plan, row: Claimable, claim_id: UUID, now: datetime) -> None:
        """Buy where the pick still stands, choose anew where it does not, else wait a little."""
        inquiry = self._inquiry(row, now)
        route = self._router.standing_offer(inquiry, row.dealer_id, now)
        if isinstance(route, Route):
            planned = None
            if plan.places[row.dealer_id] > 0:
                planned = self._plan_purchase(row, route, claim_id, now)
            if planned is not None:
                plan.places[row.dealer_id] -= 1
                plan.purchases.append(planned)
                self._router.floats.spend(planned.new.dealer_id, planned.new.cost)
            return
        decision = choose_past(self._router, inquiry, inquiry.tried, frozenset(row.refused), now)
        chosen = decision.chosen
        if chosen is None:
            later = Ready(row.lane, row.order_id, row.attempt_no, row.dealer_id, now + _LATER)
            plan.moves.append(later)
            return
        proof = orjson.dumps(as_record(decision)).decode()
        plan.moves.append(
            Ready(row.lane, row.order_id, row.attempt_no, chosen.dealer_id, now, proof)
        )
        plan.moved.append((inquiry, row.dealer_id, chosen))

    def _plan_purchase(
        self, row: Claimable, route: Route, claim_id: UUID, now: datetime
    ) -> _Planned | None:
        """The purchase, or None where it cannot be made yet: the order then stays as it is."""
        access = self._router.trade.dealers[row.dealer_id]
        if access.test is not row.test:
            log.error("claim.other_side", order_id=row.order_id, dealer_id=row.dealer_id)
            return None
        held = None
        if self._marker.concerns(access, route):
            held = self._marker.held(row, route)
            if held is None:
                self._marker.want(row, route, access, now)
                return None
        ticket = self._router.breaker(row.dealer_id).enter(self._calls.monotonic())
        if ticket is None:
            return None
        new = self._attempt(row, row.attempt_no, row.decision, route, access, claim_id, row.tier)
        if held is not None and access.capabilities.counts_repeats:
            new = new._replace(counter=held.counter)
        return _Planned(
            new, access, self._top_up(new, row, access), ticket, held, row.trace, row.test
        )

    def _inquiry(self, row: Claimable, now: datetime) -> Inquiry:
        repeats = self._router.repeats.of(row.customer_number, row.sku, now)
        if repeats and self._marker.holds(row):
            # What it knows of the dealer counts this order itself.
            repeats = {dealer: sold for dealer, sold in repeats.items() if dealer != row.dealer_id}
        return Inquiry(
            row.sku,
            row.brand,
            row.cluster,
            row.price,
            row.max_price,
            frozenset(row.tried),
            row.tier,
            self._router.kind_of(row.sku),
            row.order_id,
            repeats,
            row.test,
        )

    def _attempt(
        self,
        order: Claimable | NewOrder,
        attempt_no: int,
        decision: str | None,
        route: Route,
        access: DealerAccess,
        claim_id: UUID,
        tier: str,
    ) -> NewAttempt:
        kind = self._router.kind_of(order.sku)
        trade = self._router.trade
        policy = trade.sandbox.policy if access.test else trade.snapshot.policy
        ceiling = policy.ceiling_rupiah(order.price, tier, kind)
        rules = access.capabilities.reference
        return NewAttempt(
            order.lane,
            order.order_id,
            attempt_no,
            route.dealer_id,
            route.route_id,
            route.dealer_sku,
            dealer_reference(order.lane, order.order_id, attempt_no, rules),
            route.cost_rupiah or 0,
            ceiling if order.max_price is None else min(ceiling, order.max_price),
            claim_id,
            decision,
        )

    def _top_up(self, new: NewAttempt, order: Claimable | NewOrder, access: DealerAccess) -> TopUp:
        return TopUp(
            new.dealer_ref,
            new.dealer_sku,
            order.customer_number,
            new.max_price,
            access.account.options.get("callback_url"),
            new.counter,
            passed_on(order.hops, self._installation_id),
        )

    def _count_moves(self, plan: _Plan, now: datetime) -> None:
        for inquiry, left, route in plan.moved:
            gone = self._router.route_at(inquiry.sku, inquiry.cluster, left, now)
            if gone is not None:
                self._router.give_back(inquiry, gone, now)
            self._router.take(inquiry, route, now)

    # -------------------------------------------------------------- sending

    async def buy(self, purchase: Purchase) -> Word:
        """Buy once and return the dealer's word, or ours. Never raises."""
        try:
            report, transport = await self._buy(purchase)
        except asyncio.CancelledError:
            self._router.breaker(purchase.access.row.dealer_id).left(purchase.ticket)
            # Stopping: hand the question over at once instead of when the lease runs out.
            report, transport = Report(Outcome.UNKNOWN, "stopped"), True
        return Word(purchase.attempt_no, Source.PURCHASE, report, fence=1, transport=transport)

    async def tell(self, purchase: Purchase, word: Word) -> None:
        """Settle what was heard. Never raises: what fails here is asked about."""
        try:
            await self._settler.settle(purchase.lane, purchase.order_id, word)
        except (DatabaseUnavailable, Overloaded) as error:
            log.warning("word.lost", order_id=purchase.order_id, reason=str(error))

    async def _buy(self, purchase: Purchase) -> tuple[Report, bool]:
        access = purchase.access
        breaker = self._router.breaker(access.row.dealer_id)
        if access.test is not purchase.test:
            # Neither choosing nor claiming lets it come this far: see decision 0038.
            log.error("purchase.other_side", order_id=purchase.order_id)
            breaker.left(purchase.ticket)
            return Report(Outcome.REJECTED, "unsendable", "the dealer is on the other side"), True
        sessions = self._calls.sessions
        try:
            account = await sessions.account(access, purchase.send_before)
        except (NoSession, asyncio.CancelledError) as refusal:
            # Also who was stopped while waiting has sent nothing.
            breaker.failed(purchase.ticket, self._calls.monotonic())
            return Report(Outcome.REJECTED, "no-session", str(refusal), Fault.ACCOUNT), True
        if boottime_seconds() >= purchase.send_before:
            breaker.left(purchase.ticket)
            late = Report(Outcome.REJECTED, "lease-ran-out", "not sent: the claim was too old")
            return late, True
        try:
            request = access.dialect.top_up(account, purchase.order)
        except Exception as error:  # noqa: BLE001 - nothing was sent, whatever the protocol tripped on
            breaker.left(purchase.ticket)
            text = f"no request could be made: {type(error).__name__}"
            return Report(Outcome.REJECTED, "not-built", text, Fault.ACCOUNT), True
        called = await self._calls.call(access, request, Kind.PURCHASE, purchase.trace)
        now = self._calls.monotonic()
        if called.answer is None:
            if called.report.code == FailureKind.BUSY:
                breaker.left(purchase.ticket)
            else:
                breaker.failed(purchase.ticket, now)
            return called.report, True
        sessions.heard(access, account, called.answer)
        report = access.dialect.read_top_up(account, purchase.order, called.answer)
        if report.outcome == Outcome.UNKNOWN:
            breaker.failed(purchase.ticket, now)
        else:
            breaker.succeeded(purchase.ticket, now)
        return report, False


def _is_first(purchase: Purchase, dealers: Collection[str]) -> bool:
    """Whether it is its order's first one, which waited since then, at one of these dealers."""
    return purchase.attempt_no == 1 and purchase.access.row.dealer_id in dealers


def _age_seconds(purchase: Purchase, now: datetime) -> float:
    """How long ago its order came."""
    came = (purchase.order_id.int >> _UUID_CLOCK_BIT) / 1000
    return max(0.0, now.timestamp() - came)
