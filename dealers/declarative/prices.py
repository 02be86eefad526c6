"""Price lists: a list of records in JSON, each a product on offer."""

from dataclasses import dataclass
from typing import cast

import orjson

from dealers.contract import Answer, DealerPrice, UnreadableAnswer
from dealers.declarative.amounts import rupiah
from dealers.declarative.description import PricesPart
from dealers.declarative.faults import Faults
from dealers.declarative.meanings import Condition, compile_conditions
from dealers.declarative.patterns import NoValue, Path
from dealers.declarative.shapes import json_path, text_of

_MOST_LINES = 100_000


@dataclass(frozen=True, slots=True)
class PriceReader:
    """Answers to the price list request."""

    part: PricesPart
    amounts: str
    items: Path
    paths: tuple[tuple[str, Path], ...]
    available: tuple[Condition, ...]

    def read(self, answer: Answer) -> list[DealerPrice]:
        """Read every line that names a product. Raises UnreadableAnswer."""
        if answer.status not in self.part.http_status:
            raise UnreadableAnswer(f"http-{answer.status}")
        try:
            items = self.items.find(orjson.loads(answer.body))
        except (orjson.JSONDecodeError, NoValue):
            raise UnreadableAnswer("it is not JSON of this shape") from None
        if not isinstance(items, list):
            raise UnreadableAnswer("there is no list where the prices should be")
        lines = cast(list[object], items)
        if len(lines) > _MOST_LINES:
            raise UnreadableAnswer(f"it has more than {_MOST_LINES} lines")
        return [line for line in map(self._line, lines) if line is not None]

    def _line(self, item: object) -> DealerPrice | None:
        try:
            values = {name: " ".join(text_of(path.find(item)).split()) for name, path in self.paths}
        except NoValue:
            raise UnreadableAnswer("a line does not fit the description") from None
        if not values["sku"]:
            return None
        price = rupiah(values["price"], self.amounts) or 0
        # Lists carry lines without a price or with a negative one: those are never routed.
        on_sale = price > 0 and all(condition.holds(values) for condition in self.available)
        return DealerPrice(values["sku"], values.get("name", ""), max(price, 0), on_sale)


def compile_prices(part: PricesPart, amounts: str, faults: Faults) -> PriceReader | None:
    """Compile the price list; None with a fault noted."""
    stated = {"sku": part.sku, "name": part.name, "price": part.price}
    sources = {name: source for name, source in stated.items() if source is not None}
    for name in part.fields.keys() & stated.keys():
        faults.wrong(f"prices.fields.{name}", "stands beside items already")
    sources |= part.fields
    items = json_path("prices.items", part.items, faults)
    paths = [
        (name, path)
        for name, source in sources.items()
        if (path := json_path(f"prices.{name}", source, faults)) is not None
    ]
    available = compile_conditions("prices.available", part.available, sources, faults)
    if items is None or len(paths) < len(sources):
        return None
    return PriceReader(part, amounts, items, tuple(paths), available)
