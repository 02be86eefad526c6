"""Sessions: one log-in for all who wait, and no purchase that waits or buys twice for its sake.

The dealer is the simulator's Reloadly over real sockets; its tokens are given out by an office in
between, which counts log-ins and misbehaves.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import structlog

from app.lifecycle.admit import boottime_seconds
from app.lifecycle.sessions import NoSession, Sessions
from app.lifecycle.trade import DealerAccess
from app.storage import statements
from dealers.contract import Answer, Outcome, Request
from tests.dealers.simulator.simulators import QUICK, RunningSimulator, simulator
from tests.lifecycle.counters import Asked, counter
from tests.outbound.peers import Peer
from tests.shops import BRAVO, NOBODY, OTOMAX, Seller, Shop, engine_on, enrol, furnish, send

SKU = "1187:5000"
KEYS = {"client_id": "toko", "client_secret": "kunci"}
SHORT_SECONDS = 0.3


@pytest.fixture(scope="module")
def dealers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    def dealer(dealer_id: str, protocol: str, **credentials: str) -> dict[str, Any]:
        return {
            "dealer_id": dealer_id,
            "protocol": protocol,
            "credentials": credentials,
            "prices": {SKU: 5000, "S5": 5100},
        }

    config = {
        "dealers": [
            dealer("alfa", "reloadly", **KEYS),
            dealer("short", "reloadly", **KEYS, token_seconds=str(SHORT_SECONDS)),
            dealer("bravo", "otomax", **OTOMAX),
        ],
        "timing": QUICK,
    }
    with simulator(tmp_path_factory.mktemp("simulator"), config) as running:
        yield running


class Office:
    """Gives out the dealer's own tokens, with another lifetime where one is set."""

    def __init__(self, dealer_url: str) -> None:
        self.dealer_url = dealer_url
        self.lifetime_seconds: float | None = None
        self.closed = False
        self.open = asyncio.Event()
        self.open.set()
        self.tokens: list[str] = []

    async def reply(self, asked: Asked) -> bytes | None:
        if self.closed:
            return None
        await self.open.wait()
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            answer = await client.post(f"{self.dealer_url}/oauth/token", content=asked.body)
        given = answer.raise_for_status().json()
        self.tokens.append(given["access_token"])
        if self.lifetime_seconds is not None:
            given["expires_in"] = self.lifetime_seconds
        return json.dumps(given).encode()


@dataclass
class Market:
    shop: Shop
    office: Office
    peer: Peer
    dealers: RunningSimulator

    @property
    def log_ins(self) -> int:
        return len(self.peer.requests)

    def delivered(self, dealer_id: str) -> int:
        return sum(row["dealer"] == dealer_id for row in self.dealers.get("book"))


@pytest.fixture
def market(database_dsn: str, dealers: RunningSimulator) -> Callable[..., Any]:
    @asynccontextmanager
    async def opened(account: str = "alfa", **seller: Any) -> AsyncIterator[Market]:
        office = Office(f"{dealers.url}/{account}")
        async with counter(office.reply) as peer:
            alfa = Seller(
                "alfa",
                5000,
                protocol="reloadly",
                base_url=f"{dealers.url}/{account}",
                options=json.dumps({"auth_url": peer.url}),
                credentials=json.dumps(KEYS),
                dealer_sku=SKU,
            )
            bravo = replace(BRAVO, base_url=f"{dealers.url}/bravo")
            await furnish(database_dsn, [replace(alfa, **seller), bravo])
            async with engine_on(database_dsn) as engine:
                shop = Shop(engine, await enrol(engine, rupiah=2_000_000))
                yield Market(shop, office, peer, dealers)
                async with engine.pool.acquire() as connection:
                    assert await statements.verify(connection) == []

    return opened


UNSETTLED = "089512345671"
"""The dealer takes the order, delivers a little later and calls nobody back."""


