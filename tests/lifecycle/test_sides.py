"""The two sides: no test order ever reaches a live dealer, and no live order a test dealer."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from app.lifecycle.admit import Kind
from app.lifecycle.resolve import Resolution
from app.storage import resellers, statements
from app.words import Said
from dealers.contract import Outcome, Request
from routing.choose import Inquiry
from routing.monopoly import Market
from routing.reasons import Reason
from tests.lifecycle.counters import Asked, asked, counter
from tests.outbound.peers import Peer
from tests.publishing import PUBLISH
from tests.shops import (
    ALFA,
    BRAVO,
    PRICE,
    RESELLER,
    SKU,
    Owner,
    Seller,
    Shop,
    engine_on,
    enrol,
    furnish,
    send,
    submission,
)

TWIN = UUID("0190a000-0000-7000-8000-00000000000e")
LIVE_NUMBER, TEST_NUMBER = "0895111111", "0895222222"
"""What a number begins with tells on which side it was ordered for."""
ANSWERS = (
    Asked.sukses,
    Asked.diproses,
    Asked.gagal,
    Asked.stok_kosong,
    Asked.tidak_ada_data,
    lambda _: None,
    lambda _: b"<html>",
)


@dataclass
class Sides:
    """A shop with both sides, and what the dealers of each heard."""

    shop: Shop
    live: Peer
    sandbox: Peer
    twin_lane: int

    async def order(self, ref_id: str, *, test: bool, dealer_id: str | None = None) -> UUID:
        details = {"ref_id": ref_id, "number": number(ref_id, test=test), "test": test}
        if test:
            wanted = submission(
                **details,
                lane=self.twin_lane,
                reseller_id=TWIN,
                dealer_id=dealer_id or "sandbox",
            )
        else:
            wanted = submission(**details, lane=self.shop.lane, dealer_id=dealer_id or "alfa")
        return (await self.shop.engine.acceptor.accept(wanted)).order_id

    def assert_nobody_strayed(self) -> None:
        assert all(each.query["dest"].startswith(LIVE_NUMBER) for each in asked(self.live))
        assert all(each.query["dest"].startswith(TEST_NUMBER) for each in asked(self.sandbox))


def number(ref_id: str, *, test: bool) -> str:
    return f"{TEST_NUMBER if test else LIVE_NUMBER}{int(ref_id[1:]):02}"


@asynccontextmanager
async def both_sides(dsn: str, chance: random.Random | None = None) -> AsyncIterator[Sides]:
    """Two live dealers behind one socket and two test dealers behind another."""

    async def reply(request: Asked) -> bytes | None:
        return (chance.choice(ANSWERS) if chance else Asked.sukses)(request)

    async with counter(reply) as live, counter(reply) as sandbox:
        await furnish(
            dsn,
            [
                replace(ALFA, base_url=live.url),
                replace(BRAVO, base_url=live.url),
                # Routes that name test dealers, the cheapest of all: they lead nowhere.
                Seller("sandbox", 1, base_url=sandbox.url + "one", test=True),
                Seller("sandbox2", 2, base_url=sandbox.url + "two", test=True),
            ],
        )
        async with engine_on(dsn, simulator_url=sandbox.url.rstrip("/")) as engine:
            shop = Shop(engine, await enrol(engine))
            twin_lane = await enrol(engine, TWIN, test_of=RESELLER)
            yield Sides(shop, live, sandbox, twin_lane)
            async with engine.pool.acquire() as connection:
                assert await statements.verify(connection) == []


@pytest.fixture
async def sides(database_dsn: str) -> AsyncIterator[Sides]:
    async with both_sides(database_dsn) as made:
        yield made


# ------------------------------------------------------------------ all of it together


@pytest.mark.parametrize("seed", range(4))
async def test_no_mix_of_failures_pauses_and_decisions_leads_to_the_other_side(
    database_dsn: str, owner: Owner, seed: int
):
    chance = random.Random(seed)
    async with both_sides(database_dsn, chance) as sides:
        orders = {
            (f"n{at}", test): await sides.order(
                f"n{at}",
                test=test,
                # Some are accepted for a dealer of the wrong side, as no choice would have it.
                dealer_id=chance.choice(["alfa", "bravo", "sandbox", "sandbox2"])
                if chance.random() < 0.25
                else None,
            )
            for at in range(12)
            for test in (False, True)
        }
        for _ in range(12):
            await _change_something(owner, sides, chance)
            await _work(sides, chance, list(orders.values()))
        sides.assert_nobody_strayed()
        assert asked(sides.live)
        assert asked(sides.sandbox)
        strays = await owner.fetch(
            """
            select a.order_id from attempts a
            join orders o using (lane, order_id)
            join resellers r on r.lane = o.lane and r.reseller_id = o.reseller_id
            join dealers d on d.dealer_id = a.dealer_id
            where r.test <> d.test
            """
        )
        assert strays == []


async def _change_something(owner: Owner, sides: Sides, chance: random.Random) -> None:
    """Pause and resume dealers, and move what waits to whomever, as a broken choice might."""
    await owner.execute("update dealers set enabled = random() < 0.7, drained = random() < 0.1")
    await owner.execute(PUBLISH)
    await sides.shop.engine.router.refresh(sides.shop.engine.pool)
    stray = chance.choice(["alfa", "bravo", "sandbox", "sandbox2"])
    await owner.execute("update ready set dealer_id = $1 where random() < 0.3", stray)
    await owner.execute("update ready set not_before = now()")


async def _work(sides: Sides, chance: random.Random, orders: list[UUID]) -> None:
    """Claim and buy, ask, and decide in an operator's name."""
    engine = sides.shop.engine
    for purchase in await sides.shop.claim(50):
        await send(engine, purchase)
    await sides.shop.execute(
        "update attempts set due_at = now(), asked_at = asked_at - interval '1 hour' "
        "where due_at is not null"
    )
    for check in await engine.reconciler.claim(50):
        await engine.reconciler.check(check)
        engine.reconciler.leave(check)
    for order_id in chance.sample(orders, 4):
        lane = await sides.shop.value("select lane from orders where order_id = $1", order_id)
        said = chance.choice(list(Said))
        await sides.shop.execute(
            "update orders set needs_review = true where order_id = $1 and status = 'processing'",
            order_id,
        )
        word = Resolution(1, said, "SN9", "test", "here", "why", order_id)
        await engine.settler.resolve(lane, order_id, word)


