"""Descriptions: what is signed, what is refused and where, and what a callback proves."""

import dataclasses
import hashlib
import hmac
import json
import subprocess
import sys
from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dealers.contract import (
    Account,
    Answer,
    Callback,
    CallbackRefused,
    Fault,
    Outcome,
    Recovery,
    TopUp,
)
from tests.dealers.declarative.described import (
    DECLARATIVE,
    DESCRIPTIONS,
    changed,
    described,
    document,
    faults,
)
from tests.dealers.recorded import ORDER, account

EXAMPLE = document("example")


def _at(description: dict[str, Any], **credentials: str) -> Account:
    given = {"username": "jalur", "api_key": "k3y", "webhook_secret": "wh", **credentials}
    options = {"description": json.dumps(description)}
    return Account("d1", "https://dealer.example/api", given, options)


def _signed_with(**recipe: object) -> str:
    order = {"over": "{{ credentials.username }}|{{ reference }}", **recipe}
    at = _at({**EXAMPLE, "signatures": {**EXAMPLE["signatures"], "order": order}})
    assert DECLARATIVE.validate(at) == []
    return DECLARATIVE.top_up(at, ORDER).headers["x-signature"]


# ------------------------------------------------------------------ what is sent


def test_the_published_signature_of_otomax():
    example = described("otomax")
    at = Account(
        "d1",
        "http://center.example:6969",
        {"memberID": "YUSUF", "pin": "1144", "password": "abcd"},
        example.options,
    )
    url = DECLARATIVE.top_up(at, TopUp("2140669", "X10", "08123456789", 10_500)).url

    assert parse_qs(urlsplit(url).query)["sign"] == ["Cp9NLVuKWBt5Sey_uMlYsvnKvJI"]


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_digests_and_their_writings(algorithm: str):
    message = f"jalur|{ORDER.dealer_ref}".encode()
    digest = hashlib.new(algorithm, message)
    keyed = hmac.new(b"k3y", message, algorithm)
    key = "{{ credentials.api_key }}"

    assert _signed_with(algorithm=algorithm) == digest.hexdigest()
    assert _signed_with(algorithm=algorithm, upper=True) == digest.hexdigest().upper()
    assert _signed_with(algorithm=f"hmac-{algorithm}", key=key) == keyed.hexdigest()
    in_base64 = b64encode(digest.digest()).decode()
    assert _signed_with(algorithm=algorithm, output="base64") == in_base64
    assert _signed_with(algorithm=algorithm, output="base64", padded=False) == in_base64.rstrip("=")


def test_a_signature_may_sign_another():
    inner = {"algorithm": "md5", "over": "{{ credentials.api_key }}"}
    outer = {"algorithm": "md5", "over": "{{ reference }}{{ signatures.inner }}"}
    at = _at(
        changed(EXAMPLE, "signatures", {"inner": inner, **EXAMPLE["signatures"]} | {"order": outer})
    )
    due = hashlib.md5(ORDER.dealer_ref.encode() + hashlib.md5(b"k3y").hexdigest().encode())

    assert DECLARATIVE.validate(at) == []
    assert DECLARATIVE.top_up(at, ORDER).headers["x-signature"] == due.hexdigest()


def test_the_purchase_of_the_example():
    request = DECLARATIVE.top_up(_at(EXAMPLE), ORDER)

    assert (request.method, request.url) == ("POST", "https://dealer.example/api/orders")
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == {
        "username": "jalur",
        "product": "X10",
        "msisdn": "6281234567890",
        "ref_id": ORDER.dealer_ref,
        "max_price": 10_500,
    }


def test_no_product_code_leaves_its_place():
    order = dataclasses.replace(ORDER, dealer_sku='"},&x=1#/../', dealer_ref="A/../B?x=1")
    bought = DECLARATIVE.top_up(_at(EXAMPLE), order)
    asked = DECLARATIVE.status(_at(EXAMPLE), order)

    assert json.loads(bought.body)["product"] == order.dealer_sku
    assert urlsplit(asked.url).path == "/api/orders/A%2F..%2FB%3Fx%3D1"


def test_values_in_xml_are_escaped():
    xml = {"method": "POST", "text": "<a>{{ sku }}{{ number }}{{ reference }}</a>"}
    part = {**xml, "content_type": "text/xml"}
    at = _at(changed(EXAMPLE, "purchase.request", part))
    request = DECLARATIVE.top_up(at, dataclasses.replace(ORDER, dealer_sku="<&'\">"))

    assert request.body.startswith(b"<a>&lt;&amp;&#x27;&quot;&gt;0812")
    assert request.headers["content-type"] == "text/xml"


