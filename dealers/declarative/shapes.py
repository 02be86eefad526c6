"""Shapes: an answer or a callback taken apart into named fields, each a line of text.

A field that is not there is the empty text. What cannot be taken apart at all is `Unreadable`:
whether something is absent is never concluded from what could not be read.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qsl

import orjson

from dealers.declarative.description import FieldPart, Shape
from dealers.declarative.faults import Faults, listed
from dealers.declarative.patterns import (
    BadPattern,
    NoValue,
    Path,
    Pattern,
    compile_path,
    compile_pattern,
)

Fields = Mapping[str, str]

_MOST_PARAMETERS = 50
_MOST_RECORDS = 1_000
_EXACT = 2.0**53
"""Past it a float is no longer exact."""
_REFERENCE = "reference"


class Unreadable(Exception):
    """It cannot be taken apart. The message is a report's code."""


class OtherShape(Unreadable):
    """It has another shape: there may be one that it has."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where one field comes from."""

    path: Path | None
    parameter: str | None
    pattern: Pattern | None
    of: str | None
    once: bool


_Value = Callable[[_Source], str]


@dataclass(frozen=True, slots=True)
class Reader:
    """A compiled shape."""

    shape: Shape
    pattern: Pattern | None
    one_of: Path | None
    sources: tuple[tuple[str, _Source], ...]
    names: frozenset[str]
    stated: frozenset[str]
    """The fields that hold what the dealer wrote, and not what a path computes of it."""

    def read(self, query: str, body: bytes, ours: str | None = None) -> tuple[Fields, str]:
        """The fields, and the text that they were found in. Raises Unreadable.

        `ours` is the reference of the record to read where there is a list of them.
        """
        match self.shape.format:
            case "text":
                text = self._text(body)
                return self._from_text(text), text
            case "json":
                return self._from_json(_json(body), ours), ""
            case "query" | "form":
                given = query if self.shape.format == "query" else _decoded(body)
                return self._from_parameters(_parameters(given), ours), ""

    def root(self, name: str) -> str:
        """The field that this one is found in, over all steps; itself where there is none."""
        sources = dict(self.sources)
        while name in sources and (of := sources[name].of) is not None:
            name = of
        return name

    def is_verbatim(self, name: str) -> bool:
        """Whether the field is a parameter or a member of its own, not cut out of a text."""
        source = dict(self.sources).get(name)
        return source is not None and source.pattern is None

    def _text(self, body: bytes) -> str:
        # A template fills a line or two; whatever is longer is some other page.
        if len(body) > self.shape.longest * 4:
            raise OtherShape("no-template")
        text = " ".join(body.decode("utf-8", "replace").split())
        if not text or len(text) > self.shape.longest:
            raise OtherShape("no-template")
        return text

    def _from_text(self, text: str) -> Fields:
        groups = {} if self.pattern is None else self.pattern.groups(text)
        if groups is None:
            raise OtherShape("no-template")
        fields = {name: " ".join(value.split()) for name, value in groups.items()}
        return self._completed(fields, lambda _: text)

    def _from_json(self, document: object, ours: str | None) -> Fields:
        if self.one_of is None:
            return self._record(document)
        records = _found(self.one_of, document)
        if not isinstance(records, list):
            raise OtherShape("no-list")
        listed_records = cast(list[object], records)
        if len(listed_records) > _MOST_RECORDS:
            raise Unreadable("too-many-records")
        read = [self._record(record) for record in listed_records]
        if ours is not None:
            read = [fields for fields in read if fields.get(_REFERENCE) == ours]
        if len(read) != 1:
            raise Unreadable("several-records" if read else "other-reference")
        return read[0]

    def _record(self, document: object) -> Fields:
        def value(source: _Source) -> str:
            found = document if source.path is None else _found(source.path, document)
            return self._line(found)

        return self._completed({}, value)

    def _from_parameters(self, parameters: Mapping[str, list[str]], ours: str | None) -> Fields:
        if self.shape.inside is not None:
            inside = _single(parameters, self.shape.inside)
            if not inside:
                raise OtherShape("no-content")
            return self._from_json(_json(inside.encode("utf-8", "replace")), ours)
        return self._completed(
            {}, lambda source: self._line(_single(parameters, source.parameter or ""))
        )

    def _completed(self, fields: dict[str, str], value: _Value) -> Fields:
        for name, source in self.sources:
            text = value(source) if source.of is None else fields[source.of]
            if source.pattern is not None:
                text = source.pattern.find(text, once=source.once).strip()
            fields[name] = text
        return fields

    def _line(self, value: object) -> str:
        text = " ".join(text_of(value).split())
        if len(text) > self.shape.longest:
            # Cut, it might lose the word that denies its beginning.
            raise Unreadable("field-too-long")
        return text


