"""Examples for the API's description, made out of its schemas: a new model has one by itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeAlias
from uuid import UUID

Schema: TypeAlias = Mapping[str, Any]

_ORDER_ID = "01a200b2-2c5c-70b8-87fb-03340034df76"
_MOMENT = "2026-11-22T00:40:06.525510+00:00"

_MISSING = object()
_SAMPLES: Mapping[str, Any] = {
    "id": _ORDER_ID,
    "order_id": _ORDER_ID,
    "ref_id": "INV-1001",
    "sku": "S10",
    "name": "Telkomsel 10.000",
    "brand": "telkomsel",
    "kind": "pulsa",
    "denomination": 10_000,
    "price": 11_124,
    "max_price": 10_900,
    "max_charge": 11_500,
    "customer_number": "081234567800",
    "cluster": None,
    "region": "bandung",
    "status": "succeeded",
    "delayed": False,
    "serial_number": "366466452100000001",
    "failure": None,
    "version": 2,
    "metadata": {"cashier": "3"},
    "created_at": "2026-11-22T00:40:06.492627+00:00",
    "finished_at": _MOMENT,
    "url": "https://example.com/jalur",
    "secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "next_cursor": None,
    "has_more": False,
    "available": 9_988_876,
    "reserved": 11_124,
    "credit_limit": 0,
    "available_delta": -11_124,
    "reserved_delta": 11_124,
    "available_after": 9_988_876,
    "reserved_after": 11_124,
    "seq": 2,
    "reference": None,
    "reason": "as agreed by telephone",
    "amount": 1_000_000,
}
"""A likely value, by the field's name."""

_OF_TYPE: Mapping[str, Any] = {"boolean": True, "integer": 1, "null": None, "number": 1.5}
_OF_FORMAT = {"date-time": _MOMENT, "date": "2026-11-22", "uuid": _ORDER_ID}
_READERS: Mapping[str, Callable[[str], object]] = {
    "date-time": datetime.fromisoformat,
    "date": date.fromisoformat,
    "uuid": UUID,
}
_TYPES: Mapping[str, type[object]] = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "null": type(None),
    "object": dict,
    "string": str,
}
_DEEPEST = 8


def example_of(schema: Schema, schemas: Mapping[str, Schema], *, whole: bool) -> object:
    """A value that fits a schema, which may refer to `schemas`.

    `whole`: with the fields that may be left out, too.
    """
    return _Maker(schemas, whole).value(schema)


@dataclass(frozen=True, slots=True)
class _Maker:
    """One walk through a schema."""

    schemas: Mapping[str, Schema]
    whole: bool

    def value(self, schema: Schema, name: str = "", depth: int = 0) -> object:
        """What stands in the field `name`, so many levels deep."""
        if "$ref" in schema:
            return self.value(self.schemas[schema["$ref"].rpartition("/")[2]], name, depth)
        if "examples" in schema:
            return schema["examples"][0]
        if "const" in schema:
            return schema["const"]
        choices: list[Schema] = schema.get("anyOf") or schema.get("oneOf") or [schema]
        sample = _SAMPLES.get(name, _MISSING)
        if any(_fits(sample, choice) for choice in choices):
            return sample
        chosen = choices[0]
        return (
            self.value(chosen, name, depth) if chosen is not schema else self._made(schema, depth)
        )

    def _made(self, schema: Schema, depth: int) -> object:
        """A value by the schema's type alone."""
        kind = schema.get("type", "object")
        if "enum" in schema:
            return schema["enum"][0]
        if kind == "array":
            items = schema.get("items", {})
            return [] if depth >= _DEEPEST else [self.value(items, "", depth + 1)]
        if kind == "object":
            return self._object(schema, depth)
        if kind == "string":
            return _OF_FORMAT.get(schema.get("format", ""), "text")
        return schema.get("minimum", _OF_TYPE[kind])

    def _object(self, schema: Schema, depth: int) -> dict[str, object]:
        required = schema.get("required", ())
        return {
            name: self.value(field, name, depth + 1)
            for name, field in schema.get("properties", {}).items()
            if name in required or (self.whole and depth < _DEEPEST)
        }


def _fits(sample: Any, schema: Schema) -> bool:  # noqa: ANN401 (any JSON value)
    """Whether a sample has the type and the form that the schema asks for."""
    if type(sample) is not _TYPES.get(schema.get("type", "")):
        return False
    if "enum" in schema:
        return sample in schema["enum"]
    reader = _READERS.get(schema.get("format", ""))
    try:
        return reader is None or bool(reader(sample))
    except ValueError:
        return False
