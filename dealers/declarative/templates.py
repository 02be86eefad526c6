"""Templates in a sandbox: MiniJinja with fuel, and of its language what cannot grow or loop.

A template is data that somebody wrote: it may insert, cut and choose, but not loop, multiply, call
or name what is not there. So what it makes is at most a small multiple of what it was given.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from minijinja import Environment, TemplateError

from dealers.declarative.faults import CannotRender, Faults, listed

Context = Mapping[str, object]

LONGEST_TEMPLATE = 1_000
"""Characters."""
_FUEL = 5_000
_XML = ":xml"
_MOST_FILTERS = 3
_FILTERS = frozenset({"upper", "lower", "trim", "urlencode", "tojson", "international"})
_STATEMENTS = ("if", "elif", "else", "endif")
_WORDS_BEFORE_A_BRACKET = frozenset({"if", "elif", "and", "or", "not", "in", "else"})

_WHOLE = re.compile(r"(?:[^{]|\{(?![{%#])|\{\{[^{}]*\}\}|\{%[^{}]*%\})*", re.DOTALL)
_TAG = re.compile(r"\{[{%]-?(?P<inside>[^{}]*?)-?[%}]\}", re.DOTALL)
_LITERAL = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
_QUOTE = re.compile(r"['\"]")
_NOTHING = " 0 "
_CALL = re.compile(r"(\|\s*)?(\w+)\s*\(")


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template, or a plain text. `variables` are those it names, dotted."""

    place: str
    source: str
    variables: frozenset[str]
    environment: Environment | None = field(repr=False)

    def render(self, context: Context) -> str:
        """Put the values in. Raises CannotRender."""
        if self.environment is None:
            return self.source
        try:
            return self.environment.render_template(self.place, **context)
        except TemplateError as error:
            raise CannotRender(f"{self.place}: {error.kind}") from None


class Sandbox:
    """Every template of one description. Faults are collected, and stand at their place."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._plain = _environment()
        self._quoting = _environment()
        self._quoting.finalizer = _quoted

    def text(self, place: str, source: str, known: Iterable[str]) -> Template:
        """A template whose values are put in as they are."""
        return self._compile(self._plain, place, source, known)

    def quoted(self, place: str, source: str, known: Iterable[str]) -> Template:
        """A template whose values are quoted for a URL's path."""
        return self._compile(self._quoting, place, source, known)

    def xml(self, place: str, source: str, known: Iterable[str]) -> Template:
        """A template whose values are escaped for XML."""
        return self._compile(self._plain, f"{place}{_XML}", source, known)

    def _compile(
        self, environment: Environment, place: str, source: str, known: Iterable[str]
    ) -> Template:
        found = _sandbox_fault(source)
        if found is None and "{{" not in source and "{%" not in source:
            return Template(place, source, frozenset(), None)
        if found is None:
            try:
                environment.add_template(place, source)
            except TemplateError as error:
                found = str(error).partition("\n")[0]
        if found is not None:
            self._faults.wrong(place, found)
            return Template(place, "", frozenset(), None)
        variables = environment.undeclared_variables_in_template(place, nested=True)
        choice = frozenset(known)
        for name in sorted(variables - choice):
            self._faults.wrong(place, f"nothing is called {name} here; there is {listed(choice)}")
        return Template(place, source, frozenset(variables), environment)


def inserted_plainly(source: str) -> list[str]:
    """What a template consists of, where it only inserts: names and the texts between them.

    Names stand at odd places. Raises ValueError for a template that does more.
    """
    pieces = re.split(r"\{\{ ?([A-Za-z_.0-9]+) ?\}\}", source)
    if any("{{" in piece or "{%" in piece for piece in pieces[::2]):
        raise ValueError("it does more than to insert")
    return pieces


def _environment() -> Environment:
    environment = Environment(
        fuel=_FUEL,
        undefined_behavior="strict",
        pycompat=False,
        debug=False,
        keep_trailing_newline=True,
        filters={"international": _international},
        auto_escape_callback=lambda name: name.endswith(_XML),
    )
    for name in ("range", "dict", "debug", "namespace"):
        environment.remove_global(name)
    return environment


def _sandbox_fault(source: str) -> str | None:
    if len(source) > LONGEST_TEMPLATE:
        return f"has {len(source)} characters; at most {LONGEST_TEMPLATE} may be"
    if _WHOLE.fullmatch(source) is None:
        return "a tag must be {{ … }} or {% … %}, closed, and without braces inside"
    for tag in _TAG.finditer(source):
        inside = _LITERAL.sub(_NOTHING, tag["inside"])
        if _QUOTE.search(inside):
            # MiniJinja would go on to the quote's end, past what is looked at here.
            return "a text inside a tag must end in the tag, and hold no braces"
        if tag[0].startswith("{%") and inside.split()[:1] not in ([word] for word in _STATEMENTS):
            return "of statements only if, elif, else and endif may be used"
        fault = _expression_fault(inside)
        if fault is not None:
            return fault
    return None


def _expression_fault(inside: str) -> str | None:
    if "*" in inside:
        return "nothing is multiplied here"
    filters = re.findall(r"\|\s*(\w+)", inside)
    if len(filters) > _MOST_FILTERS:
        return f"at most {_MOST_FILTERS} filters may follow one another"
    for name in filters:
        if name not in _FILTERS:
            return f"no filter is called {name}; there is {listed(_FILTERS)}"
    for piped, name in _CALL.findall(inside):
        if not piped and name not in _WORDS_BEFORE_A_BRACKET:
            return f"{name}(…) is no filter, and nothing else is called"
    return None


def _international(number: str) -> str:
    """`0812…` as `62812…`."""
    return f"62{number[1:]}" if number.startswith("0") else number


def _quoted(value: object) -> str:
    return quote(str(value), safe="")