def test_empty_parameters_may_be_left_out():
    part = {
        "method": "GET",
        "query": {"p": "{{ sku }}{{ number }}{{ reference }}", "cb": "{{ callback_url }}"},
        "omit_empty": True,
    }
    at = _at(changed(EXAMPLE, "purchase.request", part))
    quiet = dataclasses.replace(ORDER, callback_url=None)

    assert "cb=" in DECLARATIVE.top_up(at, ORDER).url
    assert "cb=" not in DECLARATIVE.top_up(at, quiet).url


def test_the_shipped_example_is_the_recorded_one():
    assert json.loads(account("declarative").options["description"]) == EXAMPLE


@pytest.mark.parametrize("name", sorted(path.stem for path in DESCRIPTIONS.glob("*.toml")))
def test_every_shipped_description_is_valid(name: str):
    assert faults(document(name)) == []


# ------------------------------------------------------------------ what is refused

_TEMPLATE = "purchase.request.json.product"
WRONG: list[tuple[str, object, str, str]] = [
    (_TEMPLATE, "{{ skuu }}", "purchase.request.json.product", "nothing is called skuu"),
    (_TEMPLATE, "{{ credentials.pin }}", "purchase.request.json.product", "credentials.username"),
    (_TEMPLATE, "{{ sku", "purchase.request.json.product", "a tag must be"),
    (_TEMPLATE, "{{ sku | shout }}", "purchase.request.json.product", "no filter is called shout"),
    (_TEMPLATE, "{{ sku * 99999999 }}", "purchase.request.json.product", "multiplied"),
    (_TEMPLATE, "{{ range(9) }}", "purchase.request.json.product", "is no filter"),
    (_TEMPLATE, "{% for a in sku %}{% endfor %}", "purchase.request.json.product", "statements"),
    (_TEMPLATE, "{% set x = sku %}", "purchase.request.json.product", "statements"),
    (_TEMPLATE, "{{ '}}' * 9 }}", "purchase.request.json.product", "must end in the tag"),
    (_TEMPLATE, "{{ {'a': sku} }}", "purchase.request.json.product", "without braces"),
    (_TEMPLATE, "{{ sku | tojson | tojson | tojson | tojson }}", _TEMPLATE, "at most 3"),
    (_TEMPLATE, "x" * 1001, "purchase.request.json.product", "1000"),
    ("balance.request.json.sign", "{{ reference }}", "balance.request.json.sign", "reference"),
    ("balance.request.json.sign", "{{ signatures.order }}", "balance.request", "of its own"),
    ("purchase.request.json.ref_id", "x", "purchase.request", "{{ reference }} nowhere"),
    ("purchase.request.form", {}, "purchase.request", "one body"),
    ("purchase.request.method", "GET", "purchase.request", "no body"),
    ("purchase.request.path", "orders", "purchase.request.path", "begin with /"),
    ("purchase.request.headers.host", "x", "purchase.request.headers.host", "router itself"),
    ("purchase.read.shape", "ordr", "purchase.read[0].shape", "there is account, order"),
    ("purchase.read.meanings", ["stats"], "purchase.read[0].meanings", "no group stats"),
    ("shapes.order.fields.code", "data.", "shapes.order.fields.code.path", "JMESPath"),
    ("shapes.order.fields.code", "a[]", "shapes.order.fields.code.path", "left out"),
    ("shapes.order.fields.code", "[@, @]", "shapes.order.fields.code.path", "left out"),
    ("shapes.order.fields.code", "sort(@)", "shapes.order.fields.code.path", "no function sort"),
    ("shapes.order.fields.sn", {"of": "nothing", "pattern": "x"}, "shapes.order.fields.sn.of", ""),
    ("shapes.order.fields.sn", {"path": "a", "pattern": "(?=x)"}, "shapes.order.fields.sn", "RE2"),
    ("shapes.order.fields.sn", {"path": "a", "pattern": "((a{99}){99}){9}"}, "shapes", "RE2"),
    ("shapes.order.http_status", [200, 503], "shapes.order.http_status[1]", "499"),
    ("signatures.order.key", None, "signatures.order.key", "needs one"),
    ("signatures.asking.key", "x", "signatures.asking.key", "put the secret into over"),
    ("signatures.asking.algorithm", "crc32", "signatures.asking.algorithm", "sha512"),
    ("meanings.states.0.when", {"code": True, "number": True}, "meanings.states[0]", "own word"),
    ("meanings.states.0.when", {"number": "0812"}, "meanings.states[0]", "own word"),
    ("meanings.states.0.when.cod", "1", "meanings.states[0].when.cod", "no such field"),
    ("meanings.states.4.when.code", ["29", "23"], "purchase.read[0].meanings", "stands twice"),
    ("meanings.refusals.0.fault", "number", "meanings.refusals[0]", "wrong at every dealer"),
    ("meanings.absent.0.outcome", "rejected", "meanings.absent[0]", "only the answer to a purch"),
    ("meanings.states.4.without_reference", True, "meanings.states[4]", "without_reference"),
    ("meanings.states.0.without_reference", True, "meanings.states[0]", "without_reference"),
    ("meanings.states.5.outcome", "succeeded", "meanings.states[5]", "a reversal is failed"),
    ("meanings.states.1.fault", "cluster", "meanings.states[1]", "belongs to rejected and failed"),
    ("meanings.states.3.when", {}, "meanings.states[3]", "only unknown may"),
    ("capabilities.recovery", "none", "status", "must not be here"),
    ("capabilities.recovery", "same_ref_is_status", "capabilities.max_age_seconds", "buy again"),
    ("capabilities.requests_per_second", 0, "capabilities.requests_per_second", "greater than 0"),
    ("capabilities.reference_max_length", 40, "capabilities.reference_max_length", "22"),
    ("status.request", None, "status.request", "must never buy"),
    ("status.request", EXAMPLE["purchase"]["request"], "status.request", "would buy"),
    ("callback.signature.key", "fixed", "callback.signature", "anybody could sign"),
    ("callback.signature.given_in", {}, "callback.signature.given_in", "header or a field"),
    ("options.callback_url", "mine", "options.callback_url", "every dealer"),
    ("balance.shape", "order", "balance.shape", "no field balance"),
    ("prices.items", "data[*", "prices.items", "JMESPath"),
    ("colour", "red", "colour", "Extra inputs"),
    ("name", "x" * 40_000, "description", "characters"),
]


