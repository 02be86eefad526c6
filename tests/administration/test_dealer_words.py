"""A dealer's words read for people: as in earnest, for the purchase that they name."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.__main__ import cli
from app.administration.dealer_words import (
    Subject,
    WordsKind,
    answer_from,
    callbacks_from,
    read_answer,
    read_callback,
)
from dealers.contract import Outcome
from dealers.registry import load
from tests.dealers.recorded import ORDER, Case, account, case, cases

ANYONE = Subject(dealer_sku=ORDER.dealer_sku)
OTHERS = {"other-reference", "other-number"}
"""Codes of what was read for a purchase that the words do not speak of."""


def _named(case: Case) -> str:
    return f"{case.dialect.name}-{case.name}"


def _kind(case: Case) -> WordsKind:
    return WordsKind.STATUS if case.recording["kind"] == "status" else WordsKind.ANSWER


def _in_earnest(case: Case):
    reader = case.dialect.read_status
    if case.recording["kind"] == "top_up":
        reader = case.dialect.read_top_up
    return reader(case.account, ORDER, case.answer())


@pytest.mark.parametrize("case", cases("top_up", "status"), ids=_named)
def test_words_about_our_purchase_are_read_as_in_earnest(case: Case):
    earnest = _in_earnest(case)
    read = read_answer(case.dialect, case.account, _kind(case), ANYONE, case.answer())

    if "other" in case.name:
        pytest.skip("they speak of another purchase, or of several")
    if earnest.outcome is not Outcome.UNKNOWN and ORDER.dealer_ref in case.answer().body.decode():
        assert read.report == earnest
        assert read.dealer_ref == ORDER.dealer_ref
    elif earnest.code not in OTHERS:
        assert read.report.outcome is earnest.outcome


@pytest.mark.parametrize("case", cases("top_up", "status"), ids=_named)
def test_words_about_a_given_purchase_settle_no_other(case: Case):
    another = Subject("ANOTHER0ORDER0OF0OURS", None, ORDER.dealer_sku)
    read = read_answer(case.dialect, case.account, _kind(case), another, case.answer())

    if ORDER.dealer_ref in case.answer().body.decode():
        assert read.report.outcome is Outcome.UNKNOWN


def test_what_follows_a_success_depends_on_what_stood_before():
    read = _read(case("digiflazz", "success"))

    assert "charge the order: succeeded" in read.while_open[0]
    assert "tell the reseller order.succeeded" in read.while_open
    assert read.after_success == ()
    assert "tell the reseller order.corrected" in read.after_failure


def test_what_is_not_known_is_asked_about_and_bought_nowhere_else():
    read = _read(case("digiflazz", "unmapped-code"))

    assert read.report.outcome is Outcome.UNKNOWN
    assert read.while_open == ("ask the dealer in 60 s; buy nowhere else",)


def test_a_refusal_goes_to_the_next_dealer_and_a_wrong_number_to_none():
    assert "the next dealer" in _read(case("otomax", "rejected-stock")).while_open[0]
    assert "release its money" in _read(case("otomax", "failed-number")).while_open[0]


def test_an_unsigned_callback_only_makes_us_ask():
    recorded = case("otomax", "callback-success")
    read = read_callback(recorded.dialect, recorded.account, recorded.callback())

    assert read.verified is False
    assert "ask the dealer for the status" in read.while_open[0]


def test_an_unsigned_callback_where_nothing_can_be_asked_settles_by_its_origin_only():
    recorded = case("xmlrpc_center", "callback-success")
    read = read_callback(recorded.dialect, recorded.account, recorded.callback())

    assert "for review" in read.while_open[0]
    assert "from a listed network it settles" in read.while_open[0]


def test_a_callback_with_a_wrong_signature_is_refused_with_the_reason():
    recorded = case("digiflazz", "callback-success")
    (callback,) = callbacks_from(recorded.callback().body, {"x-hub-signature": "sha1=00"})
    read = read_callback(recorded.dialect, recorded.account, callback)

    assert read.refused
    assert read.while_open == ("answer it with 403; nothing changes",)


def test_a_saved_answer_may_carry_its_own_status_and_headers():
    answer = answer_from(b"HTTP/1.1 502 Bad Gateway\r\nServer: x\r\n\r\n<html>", 200)

    assert (answer.status, answer.headers, answer.body) == (502, {"server": "x"}, b"<html>")


def test_a_saved_answer_past_the_cap_is_cut_as_in_earnest():
    recorded = case("digiflazz", "success")
    answer = answer_from(recorded.answer().body + b" " * 70_000, 200)
    read = read_answer(recorded.dialect, recorded.account, WordsKind.ANSWER, ANYONE, answer)

    assert read.report.code == "answer-too-large"


@pytest.mark.parametrize(
    "saved",
    [
        b"refid=2140669&status=20",
        b"https://jalur.example/v1/callbacks/d/t?refid=2140669&status=20\n",
        b"GET /v1/callbacks/d?refid=2140669&status=20 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_a_callback_saved_as_a_query_an_address_or_a_request_is_read(saved: bytes):
    otomax = load()["otomax"]
    reads = [read_callback(otomax, account("otomax"), each) for each in callbacks_from(saved, {})]

    assert [each.dealer_ref for each in reads if each.refused is None] == ["2140669"]


def test_the_command_prints_one_object(tmp_path: Path):
    file = tmp_path / "answer"
    file.write_text("T#7 R#2140669 X10.08123456789 GAGAL. Tujuan Salah. Saldo 1.000")
    run = CliRunner().invoke(cli, ["dealers", "read", "otomax", str(file), "--json"])
    read = json.loads(run.stdout.splitlines()[-1])

    assert (read["outcome"], read["fault"], read["reference"]) == ("failed", "number", "2140669")
    assert read["customer_number"] == "08123456789"


def test_the_command_reads_an_error_page_as_unknown(tmp_path: Path):
    file = tmp_path / "page.html"
    file.write_text("<html>Bad Gateway</html>")
    run = CliRunner().invoke(
        cli, ["dealers", "read", "digiflazz", str(file), "--http-status", "502", "--json"]
    )

    assert json.loads(run.stdout)["outcome"] == "unknown"


def test_an_unknown_protocol_is_answered_with_those_that_there_are():
    run = CliRunner().invoke(cli, ["dealers", "read", "smoke", "-"], input="x")

    assert "otomax" in str(run.exception)


def _read(case: Case):
    return read_answer(case.dialect, case.account, _kind(case), ANYONE, case.answer())


def test_every_protocol_tells_what_an_account_consists_of():
    run = CliRunner().invoke(cli, ["dealers", "protocols", "--json"])
    listed = {each["name"]: each for each in json.loads(run.stdout)["protocols"]}

    assert set(listed) == set(load())
    assert [each["name"] for each in listed["otomax"]["credentials"]] == [
        "memberID",
        "pin",
        "password",
    ]
    assert "check_schedule" in [each["name"] for each in listed["otomax"]["options"]]
