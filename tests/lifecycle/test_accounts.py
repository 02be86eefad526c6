"""Our accounts at dealers, against the simulator: balances, differences, and what routing makes of
them; prices that rose. Money is exact to the rupiah."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest

from app.administration import floats, price_lists
from app.administration.floats import Float
from app.administration.plans import Wanted
from app.errors import Conflict, NotFound
from app.words import Source, Word
from app.workers.engine import Engine
from dealers.contract import Fault, Outcome, Report
from routing.choose import Inquiry
from routing.reasons import Reason
from tests.administration.office import LIMITS
from tests.dealers.simulator.simulators import RunningSimulator, configuration, simulator
from tests.publishing import PUBLISH
from tests.shops import (
    ALFA,
    NOBODY,
    OPERATOR,
    PRICE,
    SKU,
    Seller,
    Shop,
    engine_on,
    enrol,
    furnish,
    send,
)

OPENING = 1_000_000
INQUIRY = Inquiry(SKU, "tri", None, PRICE)
RISEN = 5300


@pytest.fixture
def dealer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    """`mitra` sells S5 for 5,000; `mahal` for more than its route says."""
    config = configuration(NOBODY)
    mahal = config["dealers"][0] | {"dealer_id": "mahal", "prices": {"S5": RISEN}}
    config["dealers"].append(mahal)
    with simulator(tmp_path_factory.mktemp("simulator"), config) as running:
        yield running


@pytest.fixture
async def shop(database_dsn: str, dealer: RunningSimulator) -> AsyncIterator[Shop]:
    def at(dealer_id: str, cost: int) -> Seller:
        return Seller(dealer_id, cost, "digiflazz", f"{dealer.url}/{dealer_id}")

    await furnish(database_dsn, [at("mitra", 5000), at("mahal", 5050), ALFA])
    async with engine_on(database_dsn) as engine:
        yield Shop(engine, await enrol(engine))


async def pull(shop: Shop, *dealer_ids: str) -> None:
    """Have these dealers asked for our balance now, and all take it up."""
    await shop.engine.accounts.pull_due()
    await shop.execute(
        "update dealer_accounts set pull_due_at = case when dealer_id = any($1::text[])"
        " then now() else now() + interval '1 hour' end, claimed_until = null",
        list(dealer_ids),
    )
    await shop.engine.accounts.pull_due()
    await shop.engine.accounts.exchange()


async def look(shop: Shop, dealer_id: str = "mitra") -> Float:
    (found,) = await floats.look(shop.engine.pool, OPERATOR, dealer_id)
    return found


async def buy(shop: Shop, ref_id: str, dealer_id: str = "mitra") -> None:
    """Buy once at a dealer, over a real socket."""
    await send(shop.engine, await shop.bought(ref_id, dealer_id=dealer_id))


def why_not(engine: Engine, dealer_id: str) -> Reason | None:
    """Why a dealer is not chosen from now, None for the one that is."""
    decision = engine.router.choose(INQUIRY, datetime.now(UTC))
    return next(each.reason for each in decision.verdicts if each.dealer_id == dealer_id)


async def state_option(shop: Shop, dealer_id: str, **options: str) -> None:
    """Change a dealer's options, and have them in force."""
    await shop.execute(
        "update dealers set options = $2::json where dealer_id = $1",
        dealer_id,
        orjson.dumps(options).decode(),
    )
    await shop.execute(PUBLISH)
    await shop.engine.router.refresh(shop.engine.pool)
    await shop.engine.accounts.exchange()


# ------------------------------------------------------------------ balances


async def test_balance_pulled_after_purchases_agrees_to_the_rupiah(shop: Shop):
    await pull(shop, "mitra")
    assert (await look(shop)).balance == OPENING
    await buy(shop, "A1")
    await buy(shop, "A2")
    before = await look(shop)
    assert (before.spent, before.in_flight, before.expected) == (10_000, 0, OPENING - 10_000)
    await pull(shop, "mitra")
    after = await look(shop)
    assert (after.balance, after.difference, after.agrees) == (OPENING - 10_000, 0, True)
    assert (after.spent, after.expected) == (0, OPENING - 10_000)


async def test_what_a_dealer_charged_counts_not_what_we_expected_it_to(shop: Shop):
    await pull(shop, "mahal")
    await buy(shop, "A1", "mahal")
    assert (await look(shop, "mahal")).expected == OPENING - RISEN
    await pull(shop, "mahal")
    assert (await look(shop, "mahal")).agrees


