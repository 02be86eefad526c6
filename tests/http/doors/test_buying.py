"""Buying through each door, read by our own reader of its protocol."""

import ast
import asyncio
import inspect
from datetime import timedelta

import pytest

from app.administration import doors, resellers
from app.administration.money import deposit
from app.http import pick, place
from app.http.doors.buying import CERTAIN, MISMATCH
from app.shapes import digiflazz, irs, otomax
from app.storage import statements
from app.storage.pool import Pool
from dealers.contract import Fault, Outcome
from schemas.problems import CATALOGUE
from tests.http.doors.client import SHAPES, Client, client_of, number_of, open_door, tools
from tests.http.shop import XL, Customer, Sent, Shop, open_shop
from tests.shops import OPERATOR

SUCCEEDED, FAILED = Outcome.SUCCEEDED, Outcome.FAILED
REJECTED, PENDING, UNKNOWN = Outcome.REJECTED, Outcome.PENDING, Outcome.UNKNOWN


@pytest.fixture(params=SHAPES)
async def client(request: pytest.FixtureRequest, shop: Shop, customer: Customer) -> Client:
    return await open_door(shop, customer, request.param)


async def sent(shop: Shop, customer: Customer, ref_id: str = "R1") -> Sent:
    listed = (await customer.http.get("/v1/orders", params={"ref_id": ref_id})).json()
    return await shop.send_to_dealer(listed["data"][0])


async def test_a_purchase_is_pending_and_its_money_reserved(
    shop: Shop, customer: Customer, client: Client
) -> None:
    assert (await client.buy()).outcome is PENDING
    assert await shop.counts() == (1, 1, 1)
    balance = (await customer.http.get("/v1/balance")).json()
    assert (balance["available"], balance["reserved"]) == (989_500, 10_500)


async def test_the_same_reference_again_is_the_same_order(shop: Shop, client: Client) -> None:
    for _ in range(3):
        assert (await client.buy()).outcome is PENDING
        assert (await client.ask()).outcome is PENDING
    assert await shop.counts() == (1, 1, 1)


async def test_purchases_side_by_side_under_one_reference_are_one(
    shop: Shop, client: Client
) -> None:
    reports = await asyncio.gather(*(client.buy() for _ in range(20)))
    assert {report.outcome for report in reports} == {PENDING}
    assert await shop.counts() == (1, 1, 1)


async def test_a_success_is_told_with_its_serial_number_and_price(
    shop: Shop, customer: Customer, client: Client
) -> None:
    await client.buy()
    await (await sent(shop, customer)).hear(SUCCEEDED, serial_number="0123456789")
    report = await client.ask()
    assert (report.outcome, report.serial_number) == (SUCCEEDED, "0123456789")
    assert report.price_rupiah == 10_500


async def test_a_failure_of_the_number_is_told_as_one(
    shop: Shop, customer: Customer, client: Client
) -> None:
    await client.buy()
    await (await sent(shop, customer)).hear(FAILED, fault=Fault.NUMBER)
    report = await client.ask()
    assert (report.outcome, report.fault) == (FAILED, Fault.NUMBER)
    assert (await customer.http.get("/v1/balance")).json()["available"] == 1_000_000


async def test_what_was_paid_back_is_told_as_reversed(
    shop: Shop, customer: Customer, client: Client
) -> None:
    await client.buy()
    order = await sent(shop, customer)
    await order.hear(SUCCEEDED, serial_number="1")
    await order.hear(FAILED, reversal=True)
    report = await client.ask()
    assert (report.outcome, report.reversal) == (FAILED, True)


async def test_a_cancelled_order_has_failed(customer: Customer, client: Client) -> None:
    await client.buy()
    listed = (await customer.http.get("/v1/orders")).json()["data"]
    await customer.http.post(f"/v1/orders/{listed[0]['id']}/cancel")
    assert (await client.ask()).outcome is FAILED


@pytest.mark.parametrize(
    ("wanted", "outcome", "fault"),
    [
        ({"dealer_sku": "TSEL99"}, REJECTED, Fault.ACCOUNT),
        ({"dealer_sku": "XL10", "customer_number": XL}, REJECTED, Fault.PRODUCT),
        ({"customer_number": "0811"}, FAILED, Fault.NUMBER),
        ({"customer_number": XL}, FAILED, Fault.NUMBER),
    ],
)
async def test_a_certain_refusal_is_told_and_stays(
    shop: Shop,
    customer: Customer,
    client: Client,
    wanted: dict[str, str],
    outcome: Outcome,
    fault: Fault,
) -> None:
    report = await client.buy(**wanted)
    assert (report.outcome, report.fault) == (outcome, fault)
    assert (await client.buy(**wanted)).outcome is outcome
    assert await shop.counts() == (0, 0, 0)


