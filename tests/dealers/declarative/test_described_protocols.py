"""Protocols that have code of their own, described as data: every recording is read alike.

A description may be coarser than code: what it cannot tell is UNKNOWN, never something definite.
"""

import dataclasses

import pytest

from dealers.contract import CallbackRefused, CallbackReport, Outcome, Report, UnreadableAnswer
from dealers.registry import load
from tests.dealers.declarative.described import DECLARATIVE, DESCRIPTIONS, described
from tests.dealers.recorded import ORDER, Case, account, cases

CODED = [name for name in load() if (DESCRIPTIONS / f"{name}.toml").exists()]
PROTOCOL = pytest.mark.parametrize("protocol", CODED)


def _recorded(*kinds: str) -> list[Case]:
    return [case for case in cases(*kinds) if case.dialect.name in CODED]


def _named(case: Case) -> str:
    return f"{case.dialect.name}-{case.name}"


def _essence(report: Report) -> Report:
    """What is acted upon. In which words something is unknown is each reader's own."""
    if report.outcome is Outcome.UNKNOWN:
        return Report(Outcome.UNKNOWN, "", not_found=report.not_found)
    return report


@pytest.mark.parametrize("case", _recorded("top_up", "status"), ids=_named)
@pytest.mark.parametrize("reader", ["read_top_up", "read_status"])
def test_every_recorded_answer_is_read_as_by_code(case: Case, reader: str):
    by_code = getattr(case.dialect, reader)(case.account, ORDER, case.answer())
    by_data = getattr(DECLARATIVE, reader)(described(case.dialect.name), ORDER, case.answer())

    assert _essence(by_data) == _essence(by_code)


@pytest.mark.parametrize("case", _recorded("callback"), ids=_named)
def test_every_recorded_callback_is_read_as_by_code(case: Case):
    def read(dialect, at) -> CallbackReport | None:
        try:
            found = dialect.read_callback(at, case.callback())
        except CallbackRefused:
            return None
        return dataclasses.replace(found, report=_essence(found.report))

    at = described(case.dialect.name)
    assert read(DECLARATIVE, at) == read(case.dialect, case.account)


@pytest.mark.parametrize("case", _recorded("balance", "price_list"), ids=_named)
def test_every_recorded_balance_and_price_list_is_read_as_by_code(case: Case):
    def read(dialect, at) -> object:
        reader = f"read_{case.recording['kind']}"
        try:
            return getattr(dialect, reader)(at, case.answer())
        except UnreadableAnswer:
            return None

    at = described(case.dialect.name)
    assert read(DECLARATIVE, at) == read(case.dialect, case.account)


@PROTOCOL
def test_the_same_bytes_are_sent(protocol: str):
    by_code, at = load()[protocol], account(protocol)
    again = dataclasses.replace(ORDER, counter=2, dealer_sku="A B&c=1")
    for order in (ORDER, again):
        for request in ("top_up", "status"):
            sent = getattr(DECLARATIVE, request)(described(protocol), order)
            due = getattr(by_code, request)(at, order)
            # A blank is quoted as %20 here, and as + in some forms: both are one blank.
            assert (sent.method, sent.url, dict(sent.headers)) == (
                due.method,
                due.url,
                dict(due.headers),
            )
            assert sent.body.replace(b"%20", b"+") == due.body.replace(b"%20", b"+")
    assert DECLARATIVE.balance(described(protocol)) == by_code.balance(at)
    assert DECLARATIVE.price_list(described(protocol)) == by_code.price_list(at)


@PROTOCOL
def test_the_same_is_declared(protocol: str):
    described_can = DECLARATIVE.capabilities_of(described(protocol))

    assert described_can == load()[protocol].capabilities
