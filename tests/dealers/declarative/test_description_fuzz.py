"""Invented descriptions: whatever is accepted raises nothing out of a reader and never guesses."""

import json
from contextlib import suppress
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dealers.contract import Account, Answer, Callback, CallbackRefused, Outcome, UnreadableAnswer
from tests.dealers.declarative.described import DECLARATIVE, changed, document
from tests.dealers.recorded import ORDER, cases

READERS = DECLARATIVE.protocol
"""Without the registry's guard."""
SHIPPED = ["example", "otomax", "portalpulsa"]
RECORDED = [case.answer() for case in cases("top_up", "status", "balance", "price_list")]
ANSWERS = [answer for answer in RECORDED if len(answer.body) < 4_000]

_pieces = st.sampled_from(
    [
        *("data", "data.rc", "message", "@", "message[0].status", "type(@)", "length(data)"),
        *(".*", r"(\d+)", "(?i)sukses", r"R#(?P<reference>\w+)(?P<code>.*)", "$", "(.*?) (.*)"),
        *("{{ sku }}", "{{ number | international }}", "{{ credentials.pin }}", "{{ body }}"),
        *("{{ fields.reference }}", "{{ fields.code | upper }}", "{% if sku %}x{% endif %}"),
        *("succeeded", "failed", "unknown", "pending", "rejected", "number", "cluster", "text"),
        *("json", "form", "query", "states", "stored", "order", "line", "sukses", "00", "success"),
        *("reference", "code", "phrase", "rest", "hmac-sha1", "md5", "base64url", "10.150,00"),
    ]
)
_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 500),
    _pieces,
    _pieces,
    st.text(max_size=8),
    st.lists(_pieces, max_size=3),
    st.dictionaries(st.sampled_from(["of", "path", "pattern", "once"]), _pieces, max_size=2),
)


def _places(tree: object, at: str = "") -> list[str]:
    """Every place in a document, dotted."""
    if isinstance(tree, dict):
        inside = cast(dict[str, object], tree).items()
    elif isinstance(tree, list):
        inside = ((str(place), item) for place, item in enumerate(cast(list[object], tree)))
    else:
        return [at]
    steps = [
        place for name, item in inside if "." not in name for place in _places(item, f"{at}.{name}")
    ]
    return [*steps, *([at] if at else [])]


def _akin(place: str, other: str) -> bool:
    """Whether both stand in the same part, under the same name or in the same table."""
    ours, theirs = place.split("."), other.split(".")
    return ours[1] == theirs[1] and (ours[-1] == theirs[-1] or ours[:-1] == theirs[:-1])


def _at(tree: Any, place: str) -> Any:
    for step in place.lstrip(".").split("."):
        tree = tree[int(step)] if isinstance(tree, list) else tree[step]
    return tree


@st.composite
def _descriptions(draw: st.DrawFn) -> dict[str, Any]:
    """A shipped description, changed at some places, mostly to what stands at another."""
    described = document(draw(st.sampled_from(SHIPPED)))
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        places = _places(described)
        place = draw(st.sampled_from(places))
        depth = place.count(".")
        near = [other for other in places if other.count(".") == depth and _akin(place, other)]
        value = draw(st.sampled_from(near).map(partial(_at, described)) | _values)
        described = changed(described, place.lstrip("."), value)
    return described


def _account(description: dict[str, Any]) -> Account:
    given = cast(dict[str, object], description.get("credentials") or {})
    names = [*given] if isinstance(given, dict) else []
    options = {"description": json.dumps(description)}
    return Account("d1", "https://dealer.example", dict.fromkeys(names, "s3cret"), options)


def _success_words(description: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for group in description["meanings"].values():
        for meaning in group:
            if meaning["outcome"] == "succeeded":
                for wanted in meaning["when"].values():
                    words = [wanted] if isinstance(wanted, str) else wanted
                    found += [] if isinstance(words, bool) else words
    return [" ".join(word.split()).casefold() for word in found]


_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _pieces
_json = st.recursive(
    _scalars | st.just(ORDER.dealer_ref),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "message", "rc", "status", "ref_id", "trxid_api", "result"]),
            inner,
        )
    ),
    max_leaves=8,
)
_bodies = st.one_of(
    st.sampled_from([answer.body for answer in ANSWERS]),
    st.binary(max_size=60),
    st.lists(_pieces | st.just(f"R#{ORDER.dealer_ref}"), max_size=6).map(
        lambda words: " ".join(words).encode()
    ),
    _json.map(lambda tree: json.dumps(tree, ensure_ascii=False).encode("utf-8", "replace")),
)


@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(description=_descriptions(), body=_bodies, status=st.sampled_from([200, 200, 400]))
def test_no_accepted_description_raises_or_guesses(
    description: dict[str, Any], body: bytes, status: int
):
    at = _account(description)
    if DECLARATIVE.validate(at):
        return
    answer = Answer(status, {}, body)
    for read in (READERS.read_top_up, READERS.read_status):
        report = read(at, ORDER, answer)
        if report.outcome is Outcome.SUCCEEDED:
            said = " ".join(body.decode("utf-8", "replace").split())
            assert ORDER.dealer_ref in said
            assert any(word in said.casefold() for word in _success_words(description))
        if report.outcome is Outcome.REJECTED:
            assert read == READERS.read_top_up
    for read in (READERS.read_balance, READERS.read_price_list):
        with suppress(UnreadableAnswer):
            read(at, answer)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    description=_descriptions(),
    body=_bodies,
    query=_pieces | st.just(f"refid={ORDER.dealer_ref}&status=20") | st.text(max_size=30),
)
def test_no_accepted_description_takes_an_unsigned_callback_for_a_word(
    description: dict[str, Any], body: bytes, query: str
):
    at = _account(description)
    if DECLARATIVE.validate(at):
        return
    callback = Callback("POST", query, {"x-signature": "sha256=00"}, body)
    try:
        read = READERS.read_callback(at, callback)
    except CallbackRefused:
        return
    assert not read.verified
    assert isinstance(READERS.acknowledge(at, callback)[1], bytes)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(description=_descriptions())
def test_accepted_descriptions_make_their_requests(description: dict[str, Any]):
    at = _account(description)
    if DECLARATIVE.validate(at):
        return
    assert READERS.top_up(at, ORDER) == READERS.top_up(at, ORDER)
    balance = READERS.balance(at)
    assert balance is None or balance.url.startswith("https://dealer.example")
    capabilities = DECLARATIVE.capabilities_of(at)
    assert 1 <= capabilities.reference.max_length <= 22


@given(text=st.text(max_size=60) | _json.map(json.dumps))
def test_any_text_is_a_description_or_is_refused(text: str):
    at = Account("d1", "https://dealer.example", {}, {"description": text})

    assert DECLARATIVE.validate(at)


def test_some_changed_descriptions_are_accepted():
    """Else the tests above would look at nothing."""
    accepted = 0

    @settings(max_examples=200, database=None, derandomize=True)
    @given(description=_descriptions())
    def count(description: dict[str, Any]) -> None:
        nonlocal accepted
        accepted += not DECLARATIVE.validate(_account(description))

    count()
    assert accepted > 20


@pytest.mark.parametrize("name", SHIPPED)
def test_a_template_bomb_is_refused_or_small(name: str):
    doubling = "{% if sku %}" + "{{ sku }}" * 100 + "{% endif %}"
    at = _account(changed(document(name), "purchase.request.headers", {"x-big": doubling}))
    if not DECLARATIVE.validate(at):
        assert len(READERS.top_up(at, ORDER).headers["x-big"]) < 10_000