async def test_what_a_door_called_failed_is_ordered_nowhere_else_under_its_reference(
    shop: Shop, customer: Customer, client: Client
) -> None:
    refused = await client.buy(dealer_sku="NOPE")
    assert refused.outcome in (FAILED, REJECTED)
    order = {"ref_id": "R1", "sku": "TSEL10", "customer_number": number_of("R1")}
    for path, body in (("/v1/orders", order), ("/v1/orders/batch", {"orders": [order]})):
        answer = await customer.http.post(path, json=body)
        assert "idempotency-mismatch" in answer.text
    assert await shop.counts() == (0, 0, 0)


async def test_short_money_refuses_the_reference_for_good(shop: Shop) -> None:
    for number, shape in enumerate(SHAPES):
        poor = await shop.customer(money=100)
        client = await open_door(shop, poor, shape)
        report = await client.buy()
        assert (report.outcome, report.fault) == (REJECTED, Fault.ACCOUNT)
        await deposit(shop.api.pool, OPERATOR, str(poor.reseller_id), 50_000, "more")
        # Its client has paid its own customer back: asking must not buy.
        assert (await client.buy()).outcome is REJECTED
        assert (await client.buy("R2")).outcome is PENDING
        assert (await shop.counts())[0] == number + 1


async def test_a_price_above_the_limit_is_refused(shop: Shop, customer: Customer) -> None:
    for shape in ("digiflazz", "irs"):
        client = await open_door(shop, customer, shape)
        report = await client.buy(shape.upper(), max_price_rupiah=10_499)
        assert (report.outcome, report.fault) == (REJECTED, Fault.PRODUCT)
    assert await shop.counts() == (0, 0, 0)


async def test_a_reference_that_stands_for_another_order_is_never_called_failed(
    shop: Shop, client: Client
) -> None:
    await client.buy()
    for other in ({"dealer_sku": "TSEL99"}, {"customer_number": "081234567899"}):
        assert (await client.buy(**other)).outcome in (UNKNOWN, PENDING)
    assert (await client.buy(customer_number="0811")).outcome in (UNKNOWN, PENDING)
    assert await shop.counts() == (1, 1, 1)


async def test_a_shed_purchase_is_pending(pool: Pool, database_dsn: str) -> None:
    async with open_shop(pool, database_dsn, backlog=lambda: 200_000) as shop:
        customer = await shop.customer()
        for shape in SHAPES:
            client = await open_door(shop, customer, shape)
            assert (await client.buy()).outcome is PENDING
        assert await shop.counts() == (0, 0, 0)


async def test_a_purchase_whose_end_is_not_known_is_pending(shop: Shop, client: Client) -> None:
    shop.api.acceptor.batches.close()
    await asyncio.sleep(0)
    assert (await client.buy()).outcome is PENDING


async def test_a_number_that_is_being_topped_up_is_refused_unless_it_is_meant(
    shop: Shop, client: Client
) -> None:
    await client.buy("R1")
    again = {"customer_number": number_of("R1")}
    assert (await client.buy("R2", **again)).outcome is REJECTED
    meant = await client.buy("R3", counter=2, **again)
    assert meant.outcome is (PENDING if client.dialect.name == "irs" else REJECTED)


# ------------------------------------------------------------------ who may


async def test_a_wrong_secret_buys_nothing(shop: Shop, client: Client) -> None:
    secrets = {"api_key", "pin", "password", "user", "pass"} & set(client.account.credentials)
    for name in secrets:
        report = await client.with_(**{name: "1"}).buy()
        assert (report.outcome, report.fault) == (REJECTED, Fault.ACCOUNT)
    assert await shop.counts() == (0, 0, 0)


@pytest.mark.parametrize("name", ["nobody", "", "a\0b", "x" * 200, "' or 1=1 --"])
async def test_an_unknown_account_buys_nothing(shop: Shop, client: Client, name: str) -> None:
    named = {"digiflazz": "username", "otomax": "memberID", "irs": "id"}[client.dialect.name]
    assert (await client.with_(**{named: name}).buy()).outcome in (REJECTED, UNKNOWN)
    assert await shop.counts() == (0, 0, 0)


async def test_a_removed_door_is_closed_within_a_second(shop: Shop, client: Client) -> None:
    await client.buy()
    assert await doors.remove(shop.api.pool, OPERATOR, client.dialect.name, client.name, "moved on")
    await shop.api.doors.refresh()
    assert (await client.buy("R2")).outcome is REJECTED
    assert (await shop.counts())[0] == 1


async def test_a_suspended_reseller_finds_its_door_closed(
    shop: Shop, customer: Customer, client: Client
) -> None:
    await client.buy()
    await resellers.suspend(shop.api.pool, OPERATOR, str(customer.reseller_id), "unpaid")
    await shop.api.doors.refresh()
    # R1 may be asked about by sending it again: it is not called failed.
    for ref_id in ("R1", "R2"):
        assert (await client.buy(ref_id)).outcome in (PENDING, UNKNOWN)
    assert (await shop.counts())[0] == 1


