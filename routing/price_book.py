"""The price book: what resellers can order and what each tier of them pays, as one block of bytes.

A shop may have a hundred thousand products in several tiers: they are read where they lie.

The parts of the block (`routing/blocks.py`), whose head has the tiers:

    skus      an index of the SKUs, sorted: their numbers
    slots
    ends      u64 each product: where its text ends in `texts`
    texts     JSON of SKU, name, brand, kind, denomination, one behind the other
    prices    i64 each tier and product, tier by tier: rupiah, 0 where the tier cannot buy it
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Set
from operator import itemgetter
from typing import NamedTuple

import orjson

from routing.blocks import (
    Content,
    Index,
    checksum_of,
    read_block,
    read_numbers,
    write_block,
    written_index,
    written_numbers,
)
from routing.table import BadTable, Product

_MAGIC = b"jalur prices 2\n"
_MOST_ASKED = 4096


class Price(NamedTuple):
    """What resellers of a tier pay for a product, in rupiah."""

    tier: str
    sku: str
    price_rupiah: int


def compile_prices(products: Iterable[Product], prices: Iterable[Price]) -> bytes:
    """Compile a price book. Prices of products that are not among them are left out.

    Raises `BadTable`.
    """
    ordered = sorted(products, key=itemgetter(0))
    skus = [product.sku for product in ordered]
    numbers = {sku: number for number, sku in enumerate(skus)}
    if len(numbers) < len(skus):
        raise BadTable("a product appears more than once")
    columns: dict[str, array[int]] = {}
    for tier, sku, price_rupiah in prices:
        number = numbers.get(sku)
        if number is not None:
            if tier not in columns:
                columns[tier] = array("q", bytes(8 * len(skus)))
            columns[tier][number] = price_rupiah
    tiers = sorted(columns)
    texts, ends = bytearray(), array("Q")
    for product in ordered:
        texts += orjson.dumps(tuple(product))
        ends.append(len(texts))
    index, slots = written_index(numbers)
    parts = {
        "skus": index,
        "slots": slots,
        "ends": written_numbers(ends),
        "texts": texts,
        "prices": b"".join(written_numbers(columns[tier]) for tier in tiers),
    }
    return write_block(_MAGIC, {"tiers": tiers}, parts)


class PriceBook:
    """A compiled price book, read where it lies. Never changes."""

    __slots__ = ("_asked", "_ends", "_numbers", "_prices", "_texts", "_tiers", "checksum")

    def __init__(self, content: Content, checksum: str | None = None) -> None:
        """Read a price book; `checksum`, where it is known, saves reading all of it.

        Raises `BadTable` for bytes that are none.
        """
        self.checksum = checksum or checksum_of(content)
        head, parts = read_block(_MAGIC, content)
        self._ends = read_numbers(parts["ends"], "Q")
        self._texts = parts["texts"]
        count = len(self._ends)
        self._numbers = Index(parts["skus"], parts["slots"])
        self._prices = read_numbers(parts["prices"], "q")
        self._tiers: Mapping[str, int] = {
            tier: number * count for number, tier in enumerate(head["tiers"])
        }
        self._asked: dict[str, Product] = {}
        """Products that were asked for, unpacked."""

    def __len__(self) -> int:
        """How many products there are."""
        return len(self._ends)

    def product(self, sku: str) -> Product | None:
        """A product on sale; None where there is none."""
        found = self._asked.get(sku)
        if found is not None:
            return found
        number = self._numbers.find(sku)
        if number is None:
            return None
        if len(self._asked) >= _MOST_ASKED:
            self._asked.clear()
        found = self._asked[sku] = self._product(number)
        return found

    def price(self, tier: str, sku: str) -> int | None:
        """What a tier pays, in rupiah; None where it cannot buy the product."""
        number, begins = self._numbers.find(sku), self._tiers.get(tier)
        if number is None or begins is None:
            return None
        return self._prices[begins + number] or None

    def on_sale(
        self, tier: str, after: str = "", prefix: str = ""
    ) -> Iterator[tuple[Product, int]]:
        """What a tier can buy and what it pays, by SKU, from behind `after` on; of those SKUs that
        begin with `prefix`."""
        begins = self._tiers.get(tier)
        if begins is None:
            return
        every = range(len(self))
        behind = bisect_right(every, after, key=self._sku)
        for number in every[max(behind, bisect_left(every, prefix, key=self._sku)) :]:
            product = self._product(number)
            if not product.sku.startswith(prefix):
                return
            price_rupiah = self._prices[begins + number]
            if price_rupiah:
                yield product, price_rupiah

    def _product(self, number: int) -> Product:
        begins = self._ends[number - 1] if number else 0
        text = self._texts[begins : self._ends[number]]
        return Product(*orjson.loads(text))

    def _sku(self, number: int) -> str:
        return self._product(number).sku

    def skus(self) -> Set[str]:
        """The SKUs of all products."""
        return self._numbers.keys()

    def tiers(self) -> Set[str]:
        """The tiers that can buy anything."""
        return self._tiers.keys()
