"""What every protocol must hold to, whichever the registry finds: recorded and invented answers."""

import dataclasses
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealers.contract import (
    Account,
    Answer,
    Callback,
    CallbackRefused,
    Outcome,
    Recovery,
    Report,
    UnreadableAnswer,
)
from dealers.registry import Dialect, load
from tests.dealers.recorded import ORDER, Case, account, cases, order, report

DIALECTS = [pytest.param(dialect, id=name) for name, dialect in load().items()]

_NO_MONEY = "rejected-balance"

EVERY_PROTOCOL_RECORDS = {
    "success",
    "success-without-serial",
    "pending",
    "rejected-stock",
    _NO_MONEY,
    "failed-number",
    "failed-product",
    "unmapped-code",
    "other-reference",
    "other-number",
    "garbage",
    "empty",
    "truncated",
    "huge",
    "html-error-page",
    "http-500",
    "status-success",
    "status-pending",
    "status-failed",
    "status-reversed",
    "status-not-found",
    "status-refused-before-lookup",
    "status-other-reference",
    "callback-success",
    "callback-failed",
    "callback-garbage",
    "balance",
    "balance-garbage",
}

_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_json = st.recursive(_scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
_bodies = (
    st.binary() | st.text().map(str.encode) | _json.map(lambda tree: json.dumps(tree).encode())
)
_answers = st.builds(
    Answer,
    status=st.sampled_from([200, 200, 200, 201, 302, 400, 401, 404, 429, 500, 503]),
    headers=st.just({}),
    body=_bodies,
    truncated=st.booleans(),
)


def _named(case: Case) -> str:
    return f"{case.dialect.name}-{case.name}"


def _read(case: Case) -> Report:
    kind = case.recording["kind"]
    reader = case.dialect.read_top_up if kind == "top_up" else case.dialect.read_status
    return reader(case.account, ORDER, case.answer())


def _escaped(
    reader: Callable[[Account, Answer], object], at: Account, answer: Answer
) -> BaseException | None:
    """What the protocol raised and the registry had to translate."""
    try:
        reader(at, answer)
    except UnreadableAnswer as refusal:
        return refusal.__cause__
    return None


def _requests(dialect: Dialect, at: Account) -> list[object]:
    bought = order(dialect.name)
    return [dialect.top_up(at, bought), dialect.status(at, bought), dialect.balance(at)]


@pytest.mark.parametrize("case", cases("top_up", "status"), ids=_named)
def test_a_recorded_answer_is_read_as_expected(case: Case):
    read = _read(case)

    assert read == report(case.expected, read.message)


@pytest.mark.parametrize("case", cases("callback"), ids=_named)
def test_a_recorded_callback_is_read_as_expected(case: Case):
    if case.expected.get("refused"):
        with pytest.raises(CallbackRefused):
            case.dialect.read_callback(case.account, case.callback())
        return
    expected = dict(case.expected)
    read = case.dialect.read_callback(case.account, case.callback())

    assert read.dealer_ref == expected.pop("dealer_ref")
    assert read.verified is expected.pop("verified")
    assert read.report == report(expected, read.report.message)


@pytest.mark.parametrize("case", cases("balance"), ids=_named)
def test_a_recorded_balance_is_read_as_expected(case: Case):
    if case.expected.get("unreadable"):
        with pytest.raises(UnreadableAnswer):
            case.dialect.read_balance(case.account, case.answer())
        return
    read = case.dialect.read_balance(case.account, case.answer())

    assert read.rupiah == case.expected["rupiah"]


@pytest.mark.parametrize("case", cases("price_list"), ids=_named)
def test_a_recorded_price_list_is_read_as_expected(case: Case):
    if case.expected.get("unreadable"):
        with pytest.raises(UnreadableAnswer):
            case.dialect.read_price_list(case.account, case.answer())
        return
    read = case.dialect.read_price_list(case.account, case.answer())

    assert [dataclasses.asdict(line) for line in read] == case.expected["prices"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_protocol_records_the_cases_that_decide_about_money(dialect: Dialect):
    recorded = {
        case.name
        for case in cases("top_up", "status", "callback", "balance")
        if case.dialect == dialect
    }

    assert recorded >= EVERY_PROTOCOL_RECORDS


@pytest.mark.parametrize("case", cases("top_up", "status"), ids=_named)
def test_no_recorded_answer_is_final_once_it_was_cut(case: Case):
    cut = dataclasses.replace(case.answer(), truncated=True)

    assert case.dialect.read_top_up(case.account, ORDER, cut).outcome is Outcome.UNKNOWN
    assert case.dialect.read_status(case.account, ORDER, cut).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("case", cases("top_up", "status"), ids=_named)
def test_no_recorded_answer_is_final_with_a_server_error(case: Case):
    broken = dataclasses.replace(case.answer(), status=503)

    assert case.dialect.read_top_up(case.account, ORDER, broken).outcome is Outcome.UNKNOWN
    assert case.dialect.read_status(case.account, ORDER, broken).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("case", cases("top_up", "status"), ids=_named)
def test_no_recorded_answer_settles_another_order(case: Case):
    another = dataclasses.replace(ORDER, dealer_ref="ANOTHER0ORDER0OF0OURS")
    read = case.dialect.read_status(case.account, another, case.answer())

    assert read.outcome is Outcome.UNKNOWN
    # An answer that names no reference at all, an empty list, speaks of the one that was asked.
    assert not read.not_found or ORDER.dealer_ref.encode() not in case.answer().body


@pytest.mark.parametrize("case", cases("status"), ids=_named)
def test_a_check_never_rejects_since_the_purchase_may_have_been_created(case: Case):
    assert _read(case).outcome is not Outcome.REJECTED


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_refusal_for_want_of_money_is_known_as_one(dialect: Dialect):
    at = account(dialect.name)
    (refused,) = (
        each for each in cases("top_up") if each.dialect == dialect and each.name == _NO_MONEY
    )
    if not dialect.balance(at):
        pytest.skip("nobody can ask whether there is money again")

    assert _read(refused).code in dialect.capabilities_of(at).low_balance_codes


@pytest.mark.parametrize("dialect", DIALECTS)
@given(answer=_answers)
def test_invented_answers_break_no_reader_and_settle_nothing(dialect: Dialect, answer: Answer):
    at = account(dialect.name)
    for reader in (dialect.read_top_up, dialect.read_status):
        read = reader(at, ORDER, answer)
        assert read.outcome is Outcome.UNKNOWN
        assert read.code != "unreadable", f"the reader raised {read.message}"


@pytest.mark.parametrize("dialect", DIALECTS)
@given(answer=_answers)
def test_invented_balances_and_prices_are_read_or_named_unreadable(
    dialect: Dialect, answer: Answer
):
    at = account(dialect.name)
    for reader in (dialect.read_balance, dialect.read_price_list):
        escaped = _escaped(reader, at, answer)
        assert escaped is None, "the reader raised something of its own"


@pytest.mark.parametrize("dialect", DIALECTS)
@given(query=st.text(), body=_bodies, signature=st.text())
def test_invented_callbacks_are_refused(dialect: Dialect, query: str, body: bytes, signature: str):
    callback = Callback("POST", query, {"x-hub-signature": signature}, body)
    with pytest.raises(CallbackRefused):
        dialect.read_callback(account(dialect.name), callback)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_recorded_account_is_complete(dialect: Dialect):
    assert dialect.validate(account(dialect.name)) == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_account_without_credentials_is_named_incomplete(dialect: Dialect):
    assert dialect.validate(Account("d1", "https://dealer.example", {}))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("base_url", ["", "ftp://dealer.example", "https://", "https://x/?a=1"])
def test_a_wrong_address_is_named(dialect: Dialect, base_url: str):
    at = dataclasses.replace(account(dialect.name), base_url=base_url)

    assert any("base_url" in fault for fault in dialect.validate(at))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_same_order_makes_the_same_request_byte_for_byte(dialect: Dialect):
    at = account(dialect.name)

    assert _requests(dialect, at) == _requests(dialect, at)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_check_is_the_purchase_only_where_the_protocol_says_so(dialect: Dialect):
    at = account(dialect.name)
    bought = order(dialect.name)
    same = dialect.status(at, bought) == dialect.top_up(at, bought)

    assert same is (dialect.capabilities_of(at).recovery is Recovery.SAME_REF_IS_STATUS)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_check_that_buys_has_an_age_limit(dialect: Dialect):
    declared = dialect.capabilities_of(account(dialect.name))
    if declared.recovery is Recovery.SAME_REF_IS_STATUS:
        assert declared.max_age_seconds is not None


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_secret_shows_in_a_printed_account_or_request(dialect: Dialect):
    at = account(dialect.name)
    printed = repr((at, *_requests(dialect, at)))

    assert not [secret for secret in at.credentials.values() if secret in printed]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_purchase_says_its_number_of_the_day_only_where_it_is_counted(dialect: Dialect):
    at, first = account(dialect.name), order(dialect.name)
    second = dataclasses.replace(first, counter=2)
    differs = dialect.top_up(at, first) != dialect.top_up(at, second)

    assert not differs or dialect.capabilities_of(at).counts_repeats