async def _bought_at_alfa(market: Market, ref_id: str) -> str:
    purchase = await market.shop.bought(ref_id)
    await send(market.shop.engine, purchase)
    (state,) = await market.shop.states(purchase.order_id)
    return state


async def test_two_hundred_purchases_cause_one_log_in(market: Callable[..., Any]):
    async with market(concurrency=256) as here:
        before = here.delivered("alfa")
        for number in range(200):
            await here.shop.order(f"A{number}")
        purchases = await here.shop.claim(256)
        assert len(purchases) == 200
        await asyncio.gather(*(send(here.shop.engine, purchase) for purchase in purchases))
        assert here.log_ins == 1
        assert here.delivered("alfa") - before == 200
        states = await here.shop.fetch("select state, count(*) from attempts group by 1")
        assert [tuple(row) for row in states] == [("succeeded", 200)]


async def test_questions_use_the_same_session(market: Callable[..., Any]):
    async with market() as here:
        purchase = await here.shop.bought(number=UNSETTLED)
        await send(here.shop.engine, purchase)
        here.dealers.finish_agenda()
        await here.shop.engine.reconciler.check(await here.shop.claim_check())
        assert await here.shop.status(purchase.order_id) == "succeeded"
        row = (await here.shop.fetch("select charged, cost from attempts"))[0]
        assert tuple(row) == (5000, 5000)
        assert here.log_ins == 1


async def test_a_token_that_ended_in_between_rejects_the_purchase_and_is_replaced(
    market: Callable[..., Any],
):
    """The dealer says 401 to a token that it had given for longer: nothing was bought."""
    async with market("short") as here:
        here.office.lifetime_seconds = 86_400
        assert await _bought_at_alfa(here, "A1") == "succeeded"
        await asyncio.sleep(SHORT_SECONDS * 1.5)
        before = here.delivered("short")
        refused = await here.shop.bought("A2")
        await send(here.shop.engine, refused)
        assert await here.shop.states(refused.order_id) == ["rejected"]
        assert await here.shop.waiting() == [(2, "bravo")]
        assert here.log_ins == 1
        assert here.delivered("short") == before
        served = await here.shop.claim_one()
        assert served.order_id == refused.order_id
        await send(here.shop.engine, served)
        assert await here.shop.status(refused.order_id) == "succeeded"
        assert await _bought_at_alfa(here, "A3") == "succeeded"
        assert here.log_ins == 2


async def test_a_question_with_a_token_that_ended_says_nothing_and_is_asked_again(
    market: Callable[..., Any],
):
    async with market("short") as here:
        here.office.lifetime_seconds = 86_400
        purchase = await here.shop.bought(number=UNSETTLED)
        await send(here.shop.engine, purchase)
        await asyncio.sleep(SHORT_SECONDS * 1.5)
        await here.shop.engine.reconciler.check(await here.shop.claim_check())
        assert await here.shop.states(purchase.order_id) == ["pending"]
        await here.shop.engine.reconciler.check(await here.shop.claim_check())
        assert await here.shop.status(purchase.order_id) == "succeeded"
        assert here.log_ins == 2


async def test_without_a_log_in_another_dealer_serves_at_once(market: Callable[..., Any]):
    async with market(options=json.dumps({"auth_url": NOBODY})) as here:
        before = here.delivered("alfa")
        purchase = await here.shop.bought()
        await send(here.shop.engine, purchase)
        row = (await here.shop.fetch("select state, code from attempts"))[0]
        assert tuple(row) == ("rejected", "no-session")
        await send(here.shop.engine, await here.shop.claim_one())
        assert await here.shop.status(purchase.order_id) == "succeeded"
        assert here.delivered("alfa") == before


async def test_a_dead_office_is_not_asked_for_every_purchase(market: Callable[..., Any]):
    async with market() as here:
        here.office.closed = True
        first, second = await here.shop.bought("A1"), await here.shop.bought("A2")
        for purchase in (first, second):
            await send(here.shop.engine, purchase)
            assert await here.shop.states(purchase.order_id) == ["rejected"]
        assert here.log_ins == 1


