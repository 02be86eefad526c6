"""The policy: the shop's rules for choosing a dealer, shown with their units and changed.

A setting that is not stated stands at its default. A change is checked by the code that reads the
policy for routing, and taken whole or not at all. Settings are named `premium_basis_points` or
`quality.floor_basis_points`, as in the stored JSON.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeGuard, cast

from app.administration.acting import acting
from app.administration.checks import Checks
from app.administration.operator import Operator, Scope
from app.errors import PreconditionFailed, Unprocessable
from app.lifecycle.trade import DEFAULT_LARGEST_RISE_PERCENT, read_policy
from app.storage import catalogue, reference
from app.storage.pool import Pool
from routing.monopoly import WHOLE_BASIS_POINTS
from routing.table import BadTable, Policy, Strategy

_TRIPLE = 3

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """One rule as it is in force; `value` and `default` are JSON."""

    name: str
    value: Any
    default: Any
    unit: str


@dataclass(frozen=True, slots=True)
class Standing:
    """The policy in force and the revision that it was read at."""

    revision: int
    stated: Mapping[str, Any]
    """What is not left to its default, as it is stored."""

    @property
    def settings(self) -> list[Setting]:
        """Every setting; one that is stored and does not exist has an empty unit."""
        values = _flat(self.stated)
        return [
            Setting(name, values.get(name, _DEFAULTS.get(name)), _DEFAULTS.get(name), _unit(name))
            for name in (*_RULES, *(name for name in values if name not in _RULES))
        ]

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "revision": self.revision,
            "stated": dict(self.stated),
            "settings": [asdict(each) for each in self.settings],
        }


@dataclass(frozen=True, slots=True)
class Changed:
    """What setting the policy did; without changes nothing was done."""

    standing: Standing
    changes: Mapping[str, tuple[Any, Any]]
    """By setting: its value before and after."""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        changes = {name: {"before": a, "after": b} for name, (a, b) in self.changes.items()}
        return {**self.standing.document(), "changes": changes}


async def show(pool: Pool, by: Operator) -> Standing:
    """The policy in force."""
    by.require(Scope.READ)
    async with pool.acquire() as connection:
        revision, text = await reference.policy(connection)
    return Standing(revision, json.loads(text))


async def replace(
    pool: Pool,
    by: Operator,
    wanted: Mapping[str, Any],
    reason: str = "",
    expected_revision: int | None = None,
) -> Changed:
    """Make this the policy; what it does not state goes back to its default.

    Raises Unprocessable naming each wrong setting, PreconditionFailed.
    """
    return await _change(pool, by, lambda _: _flat(wanted), reason, expected_revision)


async def set_values(
    pool: Pool,
    by: Operator,
    values: Mapping[str, Any],
    reason: str = "",
    expected_revision: int | None = None,
) -> Changed:
    """Set these settings and leave the others; None puts one back to its default.

    `strategies.pulsa` and `weights.alfa` name one entry. Raises as `replace` does.
    """
    return await _change(pool, by, lambda held: _merged(held, values), reason, expected_revision)


async def _change(
    pool: Pool,
    by: Operator,
    make: Callable[[Values], Values],
    reason: str,
    expected_revision: int | None,
) -> Changed:
    by.require(Scope.ROUTES)
    checks = Checks()
    checks.reason(reason)
    checks.done()
    async with acting(pool) as connection:
        await catalogue.lock(connection)
        revision, text = await reference.policy(connection)
        if expected_revision not in (None, revision):
            raise PreconditionFailed(
                "table-changed", f"Revision {revision} is in force, not {expected_revision}."
            )
        before = Standing(revision, json.loads(text))
        stated = _nested(_checked(make(_flat(before.stated))))
        after = Standing(revision, stated)
        changes = _changes(before, after)
        if not changes:
            return Changed(before, {})
        await catalogue.put_policy(connection, json.dumps(stated))
        await by.record(
            connection,
            "policy.set",
            "policy",
            before={name: old for name, (old, _) in changes.items()},
            after={name: new for name, (_, new) in changes.items()},
            reason=reason,
        )
        return Changed(Standing(await catalogue.publish(connection), stated), changes)


def _changes(before: Standing, after: Standing) -> dict[str, tuple[Any, Any]]:
    old = {each.name: each.value for each in before.settings}
    new = {each.name: each.value for each in after.settings}
    return {
        name: (old.get(name), new.get(name))
        for name in {**old, **new}
        if (name in old, old.get(name)) != (name in new, new.get(name))
    }


# ------------------------------------------------------------------ names


def _flat(document: Mapping[str, Any]) -> Values:
    """As `quality.floor_basis_points`; everything else as it is."""
    values: Values = {}
    for name, value in document.items():
        if name == "quality" and isinstance(value, dict):
            inside = cast("Values", value)
            values |= {f"quality.{each}": inside[each] for each in inside}
        else:
            values[name] = value
    return values


def _nested(values: Values) -> Values:
    document = {name: value for name, value in values.items() if "." not in name}
    quality = {
        name.partition(".")[2]: value
        for name, value in values.items()
        if name.startswith("quality.")
    }
    return {**document, "quality": quality} if quality else document


def _merged(held: Values, values: Mapping[str, Any]) -> Values:
    merged = dict(held)
    for name, value in values.items():
        whole, _, entry = name.partition(".")
        if entry and whole in ("strategies", "weights"):
            _put(inside := dict(merged.get(whole) or {}), entry, value)
            merged[whole] = inside
        else:
            _put(merged, name, value)
    return merged


def _put(values: Values, name: str, value: object) -> None:
    if value is None:
        values.pop(name, None)
    else:
        values[name] = value


# ------------------------------------------------------------------ checking


def _checked(values: Values) -> Values:
    """The same, if routing can go by it. Raises Unprocessable."""
    checks = Checks()
    for name, value in values.items():
        rule = _RULES.get(name)
        if rule is None:
            checks.wrong(name, "there is no such setting; `jalur routes policy show` has all")
        elif complaint := rule.complaint(value):
            checks.wrong(name, f"{complaint}, not {json.dumps(value)[:100]}")
    checks.done()
    try:
        read_policy(json.dumps(_nested(values)))
    except (BadTable, TypeError, ValueError) as error:
        raise Unprocessable("invalid-request", f"The policy is refused: {error}.") from error
    return values


_Complaint = Callable[[object], str | None]


@dataclass(frozen=True, slots=True)
class _Rule:
    """A setting's unit, and what is wrong with a value of it, if anything is."""

    unit: str
    complaint: _Complaint