@pytest.mark.parametrize(
    ("place", "value", "at", "says"), WRONG, ids=[f"{each[0]}-{n}" for n, each in enumerate(WRONG)]
)
def test_each_fault_names_its_place_and_the_way_out(place: str, value: object, at: str, says: str):
    told = faults(changed(EXAMPLE, place, value))

    assert any(fault.startswith(f"description: {at}") and says in fault for fault in told), told


@pytest.mark.parametrize("path", ["not_null(data.rc, '00')", "data.rc || '00'", "'00'"])
def test_a_success_rests_on_what_the_dealer_wrote_and_not_on_a_default(path: str):
    description = changed(EXAMPLE, "shapes.order.fields.code", path)
    description = changed(description, "meanings.states.0.when", {"code": "00"})

    assert any("own word" in fault for fault in faults(description))


def test_all_faults_are_told_at_once():
    twice = changed(EXAMPLE, "purchase.request.json.more", "{{ a }}")
    twice = changed(twice, "shapes.order.fields.code", "x.")

    assert len(faults(twice)) == 2


def test_text_that_is_no_description_is_refused():
    for text in ("", "{", "[]", "null", '{"name": 1}'):
        at = Account("d1", "https://dealer.example", {}, {"description": text})
        assert DECLARATIVE.validate(at)


def test_the_description_s_own_settings_are_asked_for():
    at = Account(
        "d1",
        "https://dealer.example",
        {"username": "x", "apikey": "y"},
        {"description": json.dumps(EXAMPLE), "colour": "red"},
    )
    told = " ".join(DECLARATIVE.validate(at))

    assert "credential api_key is missing: the key that requests are signed with" in told
    assert "credential apikey is unknown: did you mean api_key?" in told
    assert "option colour is unknown" in told
    assert "webhook_secret is missing" not in told


def test_a_credential_that_no_header_takes_is_named():
    description = changed(EXAMPLE, "purchase.request.headers.x-user", "{{ credentials.username }}")

    assert "purchase.request.headers.x-user" in faults(description, username="a\nb")[0]


# ------------------------------------------------------------------ what an answer proves


def test_a_dealer_that_cannot_be_asked():
    description = changed(changed(EXAMPLE, "status", None), "capabilities.recovery", "none")
    at = _at(description)

    assert DECLARATIVE.validate(at) == []
    assert DECLARATIVE.capabilities_of(at).recovery is Recovery.NONE
    assert DECLARATIVE.read_status(at, ORDER, Answer(200, {}, b"{}")).outcome is Outcome.UNKNOWN
    with pytest.raises(LookupError):
        DECLARATIVE.status(at, ORDER)