async def test_without_a_log_in_a_question_stays_unanswered(market: Callable[..., Any]):
    async with market("short") as here:
        purchase = await here.shop.bought(number=UNSETTLED)
        await send(here.shop.engine, purchase)
        here.office.closed = True
        await asyncio.sleep(SHORT_SECONDS * 1.5)
        await here.shop.engine.reconciler.check(await here.shop.claim_check())
        assert await here.shop.states(purchase.order_id) == ["pending"]
        assert await here.shop.status(purchase.order_id) == "processing"
        assert here.log_ins == 2


async def test_a_slow_log_in_holds_a_purchase_no_longer_than_its_claim(market: Callable[..., Any]):
    async with market() as here:
        here.office.open.clear()
        before = here.delivered("alfa")
        late = replace(await here.shop.bought("A1"), send_before=boottime_seconds() + 0.05)
        await send(here.shop.engine, late)
        row = (await here.shop.fetch("select state, code from attempts"))[0]
        assert tuple(row) == ("rejected", "no-session")
        assert here.delivered("alfa") == before
        await send(here.shop.engine, await here.shop.claim_one())
        here.office.open.set()
        assert await _bought_at_alfa(here, "A2") == "succeeded"
        assert here.log_ins == 1


async def test_whoever_is_stopped_while_waiting_ends_nobody_elses_log_in(
    market: Callable[..., Any],
):
    async with market() as here:
        here.office.open.clear()
        first, second = await here.shop.bought("A1"), await here.shop.bought("A2")
        stopped = asyncio.ensure_future(here.shop.engine.executor.buy(first))
        waiting = asyncio.ensure_future(here.shop.engine.executor.buy(second))
        await here.peer.called.wait()
        stopped.cancel()
        word = await stopped
        assert word.report.outcome is Outcome.REJECTED
        here.office.open.set()
        assert (await waiting).report.outcome is Outcome.SUCCEEDED
        assert here.log_ins == 1


async def test_another_account_has_another_session(market: Callable[..., Any]):
    async with market() as here:
        assert await _bought_at_alfa(here, "A1") == "succeeded"
        calls, access = here.shop.engine.calls, here.shop.engine.router.trade.dealers["alfa"]
        other = replace(access, account=replace(access.account, base_url=f"{NOBODY}/other"))
        until = boottime_seconds() + 5
        token = (await calls.sessions.account(access, until)).session
        assert (await calls.sessions.account(other, until)).session != token
        assert here.log_ins == 2


async def test_no_token_is_logged(market: Callable[..., Any]):
    with structlog.testing.capture_logs() as lines:
        async with market("short") as here:
            here.office.lifetime_seconds = 86_400
            await _bought_at_alfa(here, "A1")
            await asyncio.sleep(SHORT_SECONDS * 1.5)
            await send(here.shop.engine, await here.shop.bought("A2"))
            assert here.office.tokens
            stored = await here.shop.fetch("select * from attempts")
            for token in here.office.tokens:
                assert token not in str(lines)
                assert token not in str(stored)


# ------------------------------------------------------------------ renewal, by a clock of ours


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Desk:
    """Sessions with a clock that stands still and a log-in that a test answers."""

    sessions: Sessions
    clock: Clock
    access: DealerAccess
    sent: list[Request]
    answers: list[Answer | NoSession]

    async def token(self) -> str | None:
        return (await self.sessions.account(self.access, self.clock.now + 5)).session

    def heard(self, token: str | None, status: int) -> None:
        used = replace(self.access.account, session=token)
        self.sessions.heard(self.access, used, Answer(status, {}, b""))


def _token(name: str, seconds: float = 1000) -> Answer:
    body = json.dumps({"access_token": name, "expires_in": seconds})
    return Answer(200, {}, body.encode())