async def test_old_secrets_open_beside_the_new_while_they_overlap(
    shop: Shop, client: Client
) -> None:
    shape = client.dialect.name
    again = await doors.rotate(
        shop.api.pool, OPERATOR, tools(shop), shape, client.name, timedelta(hours=1)
    )
    newer = client_of(shop, shape, again.credentials)
    await shop.api.doors.refresh()
    assert (await client.buy("R1")).outcome is PENDING
    assert (await newer.buy("R2")).outcome is PENDING
    await doors.rotate(shop.api.pool, OPERATOR, tools(shop), shape, client.name, timedelta(0))
    await shop.api.doors.refresh()
    for old in (client, newer):
        assert (await old.buy("R3")).outcome is REJECTED


async def test_a_door_opens_only_to_its_networks(shop: Shop, customer: Customer) -> None:
    for number, shape in enumerate(SHAPES):
        closed = await open_door(shop, customer, shape, networks=("203.0.113.0/24",))
        assert (await closed.buy(f"A{number}")).outcome in (PENDING, UNKNOWN)
        await doors.set_networks(shop.api.pool, OPERATOR, shape, closed.name, ["127.0.0.1", "::1"])
        await shop.api.doors.refresh()
        assert (await closed.buy(f"B{number}")).outcome is PENDING


async def test_references_are_the_resellers_own(shop: Shop, client: Client) -> None:
    other = await open_door(shop, await shop.customer(), client.dialect.name)
    assert (await client.buy()).outcome is PENDING
    assert (await other.buy()).outcome is PENDING
    assert (await shop.counts())[0] == 2


async def test_a_reference_of_the_api_is_told_at_the_door(
    shop: Shop, customer: Customer, client: Client
) -> None:
    await customer.order("R1", customer_number=number_of("R1"))
    await (await sent(shop, customer)).hear(SUCCEEDED, serial_number="77")
    assert (await client.ask()).serial_number == "77"
    assert await shop.counts() == (1, 2, 0)


async def test_a_door_keeps_its_resellers_rate_and_calls_nothing_failed_for_it(
    shop: Shop, customer: Customer, client: Client
) -> None:
    await shop.owner.execute("update resellers set orders_rate = '2/60s'")
    await shop.api.doors.refresh()
    outcomes = {(await client.buy(f"R{number}")).outcome for number in range(6)}
    assert outcomes == {PENDING}
    assert 1 <= (await shop.counts())[0] < 6


# ------------------------------------------------------------------ balances and tables


async def test_the_balance_is_what_can_be_spent(shop: Shop, customer: Customer) -> None:
    for shape in ("digiflazz", "otomax"):
        client = await open_door(shop, customer, shape)
        assert (await client.balance()).rupiah == 1_000_000
    await resellers.change(
        shop.api.pool, OPERATOR, str(customer.reseller_id), resellers.Edit(credit_limit=5_000)
    )
    client = await open_door(shop, customer, "digiflazz")
    await client.buy()
    assert (await client.balance()).rupiah == 994_500


async def test_the_price_list_holds_the_resellers_own_prices(
    shop: Shop, customer: Customer
) -> None:
    client = await open_door(shop, customer, "digiflazz")
    request = client.dialect.price_list(client.account)
    assert request is not None
    prices = client.dialect.read_price_list(client.account, await client.send(request))
    told = {each.dealer_sku: (each.price_rupiah, each.available) for each in prices}
    assert told == {"TSEL10": (10_500, True), "XL10": (10_600, False)}


def codes_in_place() -> set[str]:
    """Every problem's code that placing names: where it decides, and where it accepts."""
    trees = [ast.parse(inspect.getsource(module)) for module in (pick, place)]
    nodes = (node for tree in trees for node in ast.walk(tree))
    texts = (each.value for each in nodes if isinstance(each, ast.Constant))
    return {text for text in texts if isinstance(text, str) and text in CATALOGUE}


@pytest.mark.parametrize("shape", [digiflazz, otomax, irs])
def test_every_certain_refusal_has_its_word(shape: object) -> None:
    words = vars(shape)["FAILURES"]
    assert set(words) >= CERTAIN
    assert set(words) >= {"number-refused", "not-delivered", "expired", "cancelled"}


def test_every_problem_of_placing_is_certain_or_pending() -> None:
    known = codes_in_place()
    assert {"unknown-sku", "no-route", "insufficient-balance"} <= known
    uncertain = {MISMATCH, "overloaded", "unavailable", "internal-error"}
    assert known <= CERTAIN | uncertain, "decide whether doors may call it failed"
    assert not CERTAIN & uncertain


async def test_the_ledger_adds_up_after_all_of_it(shop: Shop, customer: Customer) -> None:
    for shape in SHAPES:
        client = await open_door(shop, customer, shape)
        await client.buy(f"{shape.upper()}1")
        await (await sent(shop, customer, f"{shape.upper()}1")).hear(SUCCEEDED, serial_number="1")
        await client.buy(f"{shape.upper()}2")
        await (await sent(shop, customer, f"{shape.upper()}2")).hear(FAILED)
        await client.buy(f"{shape.upper()}3", customer_number="0811")
    async with shop.api.pool.acquire() as connection:
        assert await statements.verify(connection) == []
