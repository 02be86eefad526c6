"""A dealer's own price list against our routes there, asked of the dealer simulator over HTTP."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import asyncpg
import pytest

from app.administration import price_lists
from app.administration.plans import Wanted
from app.administration.price_lists import Pulled
from app.errors import Conflict, NotFound, PreconditionFailed, Unavailable
from app.lifecycle.trade import credentials_context
from app.sealing import Sealer
from app.storage.pool import Pool
from dealers.contract import Account, Answer, DealerPrice, Protocol
from dealers.registry import Dialect, load
from tests.administration.office import BY, LIMITS
from tests.dealers.simulator.simulators import RunningSimulator, configuration, simulator
from tests.lifecycle.counters import Asked
from tests.outbound.peers import Conversation, listening
from tests.shops import ALFA, NOBODY, OTOMAX, SECRET_KEY, Owner, Seller, furnish

NOW = datetime(2026, 11, 22, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def dealer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    config = configuration(NOBODY)
    config["dealers"][0]["prices"] = {"S5": 5300, "S10": 10_300}
    config["dealers"].append(
        {
            "dealer_id": "pulau",
            "protocol": "reloadly",
            "credentials": {"client_id": "toko", "client_secret": "kunci"},
            "prices": {},
            "balance_rupiah": 5400,
        }
    )
    config["dealers"].append(
        {
            "dealer_id": "toko",
            "protocol": "okeconnect",
            "credentials": OTOMAX,
            "prices": {"S5": 5100},
        }
    )
    with simulator(tmp_path_factory.mktemp("simulator"), config) as running:
        yield running


@pytest.fixture
async def owner(database_dsn: str, dealer: RunningSimulator) -> AsyncIterator[Owner]:
    await furnish(
        database_dsn,
        [ALFA, Seller("mitra", 5000, protocol="digiflazz", base_url=f"{dealer.url}/mitra")],
    )
    connection = await asyncpg.connect(database_dsn)
    await connection.execute(
        """
        insert into regions values ('bandung', 'jabar');
        insert into routes (route_id, sku, cluster, dealer_id, dealer_sku, cost, enabled)
            values ('gone', 'TRI5', 'jabar', 'mitra', 'S99', 77, true)
        """
    )
    yield connection
    await connection.close()


async def pull(pool: Pool, dealer_id: str = "mitra") -> Pulled:
    return await price_lists.pull(pool, BY, dealer_id, LIMITS, NOW)


async def test_the_list_decides_costs_and_tells_the_rest(owner: Owner, pool: Pool):
    await owner.execute("update routes set enabled = false where route_id = 'r-mitra'")
    pulled = await pull(pool)
    assert (pulled.listed, pulled.unknown, pulled.missing) == (2, ["S10"], ["S99"])
    assert await owner.fetchval("select cost from routes where route_id = 'r-mitra'") == 5000
    applied = await price_lists.apply(pool, BY, pulled, Wanted(reason="today's list"), NOW)
    assert applied.plan.counts.changed == 1
    rows = await owner.fetch("select route_id, cost, enabled from routes order by 1")
    assert [tuple(row) for row in rows] == [
        ("gone", 77, True),
        ("r-alfa", 5000, True),
        ("r-mitra", 5300, True),
    ]
    line = await owner.fetchrow("select action, subject, reason from audit_log")
    assert tuple(line) == ("routes.pulled", "dealer:mitra", "today's list")


async def test_what_the_list_offers_no_more_is_not_bought_whatever_its_price(
    owner: Owner, pool: Pool, dealer: RunningSimulator
):
    address = f"{dealer.url}/toko/harga/json"
    await owner.execute(
        """
        update dealers set protocol = 'okeconnect', options = $1::json, credentials_sealed = $2
        where dealer_id = 'mitra'
        """,
        json.dumps({"price_list_url": address}),
        LIMITS.sealer.seal(json.dumps(OTOMAX), credentials_context("mitra")),
    )
    await owner.execute("update routes set dealer_sku = 'BPLA' where route_id = 'r-mitra'")
    pulled = await pull(pool)
    assert (pulled.unclear, pulled.unknown) == ([], ["S5"])
    await price_lists.apply(pool, BY, pulled, Wanted(), NOW)
    row = await owner.fetchrow("select cost, enabled from routes where route_id = 'r-mitra'")
    assert row is not None
    assert tuple(row) == (5000, False)


async def test_a_large_rise_in_the_list_needs_a_yes(owner: Owner, pool: Pool):
    await owner.execute("update routes set cost = 4000 where route_id = 'r-mitra'")
    pulled = await pull(pool)
    with pytest.raises(Conflict, match="rise by more than 20 %"):
        await price_lists.apply(pool, BY, pulled, Wanted(), NOW)
    await price_lists.apply(pool, BY, pulled, Wanted(allow_rises=True), NOW)
    assert await owner.fetchval("select cost from routes where route_id = 'r-mitra'") == 5300


async def test_a_price_of_another_time_is_left_alone(owner: Owner, pool: Pool):
    await owner.execute("update routes set valid_from = '2026-12-01' where route_id = 'r-mitra'")
    assert b"5300" not in (await pull(pool)).sheet.content


async def test_what_was_pulled_does_not_undo_a_change_in_between(owner: Owner, pool: Pool):
    pulled = await pull(pool)
    await owner.execute("update routing_policy set revision = revision + 1")
    with pytest.raises(PreconditionFailed):
        await price_lists.apply(pool, BY, pulled, Wanted(), NOW)


async def test_a_dealer_that_gives_no_list_is_told(owner: Owner, pool: Pool):
    with pytest.raises(Conflict, match="has no price list") as met:
        await pull(pool, "alfa")
    assert met.value.code == "no-price-list"
    with pytest.raises(NotFound):
        await pull(pool, "nobody")
    await owner.execute("update dealers set base_url = $1", f"{NOBODY}/mitra")
    with pytest.raises(Unavailable) as met:
        await pull(pool)
    assert met.value.code == "dealer-unreachable"


async def test_an_account_that_the_dealer_refuses_is_told(
    owner: Owner, pool: Pool, dealer: RunningSimulator
):
    await owner.execute("update dealers set base_url = $1", f"{dealer.url}/nobody")
    with pytest.raises(Unavailable, match="HTTP 404"):
        await pull(pool)


def _product(sku: int, price: int) -> dict[str, object]:
    wholesale = {"unit_type": "CURRENCY", "unit": "IDR", "amount": price, "fee": 0}
    return {"id": sku, "name": f"{sku}", "prices": {"wholesale": wholesale}}


async def test_a_list_in_pages_is_read_to_its_end(owner: Owner, pool: Pool):
    pages = {"1": (b"2", [_product(5, 5300)]), "2": (b"", [_product(99, 80), _product(100, 9)])}

    async def converse(conversation: Conversation) -> None:
        while True:
            await conversation.read_request()
            asked = Asked(conversation.peer.requests[-1])
            following, products = pages[asked.query["page"]]
            head = b"X-Next-Page: %b\r\n" % following
            await conversation.answer(json.dumps(products).encode(), head)

    async with listening(converse) as peer:
        await _move(owner, "dtone", peer.url, {"api_key": "a", "api_secret": "b"})
        await owner.execute("update routes set dealer_sku = '5' where dealer_sku = 'S5'")
        pulled = await pull(pool)
    assert len(peer.requests) == 2
    assert (pulled.listed, pulled.unknown, pulled.missing) == (3, ["100", "99"], ["S99"])


async def test_a_list_without_end_is_told(owner: Owner, pool: Pool):
    async def converse(conversation: Conversation) -> None:
        while True:
            await conversation.read_request()
            await conversation.answer(b"[]", b"X-Next-Page: 2\r\n")

    async with listening(converse) as peer:
        await _move(owner, "dtone", peer.url, {"api_key": "a", "api_secret": "b"})
        with pytest.raises(Unavailable, match="more than 1000 pages"):
            await pull(pool)


async def test_a_dealer_that_wants_a_log_in_is_asked_with_a_session(
    owner: Owner, pool: Pool, dealer: RunningSimulator
):
    """Its balance stands for a list: no protocol that logs in has one."""
    reloadly = load()["reloadly"].protocol

    def read(_: Account, answer: Answer) -> list[DealerPrice]:
        return [DealerPrice("S5", "", json.loads(answer.body)["balance"], available=True)]

    listing = SimpleNamespace(
        **vars(reloadly) | {"price_list": reloadly.balance, "read_price_list": read}
    )
    dialects = {**load(), "listing": Dialect("listing", cast(Protocol, listing))}
    limits = replace(LIMITS, dialects=dialects)
    url, keys = f"{dealer.url}/pulau", {"client_id": "toko", "client_secret": "kunci"}
    await _move(owner, "listing", url, keys, auth_url=url)
    pulled = await price_lists.pull(pool, BY, "mitra", limits, NOW)
    assert b"5400" in pulled.sheet.content
    await _move(owner, "listing", url, keys | {"client_secret": "wrong"}, auth_url=url)
    with pytest.raises(Unavailable, match="gives no session: the log-in was refused: http-401"):
        await price_lists.pull(pool, BY, "mitra", limits, NOW)


async def _move(
    owner: Owner, protocol: str, base_url: str, credentials: dict[str, str], **options: str
) -> None:
    sealed = Sealer([SECRET_KEY]).seal(json.dumps(credentials), credentials_context("mitra"))
    await owner.execute(
        """
        update dealers set protocol = $1, base_url = $2, credentials_sealed = $3, options = $4
        where dealer_id = 'mitra'
        """,
        protocol,
        base_url,
        sealed,
        json.dumps(options),
    )


async def test_a_list_that_comes_in_pages_is_pulled_to_its_end(
    pool: Pool, database_dsn: str, tmp_path: Path
):
    config = configuration(NOBODY)
    hulu = next(each for each in config["dealers"] if each["protocol"] == "jalur")
    hulu["prices"] = {f"S{number}": number for number in range(5, 255)}
    with simulator(tmp_path, config) as upstream:
        account = json.dumps({"api_key": "kunci"})
        seller = Seller(
            "hulu", 77, protocol="jalur", base_url=f"{upstream.url}/hulu", credentials=account
        )
        await furnish(database_dsn, [seller])
        pulled = await pull(pool, "hulu")
    assert (pulled.listed, len(pulled.unknown), pulled.missing) == (250, 249, [])
    assert b",hulu,S5,5," in pulled.sheet.content