@pytest.fixture
async def desk(market: Callable[..., Any]) -> AsyncIterator[Desk]:
    async with market() as here:
        clock, sent, answers = Clock(), list[Request](), list[Answer | NoSession]()

        async def log_in(_: DealerAccess, request: Request) -> Answer:
            sent.append(request)
            answer = answers.pop(0)
            if isinstance(answer, NoSession):
                raise answer
            return answer

        access = here.shop.engine.router.trade.dealers["alfa"]
        yield Desk(Sessions(log_in, clock), clock, access, sent, answers)


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_token_is_renewed_before_its_end_while_the_old_one_is_used(desk: Desk):
    desk.answers += [_token("one"), _token("two")]
    assert await desk.token() == "one"
    desk.clock.now += 899
    assert await desk.token() == "one"
    await _settled()
    assert len(desk.sent) == 1
    desk.clock.now += 2
    assert await desk.token() == "one"
    await _settled()
    assert await desk.token() == "two"
    assert len(desk.sent) == 2


async def test_a_renewal_that_fails_keeps_the_old_token_to_its_end(desk: Desk):
    desk.answers += [_token("one"), NoSession("down"), NoSession("down"), _token("two")]
    assert await desk.token() == "one"
    desk.clock.now += 950
    assert await desk.token() == "one"
    await _settled()
    assert await desk.token() == "one"
    assert len(desk.sent) == 2
    desk.clock.now += 51
    with pytest.raises(NoSession, match="down"):
        await desk.token()
    desk.clock.now += 60
    assert await desk.token() == "two"


async def test_each_failure_in_a_row_makes_a_longer_rest(desk: Desk):
    desk.answers += [NoSession("down")] * 20
    rests: list[float] = []
    for _ in range(8):
        with pytest.raises(NoSession):
            await desk.token()
        tries, since = len(desk.sent), desk.clock.now
        while len(desk.sent) == tries:
            desk.clock.now += 1
            with pytest.raises(NoSession, match="down"):
                await desk.token()
        rests.append(desk.clock.now - since)
    assert rests == sorted(rests)
    assert rests[0] == 2
    assert rests[-1] == 60


async def test_a_token_that_is_refused_at_its_first_use_counts_as_a_failed_log_in(desk: Desk):
    desk.answers += [_token("one"), _token("two")]
    desk.heard(await desk.token(), 401)
    with pytest.raises(NoSession, match="refuses"):
        await desk.token()
    assert len(desk.sent) == 1
    desk.clock.now += 3
    assert await desk.token() == "two"


async def test_a_token_that_was_good_is_replaced_at_once(desk: Desk):
    desk.answers += [_token("one"), _token("two")]
    desk.heard(await desk.token(), 200)
    desk.heard("one", 401)
    assert await desk.token() == "two"


async def test_what_is_said_of_an_older_token_ends_nothing(desk: Desk):
    desk.answers += [_token("one"), _token("two")]
    desk.heard(await desk.token(), 200)
    desk.heard("one", 401)
    assert await desk.token() == "two"
    desk.heard("one", 401)
    assert await desk.token() == "two"


async def test_a_token_of_no_length_serves_nobody(desk: Desk):
    async def slow(access: DealerAccess, request: Request) -> Answer:
        desk.clock.now += 10
        return _token("one", 1)

    sessions = Sessions(slow, desk.clock)
    with pytest.raises(NoSession, match="over when it came"):
        await sessions.account(desk.access, desk.clock.now + 60)


async def test_a_protocol_without_log_in_has_no_session(market: Callable[..., Any]):
    async def never(access: DealerAccess, request: Request) -> Answer:
        raise AssertionError

    async with market() as here:
        bravo = here.shop.engine.router.trade.dealers["bravo"]
        account = await Sessions(never, Clock()).account(bravo, 0)
        assert account is bravo.account