# ------------------------------------------------------------------ each place by itself


async def test_each_side_chooses_among_its_own_dealers(sides: Sides):
    router, now = sides.shop.engine.router, datetime.now(UTC)
    asks = Inquiry(SKU, "tri", None, PRICE)
    live, test = router.choose(asks, now), router.choose(replace(asks, test=True), now)
    assert live.chosen is not None
    assert live.chosen.dealer_id == "alfa"
    assert {each.dealer_id for each in live.verdicts} == {"alfa", "bravo"}
    assert {each.dealer_id for each in test.verdicts} == {"sandbox", "sandbox2"}
    assert test.chosen is not None
    assert test.chosen.dealer_sku == SKU
    assert router.standing_offer(asks, "sandbox", now) is Reason.GONE
    assert router.standing_offer(replace(asks, test=True), "alfa", now) is Reason.GONE


@pytest.mark.parametrize(("test", "dealer_id"), [(True, "alfa"), (False, "sandbox")])
async def test_what_waits_for_a_dealer_of_the_other_side_is_moved_home(
    sides: Sides, test: bool, dealer_id: str
):
    order_id = await sides.order("n1", test=test, dealer_id=dealer_id)
    assert await sides.shop.claim() == []
    await sides.shop.execute("update ready set not_before = now()")
    await send(sides.shop.engine, await sides.shop.claim_one())
    assert await sides.shop.status(order_id) == "succeeded"
    sides.assert_nobody_strayed()
    assert len(asked(sides.sandbox if test else sides.live)) == 1


