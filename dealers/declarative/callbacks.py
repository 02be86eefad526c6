"""Callbacks: read like an answer, and a word only by a checked signature over what decides.

A signature is worth what it covers. Over the whole body it covers everything that is read from the
body. Over single fields it covers the state only where the reference and every field that a rule
of consequence looks at are signed as they stand, and cannot run into one another.
"""

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dealers.contract import Callback, CallbackRefused, CallbackReport, Report
from dealers.declarative.description import CallbackPart, Description
from dealers.declarative.faults import CannotRender, Faults
from dealers.declarative.meanings import CALLBACK, Rules, compile_rules
from dealers.declarative.requests import setting_variables, signer
from dealers.declarative.shapes import Fields, OtherShape, Reader, Unreadable
from dealers.declarative.signing import Signer
from dealers.declarative.templates import Context, Sandbox, Template, inserted_plainly

_REFERENCE = "reference"
_CREDENTIALS = "credentials."
_FIELDS = "fields."
_BODY = "body"
_RAW_BODY = re.compile(r"\{\{ ?body ?\}\}")


@dataclass(frozen=True, slots=True)
class _Cover:
    """What a signature covers."""

    state: bool
    """The reference and all that decides."""
    fields: frozenset[str]
    """By their roots."""
    separators: tuple[str, ...] = ()
    """What stands between signed fields; no field may hold one."""


@dataclass(frozen=True, slots=True)
class _Proof:
    """A compiled callback signature."""

    part: CallbackPart
    signer: Signer
    cover: _Cover
    secrets: frozenset[str]
    """The credentials that it needs."""
    raw: bool
    """Whether it signs the body alone, byte for byte."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One shape that a callback may have."""

    reader: Reader
    rules: Rules
    proof: _Proof | None

    def read(
        self, callback: Callback, context: Context, given: Mapping[str, str]
    ) -> CallbackReport:
        """Read a callback. Raises Unreadable, CannotRender, CallbackRefused."""
        fields, text = self.reader.read(callback.query, callback.body)
        if not fields.get(_REFERENCE):
            raise CallbackRefused("it names no reference")
        verified = self._verified(callback, fields, context, given)
        report = self.rules.report(fields, text)
        if verified:
            report = self._covered(report)
        return CallbackReport(fields[_REFERENCE], report, verified)

    def _verified(
        self, callback: Callback, fields: Fields, context: Context, given: Mapping[str, str]
    ) -> bool:
        """Whether it is signed over its state. Raises CallbackRefused where the sign is wrong."""
        proof = self.proof
        if proof is None or not all(given.get(name) for name in proof.secrets):
            return False
        body = callback.body.decode("utf-8", "replace")
        known = {**context, _BODY: body, _FIELDS[:-1]: fields}
        due = _due(proof, callback, known)
        shown = _shown(proof.part, callback, fields)
        if proof.signer.recipe.output == "hex":
            due, shown = due.casefold(), shown.casefold()
        if not hmac.compare_digest(due.encode(), shown.encode("utf-8", "replace")):
            raise CallbackRefused("its signature is missing or wrong")
        signed = "".join(fields[name] for name in proof.cover.fields if name in fields)
        return proof.cover.state and not any(mark in signed for mark in proof.cover.separators)

    def _covered(self, report: Report) -> Report:
        """Leave out what the signature does not cover: it could be anybody's."""
        if self.proof is None or _BODY in self.proof.signer.over.variables:
            return report
        cover = self.proof.cover.fields
        kept = {name: self.reader.root(name) in cover for name in ("serial_number", "price")}
        return replace(
            report,
            serial_number=report.serial_number if kept["serial_number"] else None,
            price_rupiah=report.price_rupiah if kept["price"] else None,
        )


@dataclass(frozen=True, slots=True)
class CallbackReader:
    """Callbacks of one description, in the shapes that they may have."""

    ways: tuple[_Way, ...]
    content_type: str
    acknowledgement: Template

    @property
    def is_word(self) -> bool:
        """Whether a checked signature makes a callback a word."""
        return any(way.proof is not None and way.proof.cover.state for way in self.ways)

    def read(
        self, callback: Callback, context: Context, given: Mapping[str, str]
    ) -> CallbackReport:
        """Read a callback; `given` are the account's credentials. Raises CallbackRefused."""
        refusal = "it has no shape"
        for way in self.ways:
            try:
                return way.read(callback, context, given)
            except OtherShape as error:
                refusal = str(error)
            except (Unreadable, CannotRender) as error:
                raise CallbackRefused(str(error)) from None
        raise CallbackRefused(refusal)

    def acknowledge(self, callback: Callback, context: Context) -> tuple[str, bytes]:
        """Content type and body of the answer. A field that cannot be read is empty there."""
        known = {name: "" for way in self.ways for name in way.reader.names}
        for way in self.ways:
            try:
                known |= way.reader.read(callback.query, callback.body)[0]
            except Unreadable:
                continue
            break
        body = self.acknowledgement.render({**context, _FIELDS[:-1]: known})
        return self.content_type, body.encode("utf-8", "replace")