def text_of(value: object) -> str:
    """A JSON value as a text: nothing and what is empty as the empty text."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(value)
        case float():
            # With an exponent no dot can pass for a thousands separator.
            is_whole = value.is_integer() and abs(value) < _EXACT
            return str(int(value)) if is_whole else f"{value:e}"
        case _:
            return orjson.dumps(value).decode() if value else ""


def compile_shape(place: str, shape: Shape, faults: Faults) -> Reader:
    """Compile a shape; its faults stand at their places."""
    pattern = _pattern(f"{place}.pattern", shape.pattern, faults)
    if pattern is not None and shape.format != "text":
        faults.wrong(f"{place}.pattern", "belongs to text; a field may have a pattern")
    if shape.one_of is not None and shape.format != "json" and shape.inside is None:
        faults.wrong(f"{place}.one_of", "belongs to json")
    if shape.one_of is not None and _REFERENCE not in shape.fields:
        faults.wrong(f"{place}.one_of", "needs the field reference, by which the record is found")
    if shape.inside is not None and shape.format not in {"query", "form"}:
        faults.wrong(f"{place}.inside", "belongs to query and form")
    known = list(pattern.names) if pattern else []
    sources: list[tuple[str, _Source]] = []
    for name, part in shape.fields.items():
        at = f"{place}.fields.{name}"
        if name in known:
            faults.wrong(at, "is named by the pattern already")
        sources.append((name, _source(at, part, shape, known, faults)))
        known.append(name)
    one_of = _path(f"{place}.one_of", shape.one_of, faults)
    computed: set[str] = set()
    for name, source in sources:
        if source.of in computed or (source.path is not None and not source.path.stated):
            computed.add(name)
    names = frozenset(known)
    return Reader(shape, pattern, one_of, tuple(sources), names, names - computed)


def json_path(place: str, source: str, faults: Faults) -> Path | None:
    """A compiled path, or None with a fault noted."""
    return _path(place, source, faults)


def _source(
    place: str, part: FieldPart, shape: Shape, known: Iterable[str], faults: Faults
) -> _Source:
    in_json = shape.format == "json" or shape.inside is not None
    if part.of is not None and part.of not in known:
        faults.wrong(f"{place}.of", f"names no field before this one; there is {listed([*known])}")
    if part.path is not None and (part.of is not None or shape.format == "text"):
        faults.wrong(f"{place}.path", "belongs to json, query and form, and not beside of")
    if part.path is None and part.of is None and shape.format in {"query", "form"}:
        faults.wrong(place, "needs path, the parameter's name" if not in_json else "needs path")
    if part.pattern is None and (part.path is None or part.once):
        faults.wrong(place, "needs path or pattern; once belongs to a pattern")
    if part.pattern is None and part.path is None:
        return _Source(None, None, None, None, once=False)
    return _Source(
        path=_path(f"{place}.path", part.path, faults) if in_json else None,
        parameter=None if in_json else part.path,
        pattern=_pattern(f"{place}.pattern", part.pattern, faults),
        of=part.of,
        once=part.once,
    )


def _pattern(place: str, source: str | None, faults: Faults) -> Pattern | None:
    if source is None:
        return None
    try:
        return compile_pattern(source)
    except BadPattern as error:
        faults.wrong(place, str(error))
        return None


def _path(place: str, source: str | None, faults: Faults) -> Path | None:
    if source is None:
        return None
    try:
        return compile_path(source)
    except BadPattern as error:
        faults.wrong(place, str(error))
        return None


def _found(path: Path, document: object) -> object:
    try:
        return path.find(document)
    except NoValue:
        raise Unreadable("unfit-field") from None


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Unreadable("not-json") from None


def _decoded(body: bytes) -> str:
    return body.decode("utf-8", "replace")


def _parameters(text: str) -> Mapping[str, list[str]]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise Unreadable("unreadable-parameters") from None
    parameters: dict[str, list[str]] = {}
    for name, value in pairs:
        parameters.setdefault(name, []).append(value)
    return parameters


def _single(parameters: Mapping[str, list[str]], name: str) -> str:
    values = parameters.get(name, [])
    if len(values) > 1:
        raise Unreadable("repeated-parameter")
    return values[0] if values else ""
