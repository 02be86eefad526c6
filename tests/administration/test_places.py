"""Outlets and the numbering hint: put in place, taken up, used by orders; refusals forgotten."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from app.administration import catalogue, dealers, outlets, refusals
from app.administration.operator import Scope
from app.administration.sheets import Placed
from app.errors import Forbidden, NotFound, Unprocessable
from app.storage import cluster_refusals
from app.storage.pool import Pool
from routing.refusals import Area, Refusal
from tests.administration.office import BY, LIMITS, NUSANTARA, acts, only, revision
from tests.http.shop import Shop, open_shop

NOW = datetime.now(UTC)
AREA = Area("nusantara", "tri", "jabar")


@pytest.fixture
async def shop(pool: Pool, database_dsn: str) -> AsyncIterator[Shop]:
    async with open_shop(pool, database_dsn) as opened:
        yield opened


def placed(*rows: tuple[str, str]) -> list[Placed[tuple[str, str]]]:
    return [Placed(f"line {line}", row) for line, row in enumerate(rows, 2)]


async def test_orders_lie_where_their_region_outlet_or_number_says(shop: Shop, pool: Pool):
    customer, other = await shop.customer(), await shop.customer()
    await catalogue.put_regions(pool, BY, placed(("bandung", "west-java")))
    await catalogue.put_numbering(pool, BY, placed(("08123", "central-java")))
    await outlets.put(pool, BY, str(customer.reseller_id), placed(("12", "surabaya")))
    await shop.api.router.refresh(pool)
    wanted = {
        "r-1": {"region": "bandung", "outlet_id": "12"},
        "r-2": {"outlet_id": "12"},
        "r-3": {"outlet_id": "13"},
        "r-4": {},
    }
    answers = [await customer.order(ref_id, **fields) for ref_id, fields in wanted.items()]
    answers.append(await other.order("r-5", outlet_id="12"))
    clusters = [answer.json()["cluster"] for answer in answers]
    assert clusters == ["west-java", "east-java", *["central-java"] * 3]
    await catalogue.remove_numbering(pool, BY, "08123")
    await outlets.remove(pool, BY, str(customer.reseller_id), "12")
    await shop.api.router.refresh(pool)
    assert (await customer.order("r-6", outlet_id="12")).json()["cluster"] is None
    replayed = await customer.order("r-2", outlet_id="12")
    assert (replayed.status_code, replayed.json()["cluster"]) == (200, "east-java")


async def test_outlets_are_told_once_and_each_change_is_recorded(shop: Shop, pool: Pool):
    reseller = str((await shop.customer()).reseller_id)
    rows = placed(("12", "surabaya"), ("13", "surabaya"))
    assert await outlets.put(pool, BY, reseller, rows) == catalogue.Tally(2, 2)
    published = await revision(pool)
    assert await outlets.put(pool, BY, reseller, rows) == catalogue.Tally(2, 0)
    assert await revision(pool) == published
    async with pool.acquire() as connection:
        assert await outlets.listed(connection, reseller) == [
            ("12", "surabaya"),
            ("13", "surabaya"),
        ]
    await outlets.remove(pool, BY, reseller, "13", "closed")
    told = [(act.action, act.subject) for act in (await acts(pool))[-2:]]
    assert told == [
        ("outlets.put", f"reseller:{reseller}"),
        ("outlet.removed", f"reseller:{reseller}"),
    ]


async def test_outlets_that_cannot_be_are_refused_whole(shop: Shop, pool: Pool):
    reseller = str((await shop.customer()).reseller_id)
    for wrong in (
        placed(("12", "surabaya"), ("13", "atlantis")),
        placed(("12", "surabaya"), ("12", "surabaya")),
        placed(("", "surabaya")),
    ):
        with pytest.raises(Unprocessable):
            await outlets.put(pool, BY, reseller, wrong)
    with pytest.raises(NotFound):
        await outlets.remove(pool, BY, reseller, "12")
    with pytest.raises(NotFound):
        await outlets.put(pool, BY, "nobody", [])
    with pytest.raises(Forbidden):
        await outlets.put(pool, only(Scope.CATALOGUE), reseller, [])


async def test_prefix_too_short_to_tell_a_cluster_is_refused(pool: Pool):
    with pytest.raises(Unprocessable):
        await catalogue.put_numbering(pool, BY, placed(("0812", "jabar")))
    with pytest.raises(NotFound):
        await catalogue.remove_numbering(pool, BY, "08123")


# ------------------------------------------------------------------ refusals


async def test_refused_clusters_are_listed_and_forgotten(pool: Pool):
    await dealers.add(pool, BY, NUSANTARA, LIMITS)
    hour = timedelta(hours=1)
    jatim = AREA._replace(cluster="jatim")
    learned = [Refusal(AREA, f"089{number}", NOW - number * hour) for number in range(3)]
    async with pool.acquire() as connection:
        await cluster_refusals.put(connection, [*learned, Refusal(jatim, "0890", NOW - hour)])
        seen = await refusals.listed(connection, "nusantara", NOW)
        assert await refusals.listed(connection, None, NOW) == seen
        assert await refusals.listed(connection, None, NOW + 48 * hour) == []
        with pytest.raises(NotFound):
            await refusals.listed(connection, "nobody", NOW)
    assert [(each.cluster, each.numbers, each.left_out_until) for each in seen] == [
        ("jabar", 3, NOW + 22 * hour),
        ("jatim", 1, None),
    ]
    assert await refusals.forget(pool, BY, "nusantara", cluster="jabar", reason="new") == [AREA]
    assert await refusals.forget(pool, BY, "nusantara", cluster="jabar") == []
    assert await refusals.forget(pool, BY, "nusantara") == [jatim]
    told = [act for act in await acts(pool) if act.action == "dealer.clusters_forgotten"]
    assert [act.before for act in told] == [
        {"clusters": ["tri jabar"]},
        {"clusters": ["tri jatim"]},
    ]
    with pytest.raises(Forbidden):
        await refusals.forget(pool, only(Scope.CATALOGUE), "nusantara")