def test_a_check_that_is_the_purchase_is_the_same_bytes():
    can = {"recovery": "same_ref_is_status", "max_age_seconds": 3600}
    description = changed(changed(EXAMPLE, "status.request", None), "capabilities", can)
    at = _at(description)

    assert DECLARATIVE.validate(at) == []
    assert DECLARATIVE.status(at, ORDER) == DECLARATIVE.top_up(at, ORDER)


def test_a_field_that_cannot_be_computed_makes_the_answer_unknown():
    description = changed(EXAMPLE, "shapes.order.fields.denied", "length(data.price)")
    description = changed(description, "meanings.states.0.when.denied", False)
    body = {"rc": "00", "status": "success", "ref_id": ORDER.dealer_ref, "price": 5}
    answer = Answer(200, {}, json.dumps({"data": body | {"msisdn": "081234567890"}}).encode())
    read = DECLARATIVE.read_top_up(_at(description), ORDER, answer)

    assert (read.outcome, read.code) == (Outcome.UNKNOWN, "unfit-field")


def test_a_refusal_of_a_number_stops_the_order():
    body = {"rc": "21", "status": "failed", "ref_id": ORDER.dealer_ref}
    read = DECLARATIVE.read_top_up(
        _at(EXAMPLE), ORDER, Answer(200, {}, json.dumps({"data": body}).encode())
    )

    assert (read.outcome, read.fault) == (Outcome.FAILED, Fault.NUMBER)


@pytest.mark.parametrize(
    ("written", "text", "rupiah"),
    [
        ("10150", "10150", 10150),
        ("10150", 10150.0, 10150),
        ("10150", "10.150", None),
        ("10150", 10.150, None),
        ("10.150,00", "Rp 1.210.150,00", 1210150),
        ("10.150,00", "10.15", None),
        ("10.150,00", 10.125, None),
        ("10,150.00", "10,150.00", 10150),
        ("10,150.00", "10,15", None),
        ("10150", "٣", None),
        ("10150", True, None),
        ("10150", [5], None),
    ],
)
def test_amounts_are_read_as_they_are_described_or_not_at_all(
    written: str, text: object, rupiah: int | None
):
    body = {"rc": "00", "status": "success", "ref_id": ORDER.dealer_ref, "price": text}
    answer = Answer(200, {}, json.dumps({"data": body | {"msisdn": "081234567890"}}).encode())
    read = DECLARATIVE.read_top_up(_at(changed(EXAMPLE, "amounts", written)), ORDER, answer)

    assert (read.outcome, read.price_rupiah) == (Outcome.SUCCEEDED, rupiah)


# ------------------------------------------------------------------ what a callback proves


def _form(over: str, **changes: object) -> dict[str, Any]:
    """The example with callbacks as forms, signed with MD5 over fields."""
    fields = {
        "reference": "ref",
        "code": "rc",
        "state": "status",
        "number": "msisdn",
        "serial_number": "sn",
        "price": "price",
        "sign": "sign",
    }
    signature = {"algorithm": "md5", "over": over, "given_in": {"field": "sign"}}
    shape = {"format": "form", "fields": fields}
    description = changed(EXAMPLE, "shapes.form", shape)
    description = changed(description, "callback.read.shape", "form")
    return changed(description, "callback.signature", {**signature, **changes})


def _posted(at: Account, signed: str, **fields: str) -> Any:
    given = {
        "ref": "AB1",
        "rc": "00",
        "status": "success",
        "msisdn": "081",
        "sn": "7",
        "price": "9",
    }
    sign = hashlib.md5(signed.encode()).hexdigest()
    body = "&".join(f"{name}={value}" for name, value in {**given, "sign": sign, **fields}.items())
    return DECLARATIVE.read_callback(at, Callback("POST", "", {}, body.encode()))


SECRET = "{{ credentials.webhook_secret }}"
ALL = "{{ fields.reference }}|{{ fields.code }}|{{ fields.state }}|{{ fields.number }}"


def test_a_signature_over_all_that_decides_is_a_word():
    at = _at(_form(f"{SECRET}|{ALL}"))
    read = _posted(at, "wh|AB1|00|success|081")

    assert DECLARATIVE.validate(at) == []
    assert DECLARATIVE.capabilities_of(at).callback_is_word
    assert (read.verified, read.report.outcome) == (True, Outcome.SUCCEEDED)
    # What is not signed is nobody's word.
    assert (read.report.serial_number, read.report.price_rupiah) == (None, None)


