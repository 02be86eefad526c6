"""Requests: a description's templates, filled in and put together to one HTTP request."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import quote

import orjson

from dealers.contract import Request, TopUp
from dealers.declarative.description import Description, Recipe, RequestPart
from dealers.declarative.faults import CannotRender, Faults, listed
from dealers.declarative.signing import Signer, is_keyed
from dealers.declarative.templates import Context, Sandbox, Template

ORDER_VARIABLES = frozenset(
    {"reference", "sku", "number", "max_price_rupiah", "callback_url", "counter"}
)
_NUMBER = "$number"
_LARGEST_NUMBER_DIGITS = 18
_DEEPEST_JSON = 10
_OURS_TO_SET = frozenset({"host", "content-length", "content-type", "connection"})
_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _Number:
    template: Template


@dataclass(frozen=True, slots=True)
class Composer:
    """One kind of request, compiled."""

    method: str
    path: Template
    query: tuple[tuple[str, Template], ...]
    headers: tuple[tuple[str, Template], ...]
    form: tuple[tuple[str, Template], ...] | None
    json: object
    has_json: bool
    text: Template | None
    content_type: str | None
    omit_empty: bool
    signers: tuple[tuple[str, Signer], ...]
    """Those that it needs, each after those that it needs itself."""
    variables: frozenset[str]
    """What it says in clear."""

    @property
    def goes_by(self) -> frozenset[str]:
        """What it says, in clear or in a signature."""
        return self.variables.union(*(signer.variables for _, signer in self.signers))

    def compose(self, base_url: str, context: Context, shown: Context | None = None) -> Request:
        """The request, its signatures made of `context`; `shown` covers parts of that elsewhere.

        Raises CannotRender.
        """
        filled = {**self._signed(context), **(shown or {})}
        url = base_url.rstrip("/") + self.path.render(filled)
        query = self._parameters(self.query, filled)
        headers = {name: _header(template, filled) for name, template in self.headers}
        if self.content_type is not None:
            headers["content-type"] = self.content_type
        body = self._body(filled)
        return Request(self.method, f"{url}?{query}" if query else url, headers, body)

    def _signed(self, context: Context) -> Context:
        signatures: dict[str, str] = {}
        filled = {**context, "signatures": signatures}
        for name, signer in self.signers:
            signatures[name] = signer.sign(filled)
        return filled

    def _parameters(self, parameters: Iterable[tuple[str, Template]], context: Context) -> str:
        rendered = ((name, template.render(context)) for name, template in parameters)
        return "&".join(
            f"{quote(name, safe='')}={quote(value, safe='')}"
            for name, value in rendered
            if value or not self.omit_empty
        )

    def _body(self, context: Context) -> bytes:
        if self.form is not None:
            return self._parameters(self.form, context).encode()
        if self.has_json:
            return orjson.dumps(_filled(self.json, context))
        return b"" if self.text is None else self.text.render(context).encode("utf-8", "replace")


def order_context(order: TopUp) -> dict[str, object]:
    """What the templates know of an order."""
    return {
        "reference": order.dealer_ref,
        "sku": order.dealer_sku,
        "number": order.customer_number,
        "max_price_rupiah": str(order.max_price_rupiah),
        "callback_url": order.callback_url or "",
        "counter": str(order.counter),
    }


@dataclass(slots=True)
class Composers:
    """Compiles the requests of one description."""

    description: Description
    sandbox: Sandbox
    faults: Faults
    settings: frozenset[str] = field(init=False)
    signers: dict[str, Signer] = field(init=False)

    def __post_init__(self) -> None:
        """Compile the signatures, which the requests share."""
        self.settings = setting_variables(self.description)
        self.signers = {}
        for name, recipe in self.description.signatures.items():
            place = f"signatures.{name}"
            known = (
                self.settings | ORDER_VARIABLES | {f"signatures.{each}" for each in self.signers}
            )
            self.signers[name] = signer(self.sandbox, self.faults, place, recipe, known)

    def compose(self, place: str, part: RequestPart, variables: frozenset[str]) -> Composer:
        """Compile one request. `variables` are those of the order, where there is one."""
        faults, compile_text = self.faults, self.sandbox.text
        known = self.settings | variables | {f"signatures.{name}" for name in self.signers}
        self._check_body(place, part)
        _check_headers(place, part, faults)
        text = None
        if part.text is not None:
            escaping = "xml" in (part.content_type or "")
            escape = self.sandbox.xml if escaping else compile_text
            text = escape(f"{place}.text", part.text, known)

        def each(kind: str, templates: Mapping[str, str]) -> tuple[tuple[str, Template], ...]:
            return tuple(
                (name, compile_text(f"{place}.{kind}.{name}", source, known))
                for name, source in templates.items()
            )

        path = self.sandbox.quoted(f"{place}.path", part.path, known)
        if part.path and not part.path.startswith("/"):
            faults.wrong(f"{place}.path", "must begin with /")
        query, headers = each("query", part.query), each("headers", part.headers)
        form = None if part.form is None else each("form", part.form)
        tree = self._tree(f"{place}.json", part.json_body, known)
        templates = [path, *_values(query), *_values(headers), *_values(form or ())]
        used = set[str]().union(*(template.variables for template in templates))
        used |= _tree_variables(tree) | (text.variables if text else frozenset())
        said = frozenset(used)
        return Composer(
            part.method,
            path,
            query,
            headers,
            form,
            tree,
            has_json=part.json_body is not None,
            text=text,
            content_type=_content_type(part),
            omit_empty=part.omit_empty,
            signers=self._needed(place, used, variables),
            variables=said,
        )

    def _needed(
        self, place: str, used: set[str], variables: frozenset[str]
    ) -> tuple[tuple[str, Signer], ...]:
        """The signatures that a request uses, also through one another, in order."""
        needed: set[str] = set()
        for name, signer in reversed(self.signers.items()):
            if f"signatures.{name}" in used:
                needed.add(name)
                used |= signer.variables
        lacking = (used & ORDER_VARIABLES) - variables
        if needed and lacking:
            self.faults.wrong(
                place,
                f"is signed over {listed(lacking)}, which belongs to an order; "
                "there is none here: write a signature of its own",
            )
        return tuple((name, each) for name, each in self.signers.items() if name in needed)

    def _check_body(self, place: str, part: RequestPart) -> None:
        bodies = [
            name
            for name, given in (
                ("form", part.form),
                ("json", part.json_body),
                ("text", part.text),
            )
            if given is not None
        ]
        if len(bodies) > 1:
            self.faults.wrong(place, f"has {' and '.join(bodies)}: a request has one body")
        if bodies and part.method == "GET":
            self.faults.wrong(place, "a GET request has no body: use POST, or query")
        if part.content_type is not None and part.text is None:
            self.faults.wrong(f"{place}.content_type", "belongs to text only")

    def _tree(self, place: str, tree: object, known: frozenset[str], depth: int = 0) -> object:
        if depth > _DEEPEST_JSON:
            self.faults.wrong(place, f"is nested deeper than {_DEEPEST_JSON}")
            return None
        if isinstance(tree, str):
            return self.sandbox.text(place, tree, known)
        if isinstance(tree, list):
            items = cast(list[object], tree)
            return [
                self._tree(f"{place}[{index}]", item, known, depth + 1)
                for index, item in enumerate(items)
            ]
        if isinstance(tree, dict):
            return self._members(place, cast(dict[str, object], tree), known, depth)
        return tree

    def _members(
        self, place: str, members: Mapping[str, object], known: frozenset[str], depth: int
    ) -> object:
        number = members.get(_NUMBER)
        if isinstance(number, str) and len(members) == 1:
            return _Number(self.sandbox.text(place, number, known))
        if _NUMBER in members:
            self.faults.wrong(place, f'must be {{"{_NUMBER}": "{{{{ … }}}}"}} and nothing else')
        return {
            name: self._tree(f"{place}.{name}", member, known, depth + 1)
            for name, member in members.items()
        }


def setting_variables(description: Description) -> frozenset[str]:
    """What the templates know of the account."""
    return frozenset(f"credentials.{name}" for name in description.credentials) | frozenset(
        f"options.{name}" for name in description.options
    )


def signer(
    sandbox: Sandbox, faults: Faults, place: str, recipe: Recipe, known: frozenset[str]
) -> Signer:
    """Compile a signing recipe."""
    if is_keyed(recipe) and not recipe.key:
        faults.wrong(f"{place}.key", f"is missing: {recipe.algorithm} needs one")
    if recipe.key is not None and not is_keyed(recipe):
        faults.wrong(f"{place}.key", f"{recipe.algorithm} has no key: put the secret into over")
    if recipe.upper and recipe.output != "hex":
        faults.wrong(f"{place}.upper", "belongs to hex only: capitals mean something in base64")
    key = None
    if recipe.key is not None and is_keyed(recipe):
        key = sandbox.text(f"{place}.key", recipe.key, known)
    return Signer(recipe, sandbox.text(f"{place}.over", recipe.over, known), key)


def _check_headers(place: str, part: RequestPart, faults: Faults) -> None:
    for name in part.headers:
        if name.lower() in _OURS_TO_SET:
            faults.wrong(f"{place}.headers.{name}", "is set by the router itself")


def _content_type(part: RequestPart) -> str | None:
    if part.form is not None:
        return _FORM
    if part.json_body is not None:
        return _JSON
    return None if part.text is None else part.content_type or _TEXT


def _values(templates: Iterable[tuple[str, Template]]) -> list[Template]:
    return [template for _, template in templates]


def _tree_variables(tree: object) -> frozenset[str]:
    if isinstance(tree, Template):
        return tree.variables
    if isinstance(tree, _Number):
        return tree.template.variables
    members: Iterable[object] = ()
    if isinstance(tree, dict):
        members = cast(dict[str, object], tree).values()
    elif isinstance(tree, list):
        members = cast(list[object], tree)
    return frozenset[str]().union(*map(_tree_variables, members))


def _filled(tree: object, context: Context) -> object:
    if isinstance(tree, Template):
        return tree.render(context)
    if isinstance(tree, _Number):
        return _whole_number(tree.template, context)
    if isinstance(tree, dict):
        members = cast(dict[str, object], tree)
        return {name: _filled(member, context) for name, member in members.items()}
    if isinstance(tree, list):
        return [_filled(item, context) for item in cast(list[object], tree)]
    return tree


def _whole_number(template: Template, context: Context) -> int:
    text = template.render(context)
    if not (text.isascii() and text.isdigit() and len(text) <= _LARGEST_NUMBER_DIGITS):
        raise CannotRender(f"{template.place}: is no whole number")
    return int(text)


def _header(template: Template, context: Context) -> str:
    value = template.render(context)
    if not (value.isascii() and value.isprintable()):
        raise CannotRender(f"{template.place}: cannot stand in a header")
    return value.strip()