@pytest.mark.parametrize(("test", "dealer_id"), [(True, "alfa"), (False, "sandbox")])
async def test_acceptance_claims_no_purchase_at_the_other_side(
    sides: Sides, test: bool, dealer_id: str
):
    executor, router = sides.shop.engine.executor, sides.shop.engine.router
    route = router.route_at(SKU, None, dealer_id, datetime.now(UTC))
    assert route is not None
    order = submission(lane=sides.shop.lane).order
    executor.handover.open([].append, lambda _: True)
    assert executor.intend(order, route, "standard", test=test) is None
    own = executor.intend(order, route, "standard", test=not test)
    assert own is not None
    executor.abandon(own)


@pytest.mark.parametrize(("test", "dealer_id"), [(True, "alfa"), (False, "sandbox")])
async def test_a_purchase_that_came_to_the_other_side_all_the_same_is_not_sent(
    sides: Sides, test: bool, dealer_id: str
):
    await sides.order("n1", test=test)
    purchase = await sides.shop.claim_one()
    astray = replace(purchase, access=sides.shop.engine.router.trade.dealers[dealer_id])
    word = await sides.shop.engine.executor.buy(astray)
    assert (word.report.outcome, word.report.code) == (Outcome.REJECTED, "unsendable")
    assert word.transport
    assert asked(sides.live) == asked(sides.sandbox) == []


async def test_a_test_dealer_is_called_nowhere_but_at_the_simulator(sides: Sides):
    engine = sides.shop.engine
    access = engine.router.trade.dealers["sandbox"]
    called = await engine.calls.call(access, Request("GET", sides.live.url), Kind.QUESTION)
    assert (called.answer, called.report.code) == (None, "unsendable")
    assert asked(sides.live) == []


async def test_a_test_dealer_elsewhere_than_the_simulator_gets_no_orders(
    sides: Sides, owner: Owner
):
    await owner.execute("update dealers set base_url = $1 where test", sides.live.url)
    await owner.execute(PUBLISH)
    router = sides.shop.engine.router
    await router.refresh(sides.shop.engine.pool)
    assert {"sandbox", "sandbox2"} <= router.trade.left_out
    asks = Inquiry(SKU, "tri", None, PRICE, test=True)
    assert router.choose(asks, datetime.now(UTC)).chosen is None


async def test_nothing_changes_sides(sides: Sides, owner: Owner):
    for table in ("dealers", "resellers"):
        with pytest.raises(asyncpg.CheckViolationError):
            await owner.execute(f"update {table} set test = not test")


async def test_what_is_bought_in_tests_counts_nowhere(sides: Sides):
    router, now = sides.shop.engine.router, datetime.now(UTC)
    await sides.order("n1", test=True)
    await send(sides.shop.engine, await sides.shop.claim_one())
    assert router.shares.totals(Market("tri", None), now).orders == 0
    await router.rebuild_shares(sides.shop.engine.pool, now)
    assert router.shares.totals(Market("tri", None), now).orders == 0
    finished = sides.shop.engine.metrics.exposition().decode()
    assert 'jalur_orders_finished_total{status="succeeded"} 0.0' in finished


async def test_an_event_of_the_test_side_says_so(sides: Sides):
    for test in (True, False):
        await sides.order("n1", test=test)
        await send(sides.shop.engine, await sides.shop.claim_one())
    told = await sides.shop.fetch("select reseller_id, payload::jsonb -> 'test' from events")
    assert dict(map(tuple, told)) == {TWIN: "true", RESELLER: None}


async def test_each_side_has_its_own_money(sides: Sides):
    await sides.order("n1", test=True)
    await send(sides.shop.engine, await sides.shop.claim_one())
    assert await sides.shop.money(TWIN) == (1_000_000 - PRICE, 0)
    assert await sides.shop.money() == (1_000_000, 0)


async def test_a_test_side_is_suspended_with_its_live_one(sides: Sides):
    async with sides.shop.engine.pool.acquire() as connection:
        await resellers.set_twin(connection, sides.shop.lane, RESELLER, TWIN)
        (live,) = await resellers.accounts(connection, reseller_id=RESELLER)
        await resellers.update(connection, replace(live, status="suspended", tier="gold"))
        (twin,) = await resellers.accounts(connection, reseller_id=TWIN)
    assert (twin.status, twin.tier, twin.name) == ("suspended", "gold", "Toko")