def _whole(unit: str, least: int | None = 0, most: int | None = None) -> _Rule:
    wanted = "must be a whole number"
    if least is not None:
        wanted += f" from {least} on" if most is None else f" from {least} to {most}"

    def complaint(value: object) -> str | None:
        if _is_whole(value) and _within(value, least, most):
            return None
        return f"{wanted} ({unit})"

    return _Rule(unit, complaint)


def _within(value: int, least: int | None, most: int | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _percent(value: object) -> str | None:
    if (_is_whole(value) or isinstance(value, float)) and 0 <= value < math.inf:
        return None
    return "must be a number from 0 on (percent)"


def _what_when_barred(value: object) -> str | None:
    return None if value in ("allow", "reject") else 'must be "allow" or "reject"'


def _triples(wanted: str, third: type, *, second_may_lack: bool) -> _Complaint:
    def fits(entry: object) -> bool:
        if not isinstance(entry, list) or len(cast("list[Any]", entry)) != _TRIPLE:
            return False
        first, second, last = cast("list[Any]", entry)
        named = isinstance(second, str) or (second_may_lack and second is None)
        return (
            isinstance(first, str)
            and named
            and isinstance(last, third)
            and not isinstance(last, bool)
        )

    def complaint(value: object) -> str | None:
        good = isinstance(value, list) and all(map(fits, cast("list[Any]", value)))
        return None if good else f"must be a list of [{wanted}]"

    return complaint


def _entries(wanted: str, fits: Callable[[object], bool]) -> _Complaint:
    def complaint(value: object) -> str | None:
        good = isinstance(value, dict) and all(map(fits, cast("Values", value).values()))
        return None if good else f"must be an object of {wanted}"

    return complaint


_STRATEGIES = ", ".join(Strategy)
_POINTS = "basis points"
_RULES: Mapping[str, _Rule] = {
    "window_days": _whole("days", 1),
    "minimum_sample_orders": _whole("orders"),
    "minimum_groups": _whole("owner groups"),
    "premium_basis_points": _whole(_POINTS),
    "single_cap_basis_points": _whole(_POINTS, 1, WHOLE_BASIS_POINTS),
    "top_three_cap_basis_points": _whole(_POINTS, 1, WHOLE_BASIS_POINTS),
    "top_three_groups": _whole("owner groups"),
    "when_all_barred": _Rule("allow or reject", _what_when_barred),
    "declared_monopolies": _Rule(
        "[brand, cluster or null, owner group]",
        _triples("brand, cluster or null, owner group", str, second_may_lack=True),
    ),
    "minimum_margin_rupiah": _whole("rupiah", None),
    "margins": _Rule(
        "[tier, product kind, rupiah]",
        _triples("tier, product kind, rupiah", int, second_may_lack=False),
    ),
    "strategies": _Rule(
        f"{_STRATEGIES}, by product kind",
        _entries(f"product kinds with {_STRATEGIES}", lambda name: name in list(Strategy)),
    ),
    "weights": _Rule(
        "weight by owner group",
        _entries("owner groups with weights from 0 on", lambda each: _is_whole(each) and each >= 0),
    ),
    "tied_up_basis_points": _whole(_POINTS),
    "tolerance_rupiah": _whole("rupiah"),
    "cluster_refusal_numbers": _whole("numbers", 1, 100),
    "cluster_refusal_hours": _whole("hours", 1, 24 * 31),
    "quality.window_minutes": _whole("minutes", 1),
    "quality.minimum_sample": _whole("outcomes", 1),
    "quality.warning_basis_points": _whole(_POINTS, 0, WHOLE_BASIS_POINTS),
    "quality.floor_basis_points": _whole(_POINTS, 0, WHOLE_BASIS_POINTS),
    "quality.probe_one_in": _whole("orders", 1),
    "largest_rise_percent": _Rule("percent", _percent),
}


def _unit(name: str) -> str:
    rule = _RULES.get(name)
    return "" if rule is None else rule.unit


def _defaults() -> Values:
    policy = Policy()
    values = {each.name: getattr(policy, each.name) for each in fields(policy)}
    values["quality"] = asdict(policy.quality)
    values["declared_monopolies"], values["margins"] = [], []
    return {**_flat(values), "largest_rise_percent": DEFAULT_LARGEST_RISE_PERCENT}


_DEFAULTS = _defaults()
