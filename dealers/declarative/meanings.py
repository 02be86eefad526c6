"""Meanings: which of a description's rules an answer fits, and what it therefore says.

Rules are tried in order and the first that fits counts. What fits none is `UNKNOWN`, and so is
whatever names another purchase or, where the rule is of consequence, none at all.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from dealers.contract import Fault, Outcome, Report
from dealers.declarative.amounts import rupiah
from dealers.declarative.description import Conditions, Description, Meaning, ReadPart
from dealers.declarative.faults import Faults, listed
from dealers.declarative.shapes import Fields, Reader

_NAMES_US = frozenset({"reference", "number"})
_FAULTY = frozenset({Outcome.REJECTED, Outcome.FAILED})
PURCHASE, STATUS, CALLBACK = "purchase", "status", "callback"


@dataclass(frozen=True, slots=True)
class Condition:
    """What a field must be: one of some words, or there, or not there."""

    field: str
    words: frozenset[str] | None
    present: bool

    def holds(self, fields: Fields) -> bool:
        """Whether these fields fulfil it."""
        value = fields[self.field]
        if self.words is None:
            return bool(value) is self.present
        return value.casefold() in self.words


@dataclass(frozen=True, slots=True)
class Rule:
    """A meaning with its conditions compiled."""

    conditions: tuple[Condition, ...]
    meaning: Meaning

    def fits(self, fields: Fields) -> bool:
        """Whether all conditions hold."""
        return all(condition.holds(fields) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one kind of answer, in order."""

    rules: tuple[Rule, ...]
    amounts: str

    def report(self, fields: Fields, text: str) -> Report:
        """What the fields say, whichever purchase they are about."""
        message = fields.get("message") or text
        rule = next((rule for rule in self.rules if rule.fits(fields)), None)
        code = _code(fields.get("code", ""))
        if rule is None:
            return Report(Outcome.UNKNOWN, code or "no-code", message)
        meaning = rule.meaning
        if not (fields.get("reference") or meaning.without_reference or _is_harmless(meaning)):
            return Report(Outcome.UNKNOWN, "no-reference", message)
        succeeded = meaning.outcome is Outcome.SUCCEEDED
        return Report(
            meaning.outcome,
            meaning.code or code or meaning.outcome,
            message,
            meaning.fault,
            # What else carries them holds free text, and prices that were not charged.
            serial_number=(fields.get("serial_number") or None) if succeeded else None,
            price_rupiah=rupiah(fields.get("price", ""), self.amounts) if succeeded else None,
            reversal=meaning.reversal,
            not_found=meaning.not_found,
        )


def names_another(fields: Fields, reference: str, number: str) -> str | None:
    """Why an answer is about another purchase, or None."""
    if fields.get("reference", "") not in {"", reference}:
        return "other-reference"
    given = fields.get("number", "")
    if given and not _is_same_number(given, number):
        return "other-number"
    return None


def compile_conditions(
    place: str, conditions: Conditions, names: Iterable[str], faults: Faults
) -> tuple[Condition, ...]:
    """Compile conditions on fields of these names."""
    known = frozenset(names)
    compiled: list[Condition] = []
    for field, wanted in conditions.items():
        if field not in known:
            faults.wrong(f"{place}.{field}", f"there is no such field; there is {listed(known)}")
        elif isinstance(wanted, bool):
            compiled.append(Condition(field, None, wanted))
        else:
            words = frozenset(" ".join(word.split()).casefold() for word in wanted)
            compiled.append(Condition(field, words, present=True))
    return tuple(compiled)


def compile_rules(
    kind: str,
    place: str,
    description: Description,
    part: ReadPart,
    reader: Reader,
    faults: Faults,
) -> Rules:
    """Compile the groups that this part names, in its order; `reader` reads its shape."""
    rules: list[Rule] = []
    groups = description.meanings
    for group in part.meanings:
        if group not in groups:
            told = f"there is no group {group}; there is {listed([*groups])}"
            faults.wrong(f"{place}.meanings", told)
        for index, meaning in enumerate(groups.get(group, [])):
            at = f"meanings.{group}[{index}]"
            for told in _meaning_faults(kind, meaning, reader):
                faults.wrong(at, f"{told} (as it is used by {place})")
            conditions = compile_conditions(f"{at}.when", meaning.when, reader.names, faults)
            rules.append(Rule(conditions, meaning))
    _check_order(place, rules, faults)
    return Rules(tuple(rules), description.amounts)


def _meaning_faults(kind: str, meaning: Meaning, reader: Reader) -> Iterable[str]:
    if meaning.outcome is Outcome.SUCCEEDED and not _says_so(meaning, reader):
        yield "a success needs the dealer's own word for it: words for a field as it stands there"
    if not meaning.when and not _is_harmless(meaning):
        yield "without conditions it fits whatever comes: only unknown may"
    if meaning.without_reference:
        if not _may_lack_reference(kind, meaning):
            yield (
                "without_reference belongs to a purchase rejected, pending or of a wrong number, "
                "and to not_found"
            )
    elif not _is_harmless(meaning) and "reference" not in reader.names:
        yield "the shape has no field reference, and an answer must name ours"
    yield from _outcome_faults(kind, meaning)


def _outcome_faults(kind: str, meaning: Meaning) -> Iterable[str]:
    outcome, fault = meaning.outcome, meaning.fault
    if fault is not Fault.PRODUCT and outcome not in _FAULTY:
        yield "a fault belongs to rejected and failed"
    if outcome is Outcome.REJECTED and fault is Fault.NUMBER:
        yield "a wrong number is wrong at every dealer: say failed, or the next one is tried"
    if outcome is Outcome.REJECTED and kind != PURCHASE:
        yield "only the answer to a purchase can reject: say failed, or unknown"
    if meaning.reversal and outcome is not Outcome.FAILED:
        yield "a reversal is failed"
    if meaning.not_found and (outcome is not Outcome.UNKNOWN or kind != STATUS):
        yield "not_found belongs to unknown, on a status check"


def _says_so(meaning: Meaning, reader: Reader) -> bool:
    return any(
        isinstance(wanted, list) and field in reader.stated - _NAMES_US
        for field, wanted in meaning.when.items()
    )


def _may_lack_reference(kind: str, meaning: Meaning) -> bool:
    if kind != PURCHASE:
        return kind == STATUS and meaning.not_found
    wrong_number = meaning.outcome is Outcome.FAILED and meaning.fault is Fault.NUMBER
    return wrong_number or meaning.outcome in {Outcome.REJECTED, Outcome.PENDING}


def _is_harmless(meaning: Meaning) -> bool:
    return meaning.outcome is Outcome.UNKNOWN and not meaning.not_found


def _check_order(place: str, rules: list[Rule], faults: Faults) -> None:
    """A word that means two things under the same conditions is a slip of the pen."""
    seen: set[tuple[frozenset[Condition], str, str]] = set()
    for rule in rules:
        for condition in rule.conditions:
            others = frozenset(rule.conditions) - {condition}
            for word in condition.words or ():
                if (others, condition.field, word) in seen:
                    told = f"{condition.field} {word!r} stands twice under the same conditions"
                    faults.wrong(f"{place}.meanings", told)
                seen.add((others, condition.field, word))


def _is_same_number(given: str, ours: str) -> bool:
    plain = given.removeprefix("+")
    return given == ours or (plain.startswith("62") and f"0{plain[2:]}" == ours)


def _code(text: str) -> str:
    """A code as it is; words as one, in small letters."""
    return text.casefold().replace(" ", "-") if " " in text or text.isalpha() else text