async def test_a_purchase_in_flight_is_a_band_and_no_difference(shop: Shop):
    await pull(shop, "mitra")
    purchase = await shop.bought("A1", dealer_id="mitra")
    assert (await look(shop)).in_flight == 5000
    await pull(shop, "mitra")  # the dealer has not heard of it yet
    assert (await look(shop)).difference == 0
    await send(shop.engine, purchase)
    await pull(shop, "mitra")  # now it has
    found = await look(shop)
    assert (found.balance, found.difference, found.in_flight) == (OPENING - 5000, 0, 0)


async def test_what_failed_across_a_balance_is_expected_back(shop: Shop):
    purchase = await shop.bought("A1", dealer_id="mitra")
    await record(shop, OPENING - 5000)  # the dealer holds its money
    await shop.hear(purchase, Outcome.FAILED, fault=Fault.NUMBER)
    assert await record(shop, OPENING) == (0, True)
    assert await record(shop, OPENING + 1) == (1, False)


async def record(shop: Shop, rupiah: int, dealer_id: str = "mitra") -> tuple[int, bool]:
    done = await floats.record(shop.engine.pool, OPERATOR, dealer_id, rupiah)
    return done.difference, done.agrees


async def test_money_that_is_missing_stays_told_until_somebody_explains_it(shop: Shop):
    await record(shop, 500_000)
    assert await record(shop, 499_999) == (-1, False)
    assert await record(shop, 499_999) == (-1, False)
    assert not (await look(shop)).agrees
    assert await floats.accept(shop.engine.pool, OPERATOR, "mitra", "their fee") == -1
    assert (await look(shop)).agrees
    assert await record(shop, 499_999) == (0, True)
    actions = await shop.fetch("select action from audit_log where action like 'dealer.%'")
    assert {row[0] for row in actions} == {"dealer.balance_recorded", "dealer.balance_accepted"}


async def test_a_deposit_explains_what_came_before_or_after_it_was_written_down(shop: Shop):
    pool = shop.engine.pool
    await record(shop, 500_000)
    assert await record(shop, 700_000) == (200_000, False)
    done = await floats.deposit(pool, OPERATOR, "mitra", 200_000, "BCA 1")
    assert not done.repeated
    assert await record(shop, 700_000) == (0, True)
    await floats.deposit(pool, OPERATOR, "mitra", 50_000, "BCA 2")
    assert await record(shop, 700_000) == (-50_000, False)
    assert await record(shop, 750_000) == (0, True)
    assert (await floats.deposit(pool, OPERATOR, "mitra", 50_000, "BCA 2")).repeated
    with pytest.raises(Conflict, match="50000"):
        await floats.deposit(pool, OPERATOR, "mitra", 60_000, "BCA 2")
    assert await record(shop, 750_000) == (0, True)


async def test_tolerance_of_a_dealer_is_heeded(shop: Shop):
    await state_option(shop, "mitra", balance_tolerance="100")
    await record(shop, 500_000)
    assert await record(shop, 499_900) == (-100, True)
    assert await record(shop, 499_799) == (-101, False)


async def test_balance_that_cannot_be_had_is_told_and_asked_for_again(shop: Shop):
    await shop.execute("update dealers set base_url = $1 where dealer_id = 'mitra'", NOBODY)
    await shop.execute(PUBLISH)
    await shop.engine.router.refresh(shop.engine.pool)
    await pull(shop, "mitra")
    await pull(shop, "mitra")
    found = await look(shop)
    assert (found.balance, found.failures) == (None, 2)
    due = await shop.value(
        "select pull_due_at - now() < '2 minutes' from dealer_accounts where dealer_id = 'mitra'"
    )
    assert due


async def test_one_process_asks_a_dealer_at_a_time(shop: Shop, database_dsn: str):
    await shop.engine.accounts.pull_due()
    await shop.execute("update dealer_accounts set pull_due_at = now()")
    async with engine_on(database_dsn) as other:
        await asyncio.gather(shop.engine.accounts.pull_due(), other.accounts.pull_due())
    pulled = await shop.fetch("select dealer_id from dealer_balances order by 1")
    assert [row[0] for row in pulled] == ["mahal", "mitra"]


# ------------------------------------------------------------------ low float


