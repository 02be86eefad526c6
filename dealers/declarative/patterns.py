"""Patterns and paths: RE2, which takes linear time, and of JMESPath what cannot grow.

Neither language can make more of an answer than is in it, whatever the answer: RE2 never
backtracks, and the expressions that copy what they find (flattening, multi-selects) are left out.
"""

import importlib
from dataclasses import dataclass
from typing import Any, cast

from dealers.declarative.faults import listed

# Neither package carries types.
_re2: Any = importlib.import_module("re2")
_jmespath: Any = importlib.import_module("jmespath")

_MOST_PATTERN_BYTES = 1 << 20
_MOST_CALLS = 3
_FUNCTIONS = frozenset(
    {"contains", "ends_with", "join", "length", "not_null", "starts_with", "to_string", "type"}
)
_COPYING = frozenset({"flatten", "multi_select_list", "multi_select_dict"})
_COMPUTING = frozenset(
    {"function_expression", "comparator", "not_expression", "literal", "and_expression"}
)
_CONDITION = ("filter_projection", 2)
_EXPRESSION_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What JMESPath raises on data that an expression does not fit; its own errors are ValueErrors."""


class BadPattern(Exception):
    """A pattern or path that cannot be used. The message says why."""


class NoValue(Exception):
    """A path that the data does not fit: it asks for the length of a number, for example."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled RE2 pattern."""

    compiled: Any

    @property
    def names(self) -> tuple[str, ...]:
        """Its named groups."""
        return tuple(self.compiled.groupindex)

    def groups(self, text: str) -> dict[str, str] | None:
        """The named groups where the pattern fits the whole text, empty where one took no part."""
        match = self.compiled.fullmatch(text)
        if match is None:
            return None
        return {name: value or "" for name, value in match.groupdict().items()}

    def find(self, text: str, *, once: bool) -> str:
        """The first group of the first match, or that match; empty where there is none.

        With `once` also empty where there are several.
        """
        matches = self.compiled.finditer(text)
        first = next(matches, None)
        if first is None or (once and next(matches, None) is not None):
            return ""
        return first[1 if self.compiled.groups else 0] or ""


@dataclass(frozen=True, slots=True)
class Path:
    """A compiled JMESPath expression."""

    expression: Any
    stated: bool
    """Whether it finds what the dealer wrote, and computes nothing of it."""

    def find(self, document: object) -> object:
        """What stands there; None for nothing. Raises NoValue."""
        try:
            return self.expression.search(document)
        except _EXPRESSION_ERRORS as error:
            raise NoValue(type(error).__name__) from None


def compile_pattern(source: str) -> Pattern:
    """Compile an RE2 pattern. Raises BadPattern."""
    options = _re2.Options()
    options.max_mem = _MOST_PATTERN_BYTES
    options.log_errors = False
    try:
        return Pattern(_re2.compile(source, options))
    except _re2.error as error:
        reason = cast(object, error.args[0] if error.args else "")
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        told = f"RE2 does not take it ({text[:100]}): it has no look-around and no back-references"
        raise BadPattern(told) from None


def compile_path(source: str) -> Path:
    """Compile a JMESPath expression. Raises BadPattern."""
    try:
        compiled = _jmespath.compile(source)
        calls, stated = _check_nodes(compiled.parsed)
    except _EXPRESSION_ERRORS as error:
        # Its own messages span lines, with a mark under the place.
        reason = str(error).partition("\n")[0][:100]
        raise BadPattern(f"JMESPath does not take it: {reason}") from None
    if calls > _MOST_CALLS:
        raise BadPattern(f"at most {_MOST_CALLS} functions may be used")
    return Path(compiled, stated)


def _check_nodes(node: dict[str, Any]) -> tuple[int, bool]:
    """How many functions are called, and whether what comes out is found as it stands.

    Raises BadPattern for what is left out here.
    """
    kind = node["type"]
    if kind in _COPYING:
        raise BadPattern("flattening and multi-selects ([] and [a, b]) are left out here")
    if kind == "function_expression" and node["value"] not in _FUNCTIONS:
        raise BadPattern(f"no function {node['value']} here; there is {listed(_FUNCTIONS)}")
    calls, stated = int(kind == "function_expression"), kind not in _COMPUTING
    for place, child in enumerate(cast(list[object], node["children"])):
        if isinstance(child, dict):
            its_calls, its_stated = _check_nodes(cast(dict[str, Any], child))
            calls += its_calls
            # What a filter compares does not come out of it.
            stated = stated and (its_stated or (kind, place) == _CONDITION)
    return calls, stated