@pytest.mark.parametrize(
    ("over", "signed"),
    [
        (f"{SECRET}{{{{ fields.reference }}}}", "whAB1"),
        (f"{SECRET}|{{{{ fields.reference }}}}|{{{{ fields.code }}}}", "wh|AB1|00"),
        (f"{SECRET}|{ALL.replace('|', '')}", "wh|AB100success081"),
        (f"{SECRET}|{ALL}{{% if fields.sign %}}{{% endif %}}", "wh|AB1|00|success|081"),
        (
            f"{SECRET}|{ALL.replace(' fields.code', ' fields.code | upper')}",
            "wh|AB1|00|success|081",
        ),
    ],
)
def test_a_signature_over_less_is_a_hint(over: str, signed: str):
    at = _at(_form(over))

    assert DECLARATIVE.validate(at) == []
    assert not DECLARATIVE.capabilities_of(at).callback_is_word
    assert _posted(at, signed).verified is False


def test_a_field_that_holds_the_separator_proves_nothing():
    at = _at(_form(f"{SECRET}|{ALL}"))

    assert _posted(at, "wh|AB1|00|x|success|081", status="x|success").verified is False


def test_a_wrong_signature_is_refused():
    at = _at(_form(f"{SECRET}|{ALL}"))
    with pytest.raises(CallbackRefused):
        _posted(at, "guess")
    with pytest.raises(CallbackRefused):
        _posted(at, "wh|AB1|00|success|081", rc="20")


def test_without_the_secret_a_callback_is_a_hint():
    at = _at(EXAMPLE, webhook_secret="")
    body = {"rc": "00", "status": "success", "ref_id": "AB1", "msisdn": "081"}
    callback = Callback("POST", "", {}, json.dumps({"data": body}).encode())

    assert DECLARATIVE.read_callback(at, callback).verified is False


def test_a_body_s_signature_covers_no_query():
    description = changed(EXAMPLE, "shapes.order.format", "query")
    for name in ("purchase", "status"):
        description = changed(description, f"{name}.read.shape", "answer")
    description = changed(description, "shapes.answer", EXAMPLE["shapes"]["order"])
    fields = {"reference": "ref", "code": "rc", "state": "status", "number": "n"}
    description = changed(description, "shapes.order.fields", fields)
    at = _at(description)
    sign = hmac.new(b"wh", b"", "sha256").hexdigest()
    query = "ref=AB1&rc=00&status=success&n=081"
    read = DECLARATIVE.read_callback(
        at, Callback("GET", query, {"x-signature": f"sha256={sign}"}, b"")
    )

    assert DECLARATIVE.validate(at) == []
    assert read.verified is False
    assert not DECLARATIVE.capabilities_of(at).callback_is_word


def test_the_acknowledgement_may_name_the_reference():
    body = json.dumps({"data": {"ref_id": "AB1"}}).encode()
    at = _at(EXAMPLE)

    assert DECLARATIVE.acknowledge(at, Callback("POST", "", {}, body)) == (
        "application/json",
        b'{"received": "AB1"}',
    )
    assert DECLARATIVE.acknowledge(at, Callback("POST", "", {}, b"{"))[1] == b'{"received": ""}'


def test_a_question_that_turns_out_to_be_the_purchase_is_never_asked():
    asked = changed(document("portalpulsa"), "credentials.asks", "what a question begins with")
    question = {**asked["purchase"]["request"]["form"], "inquiry": "{{ credentials.asks }}"}
    asked = changed(asked, "status.request.form", question)
    recorded = account("portalpulsa")

    def at(asks: str) -> Account:
        options = {"description": json.dumps(asked)}
        return Account("d1", recorded.base_url, {**recorded.credentials, "asks": asks}, options)

    assert DECLARATIVE.validate(at("I")) == []
    assert DECLARATIVE.status(at("STATUS"), ORDER).body != DECLARATIVE.top_up(at("I"), ORDER).body
    with pytest.raises(LookupError, match="the question is the purchase"):
        DECLARATIVE.status(at("I"), ORDER)


# ------------------------------------------------------------------ what it costs others


def test_the_engines_are_loaded_only_for_a_described_dealer():
    script = (
        "import sys, app.__main__; from dealers.registry import load; load(); "
        "print([name for name in ('re2', 'minijinja', 'jmespath') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
