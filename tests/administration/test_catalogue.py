"""The catalogue: lists put in place whole, published once, told once."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from app.administration import catalogue
from app.administration.operator import Operator, Scope
from app.administration.sheets import Placed
from app.errors import Forbidden, NotFound, Unprocessable
from app.storage import reference
from app.storage.pool import Pool
from app.storage.reference import PriceRow, ProductRow
from routing.numbering import INDONESIAN_PREFIXES
from tests.administration.office import BY, TRI5, TRI10, acts, only, price, revision


class Stands(NamedTuple):
    """What the reference tables hold."""

    revision: int
    goods_revision: int
    products: list[ProductRow]
    prices: list[PriceRow]
    prefixes: list[tuple[str, str]]
    regions: list[tuple[str, str]]


async def read(pool: Pool) -> Stands:
    async with pool.acquire() as connection:
        terms = await reference.terms(connection)
        revisions = await reference.revisions(connection)
        products = await reference.products(connection)
        prices = await reference.prices(connection)
    on_sale = [row for row in products if row.enabled]
    return Stands(*revisions[:2], on_sale, prices, terms.prefixes, terms.regions)


async def test_an_empty_database_knows_the_indonesian_numbers(pool: Pool):
    assert (await read(pool)).prefixes == sorted(INDONESIAN_PREFIXES)


async def test_products_and_prices_are_put_in_place_and_published(pool: Pool):
    before = await revision(pool)
    tally = await catalogue.put_products(pool, BY, [TRI5, TRI10])
    assert (tally.given, tally.changed) == (2, 2)
    await catalogue.put_prices(pool, BY, [price(5500)])
    stands = await read(pool)
    assert [row.sku for row in stands.products] == ["TRI10", "TRI5"]
    assert stands.prices == [PriceRow("standard", "TRI5", 5500)]
    assert stands.revision == before + 2


async def test_only_what_differs_is_told_and_nothing_where_nothing_does(pool: Pool):
    await catalogue.put_products(pool, BY, [TRI5])
    await catalogue.put_prices(pool, BY, [price(5500)])
    published = await revision(pool)
    assert (await catalogue.put_prices(pool, BY, [price(5500)])).changed == 0
    assert (await revision(pool), len(await acts(pool))) == (published, 2)
    tally = await catalogue.put_prices(pool, BY, [price(5600), price(5400, "gold")], "dearer")
    assert tally.changed == 2
    act = (await acts(pool))[-1]
    assert act.before == {"standard TRI5": {"price": 5500}}
    assert act.after == {"standard TRI5": {"price": 5600}, "gold TRI5": {"price": 5400}}
    assert act.reason == "dearer"


WRONG_PRICES: dict[str, tuple[Sequence[Placed[PriceRow]], str]] = {
    "unknown product": (
        [price(5500), Placed("line 3", PriceRow("standard", "TRI50", 5))],
        "line 3.sku",
    ),
    "twice": ([price(5500), Placed("line 9", PriceRow("standard", "TRI5", 5600))], "line 9"),
    "for nothing": ([price(5500), Placed("line 3", PriceRow("gold", "TRI5", 0))], "line 3.price"),
    "unbelievable": ([Placed("line 3", PriceRow("gold", "TRI5", 10**15))], "line 3.price"),
    "NUL": ([Placed("line 3", PriceRow("gold\0", "TRI5", 5))], "line 3.tier"),
}


@pytest.mark.parametrize("case", WRONG_PRICES)
async def test_one_wrong_price_refuses_them_all(pool: Pool, case: str):
    await catalogue.put_products(pool, BY, [TRI5])
    published, (rows, field) = await revision(pool), WRONG_PRICES[case]
    with pytest.raises(Unprocessable) as refused:
        await catalogue.put_prices(pool, BY, rows)
    assert [error.field for error in refused.value.errors] == [field]
    assert (await read(pool)).prices == []
    assert (await revision(pool), len(await acts(pool))) == (published, 1)


async def test_a_product_of_a_brand_without_numbers_is_refused(pool: Pool):
    row = ProductRow("X5", "X", "trii", "pulsa", 5000)
    with pytest.raises(Unprocessable) as refused:
        await catalogue.put_products(pool, BY, [TRI5, Placed("line 3", row)])
    assert [error.field for error in refused.value.errors] == ["line 3.brand"]
    assert (await read(pool)).products == []


async def test_a_product_off_sale_stays_so_when_it_is_imported_again(pool: Pool):
    await catalogue.put_products(pool, BY, [TRI5, TRI10])
    assert await catalogue.set_on_sale(pool, BY, "TRI5", on_sale=False, reason="gone")
    assert not await catalogue.set_on_sale(pool, BY, "TRI5", on_sale=False, reason="gone")
    await catalogue.put_products(pool, BY, [TRI5, TRI10])
    assert [row.sku for row in (await read(pool)).products] == ["TRI10"]
    assert await catalogue.set_on_sale(pool, BY, "TRI5", on_sale=True)
    told = [act.action for act in await acts(pool)]
    assert told == ["products.put", "product.disabled", "product.enabled"]
    with pytest.raises(NotFound):
        await catalogue.set_on_sale(pool, BY, "TRI50", on_sale=True)


async def test_prefixes_and_regions_are_put_in_place(pool: Pool):
    await catalogue.put_prefixes(pool, BY, [Placed("line 2", ("08959", "tritri"))])
    await catalogue.put_regions(pool, BY, [Placed("line 2", ("Kota Bogor", "jabar"))])
    stands = await read(pool)
    assert ("08959", "tritri") in stands.prefixes
    assert stands.regions == [("Kota Bogor", "jabar")]
    assert [act.after for act in await acts(pool)] == [
        {"08959": {"brand": "tritri"}},
        {"Kota Bogor": {"cluster": "jabar"}},
    ]


@pytest.mark.parametrize("prefix", ["0", "07", "62812", "0812\0", "08123456", "٠٨١٢"])
async def test_a_prefix_that_no_table_takes_is_refused(pool: Pool, prefix: str):
    with pytest.raises(Unprocessable, match="line 2"):
        await catalogue.put_prefixes(pool, BY, [Placed("line 2", (prefix, "tri"))])
    assert (await read(pool)).prefixes == sorted(INDONESIAN_PREFIXES)


async def test_an_act_whose_line_cannot_be_written_changes_nothing(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the log is full")

    published = await revision(pool)
    monkeypatch.setattr(Operator, "record", fail)
    with pytest.raises(RuntimeError):
        await catalogue.put_products(pool, BY, [TRI5])
    assert (await read(pool)).products == []
    assert await revision(pool) == published


async def test_the_catalogue_needs_its_scope(pool: Pool):
    others = only(*(set(Scope) - {Scope.CATALOGUE}))
    for act in (
        catalogue.put_products(pool, others, [TRI5]),
        catalogue.put_prices(pool, others, [price(5)]),
        catalogue.put_prefixes(pool, others, []),
        catalogue.put_regions(pool, others, []),
        catalogue.set_on_sale(pool, others, "TRI5", on_sale=True),
    ):
        with pytest.raises(Forbidden):
            await act