async def test_a_dealer_whose_balance_is_not_known_is_never_left_out(shop: Shop):
    assert why_not(shop.engine, "alfa") is None


async def test_a_dealer_is_left_out_before_its_money_runs_out(shop: Shop):
    await record(shop, 14_999)
    await shop.engine.accounts.exchange()
    first = await shop.bought("A1", dealer_id="mitra")
    assert why_not(shop.engine, "mitra") is not Reason.LOW_FLOAT
    await shop.bought("A2", dealer_id="mitra")
    assert why_not(shop.engine, "mitra") is Reason.LOW_FLOAT
    await shop.refuse(first)
    assert why_not(shop.engine, "mitra") is not Reason.LOW_FLOAT


async def test_an_order_that_waits_goes_elsewhere_when_the_money_is_gone(shop: Shop):
    await record(shop, 5000)
    await shop.engine.accounts.exchange()
    await shop.order("A1", dealer_id="mitra")
    await shop.order("A2", dealer_id="mitra")
    claimed = await shop.claim()
    assert [each.access.row.dealer_id for each in claimed] == ["mitra"]
    assert await shop.waiting() == [(1, "alfa")]


async def test_other_processes_learn_what_was_spent(shop: Shop, database_dsn: str):
    await record(shop, 10_000)
    async with engine_on(database_dsn) as other:
        await shop.bought("A1", dealer_id="mitra")
        await shop.bought("A2", dealer_id="mitra")
        await other.accounts.exchange()
        assert why_not(other, "mitra") is not Reason.LOW_FLOAT
        await shop.execute("update dealer_accounts set counted_at = now() - interval '1 minute'")
        await other.accounts.count()
        await other.accounts.exchange()
        assert why_not(other, "mitra") is Reason.LOW_FLOAT


async def test_a_reserve_is_left_and_a_credit_is_used(shop: Shop):
    await record(shop, 10_000)
    await state_option(shop, "mitra", float_reserve="5001")
    assert why_not(shop.engine, "mitra") is Reason.LOW_FLOAT
    await record(shop, -1)
    await state_option(shop, "mitra", float_reserve="-5001")
    assert why_not(shop.engine, "mitra") is not Reason.LOW_FLOAT


async def test_a_dealer_s_word_that_money_lacks_counts_until_it_tells_a_balance(
    shop: Shop, database_dsn: str
):
    await pull(shop, "mitra")
    purchase = await shop.bought("A1", dealer_id="mitra")
    word = Word(1, Source.PURCHASE, Report(Outcome.REJECTED, "44", fault=Fault.ACCOUNT), fence=1)
    await shop.engine.settler.settle(purchase.lane, purchase.order_id, word)
    assert why_not(shop.engine, "mitra") is Reason.LOW_FLOAT
    await shop.engine.accounts.exchange()
    async with engine_on(database_dsn) as other:
        assert why_not(other, "mitra") is Reason.LOW_FLOAT
    assert (await look(shop)).refused
    await pull(shop, "mitra")
    assert why_not(shop.engine, "mitra") is not Reason.LOW_FLOAT


# ------------------------------------------------------------------ prices that rose


async def charged(shop: Shop, order_id: UUID) -> int | None:
    return await shop.value("select charged from attempts where order_id = $1", order_id)


@pytest.mark.parametrize("source", [Source.PURCHASE, Source.CHECK, Source.CALLBACK])
async def test_price_is_booked_whoever_tells_it(shop: Shop, source: Source):
    purchase = await shop.bought("A1", dealer_id="mitra")
    if source is not Source.PURCHASE:
        await shop.hear(purchase, Outcome.PENDING)
    await shop.hear(purchase, Outcome.SUCCEEDED, source, price_rupiah=5123)
    assert await charged(shop, purchase.order_id) == 5123


async def test_price_of_a_late_success_and_one_that_comes_later_are_booked(shop: Shop):
    purchase = await shop.bought("A1", dealer_id="mitra")
    await shop.hear(purchase, Outcome.FAILED, fault=Fault.NUMBER)
    await shop.hear(purchase, Outcome.SUCCEEDED, Source.CALLBACK)
    assert await charged(shop, purchase.order_id) is None
    await shop.hear(purchase, Outcome.SUCCEEDED, Source.CALLBACK, price_rupiah=5200)
    assert await charged(shop, purchase.order_id) == 5200