def compile_callback(
    description: Description, readers: Mapping[str, Reader], sandbox: Sandbox, faults: Faults
) -> CallbackReader | None:
    """Compile the callbacks, where there are any."""
    part = description.callback
    if part is None:
        return None
    settings = setting_variables(description)
    ways: list[_Way] = []
    for index, read in enumerate(part.read):
        place = f"callback.read[{index}]"
        reader = readers.get(read.shape)
        if reader is None:
            faults.wrong(f"{place}.shape", f"there is no shape {read.shape}")
            continue
        if _REFERENCE not in reader.names:
            faults.wrong(f"{place}.shape", "has no field reference: a callback must name ours")
        rules = compile_rules(CALLBACK, place, description, read, reader, faults)
        known = settings | {f"{_FIELDS}{name}" for name in reader.names} | {_BODY}
        ways.append(_Way(reader, rules, _proof(part, reader, rules, known, sandbox, faults)))
    fields = {f"{_FIELDS}{name}" for way in ways for name in way.reader.names}
    acknowledgement = sandbox.text("callback.acknowledge.text", part.acknowledge.text, fields)
    return CallbackReader(tuple(ways), part.acknowledge.content_type, acknowledgement)


def _proof(
    part: CallbackPart,
    reader: Reader,
    rules: Rules,
    known: Iterable[str],
    sandbox: Sandbox,
    faults: Faults,
) -> _Proof | None:
    recipe = part.signature
    if recipe is None:
        return None
    place = "callback.signature"
    signed = signer(sandbox, faults, place, recipe, frozenset(known))
    place_of = recipe.given_in
    if (place_of.header is None) == (place_of.field is None):
        faults.wrong(f"{place}.given_in", "must be either a header or a field")
    if place_of.field is not None and place_of.field not in reader.names:
        faults.wrong(f"{place}.given_in.field", f"there is no field {place_of.field}")
    secrets = frozenset(
        name.removeprefix(_CREDENTIALS)
        for name in signed.variables
        if name.startswith(_CREDENTIALS)
    )
    if not secrets:
        faults.wrong(place, "uses no credential: anybody could sign like this")
    raw = _RAW_BODY.fullmatch(recipe.over) is not None
    return _Proof(part, signed, _cover(signed, reader, rules), secrets, raw)


def _cover(signed: Signer, reader: Reader, rules: Rules) -> _Cover:
    nothing = _Cover(state=False, fields=frozenset())
    try:
        pieces = inserted_plainly(signed.over.source)
    except ValueError:
        return nothing
    names, between = pieces[1::2], pieces[2:-1:2]
    if _BODY in names:
        # The query is no part of the body.
        return _Cover(reader.shape.format != "query", frozenset())
    covered = frozenset(name.removeprefix(_FIELDS) for name in names if name.startswith(_FIELDS))
    if any(
        not text and first.startswith(_FIELDS) and second.startswith(_FIELDS)
        for first, text, second in zip(names, between, names[1:], strict=False)
    ):
        return nothing
    deciding = {_REFERENCE, *_deciding(rules)}
    complete = all(
        reader.root(name) in covered and reader.is_verbatim(reader.root(name)) for name in deciding
    )
    return _Cover(complete, covered, tuple({text for text in between if text}))


def _deciding(rules: Rules) -> Iterable[str]:
    """The fields that any rule looks at; one that says UNKNOWN may stand before another."""
    for rule in rules.rules:
        for condition in rule.conditions:
            yield condition.field


def _due(proof: _Proof, callback: Callback, known: Context) -> str:
    if proof.raw:
        # As it came: it need not be a text.
        return proof.signer.sign_bytes(callback.body, known)
    return proof.signer.sign(known)


def _shown(part: CallbackPart, callback: Callback, fields: Fields) -> str:
    if part.signature is None:
        return ""
    given = part.signature.given_in
    shown = fields.get(given.field or "", "")
    if given.header is not None:
        shown = callback.headers.get(given.header.lower(), "")
    if not shown.startswith(given.prefix):
        raise CallbackRefused("its signature is missing or wrong")
    return shown.removeprefix(given.prefix).strip()