async def rises(shop: Shop) -> list[tuple[str, int, int, int, bool]]:
    found = await floats.list_rises(shop.engine.pool, OPERATOR)
    return [(each.route_id, each.cost, each.charged, each.purchases, each.stands) for each in found]


async def test_a_risen_price_mutes_its_route_here_at_once_and_everywhere_soon(
    shop: Shop, database_dsn: str
):
    first = await shop.bought("A1", dealer_id="mahal")
    second = await shop.bought("A2", dealer_id="mahal")
    await send(shop.engine, first)
    assert why_not(shop.engine, "mahal") is Reason.PRICE_RISEN
    await send(shop.engine, second)
    await shop.engine.accounts.exchange()
    assert why_not(shop.engine, "mahal") is Reason.PRICE_RISEN
    assert await rises(shop) == [("r-mahal", 5050, RISEN, 2, True)]
    async with engine_on(database_dsn) as later:
        assert why_not(later, "mahal") is Reason.PRICE_RISEN
    shown = shop.engine.metrics.exposition().decode()
    assert 'jalur_price_rises_total{dealer="mahal"} 2.0' in shown
    assert "jalur_price_risen_routes 1.0" in shown


async def test_a_price_that_we_know_raises_nothing(shop: Shop):
    await buy(shop, "A1", "mitra")
    await shop.engine.accounts.exchange()
    assert await rises(shop) == []


@pytest.fixture
async def risen(shop: Shop) -> Shop:
    await buy(shop, "A1", "mahal")
    await shop.engine.accounts.exchange()
    assert why_not(shop.engine, "mahal") is Reason.PRICE_RISEN
    return shop


async def test_cost_that_follows_lifts_the_mute(risen: Shop):
    await risen.execute("update routes set cost = $1 where route_id = 'r-mahal'", RISEN)
    await risen.execute(PUBLISH)
    await risen.engine.router.refresh(risen.engine.pool)
    await risen.engine.accounts.exchange()
    assert why_not(risen.engine, "mahal") is Reason.DEARER
    await buy(risen, "A2", "mahal")
    await risen.engine.accounts.exchange()
    assert await rises(risen) == [("r-mahal", 5050, RISEN, 1, False)]


async def test_prices_pulled_lift_the_mute(risen: Shop):
    pool, now = risen.engine.pool, datetime.now(UTC)
    pulled = await price_lists.pull(pool, OPERATOR, "mahal", LIMITS, now)
    await price_lists.apply(pool, OPERATOR, pulled, Wanted(), now)
    await risen.engine.router.refresh(pool)
    await risen.engine.accounts.exchange()
    assert why_not(risen.engine, "mahal") is Reason.DEARER
    assert await risen.value("select cost from routes where route_id = 'r-mahal'") == RISEN


async def test_mute_ends_by_itself(risen: Shop):
    await risen.execute("update price_rises set muted_until = now()")
    await risen.engine.accounts.exchange()
    assert why_not(risen.engine, "mahal") is Reason.DEARER


async def test_operator_lifts_the_mute_and_older_purchases_do_not_bring_it_back(shop: Shop):
    first = await shop.bought("A1", dealer_id="mahal")
    second = await shop.bought("A2", dealer_id="mahal")
    await send(shop.engine, first)
    await shop.engine.accounts.exchange()
    await floats.lift(shop.engine.pool, OPERATOR, "r-mahal", "agreed by phone")
    await send(shop.engine, second)
    await shop.engine.accounts.exchange()
    assert why_not(shop.engine, "mahal") is Reason.DEARER
    with pytest.raises(NotFound):
        await floats.lift(shop.engine.pool, OPERATOR, "r-mahal")
    await buy(shop, "A3", "mahal")
    await shop.engine.accounts.exchange()
    assert why_not(shop.engine, "mahal") is Reason.PRICE_RISEN


async def test_a_tolerance_lets_a_dealer_round(database_dsn: str):
    await furnish(database_dsn, [ALFA])
    async with engine_on(database_dsn, price_rise_tolerance=1) as engine:
        shop = Shop(engine, await enrol(engine))
        await shop.hear(await shop.bought("A1"), Outcome.SUCCEEDED, price_rupiah=5001)
        await engine.accounts.exchange()
        assert await rises(shop) == []
        await shop.hear(await shop.bought("A2"), Outcome.SUCCEEDED, price_rupiah=5002)
        await engine.accounts.exchange()
        assert await rises(shop) == [("r-alfa", 5000, 5002, 1, True)]
