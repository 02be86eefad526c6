"""Damaged words: no reader raises, and nothing but an explicit success is a success.

Every recorded answer and callback is cut, doubled, spliced with another and sprinkled with bytes.
"""

import dataclasses
import re
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealers.contract import Answer, Callback, CallbackRefused, CallbackReport, Outcome
from dealers.registry import Dialect, load
from tests.dealers.recorded import ORDER, Case, account, cases

DIALECTS = [pytest.param(dialect, id=name) for name, dialect in load().items()]
_LONGEST = 4_000
_SUCCESS_WORDS = re.compile(rb"suc+es|sukses|berhasil|completed", re.IGNORECASE)
_positions = st.integers(0, _LONGEST)


def _recorded(dialect: Dialect, *kinds: str) -> list[Case]:
    return [case for case in cases(*kinds) if case.dialect == dialect]


def _answers(dialect: Dialect, *, successes: bool) -> list[Answer]:
    """What is recorded, without what is too long to be worth damaging.

    What is no success has no word of success in it either: "not yet successful", cut in the right
    place, would be one.
    """
    chosen = [
        case.answer()
        for case in _recorded(dialect, "top_up", "status")
        if (case.expected["outcome"] == "succeeded") is successes
    ]
    return [
        answer
        for answer in chosen
        if len(answer.body) <= _LONGEST
        and answer.status == HTTPStatus.OK
        and (successes or not _SUCCESS_WORDS.search(answer.body))
    ]


def _successes(dialect: Dialect) -> list[Answer]:
    answers = _answers(dialect, successes=True)
    if not answers:
        pytest.skip("its results come by callback only")
    return answers


@st.composite
def _damaged(draw: st.DrawFn, bodies: list[bytes]) -> bytes:
    """One of the bodies with a part taken out, doubled, or taken from another of them."""
    body, other = draw(st.sampled_from(bodies)), draw(st.sampled_from(bodies))
    for _ in range(draw(st.integers(1, 4))):
        first, last = sorted((draw(_positions), draw(_positions)))
        piece = draw(
            st.sampled_from([b"", body[first:last] * 2, other[first:last]])
            | st.binary(min_size=1, max_size=8).filter(lambda noise: not noise.isalnum())
        )
        body = body[:first] + piece + body[last:]
    return body


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_what_was_no_success_never_becomes_one(dialect: Dialect, data: st.DataObject):
    answers = _answers(dialect, successes=False)
    body = data.draw(_damaged([answer.body for answer in answers]))
    answer = dataclasses.replace(data.draw(st.sampled_from(answers)), body=body)
    for reader in (dialect.read_top_up, dialect.read_status):
        read = reader(account(dialect.name), ORDER, answer)
        assert read.outcome is not Outcome.SUCCEEDED
        assert read.code != "unreadable", f"the reader raised {read.message}"


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_a_success_that_lost_our_reference_is_none(dialect: Dialect, data: st.DataObject):
    answers = _successes(dialect)
    answer = data.draw(st.sampled_from(answers))
    other = data.draw(st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=0, max_size=22))
    body = answer.body.replace(ORDER.dealer_ref.encode(), other.encode())
    read = dialect.read_status(account(dialect.name), ORDER, dataclasses.replace(answer, body=body))

    assert read.outcome is not Outcome.SUCCEEDED or ORDER.dealer_ref.encode() in body


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_a_damaged_success_breaks_no_reader(dialect: Dialect, data: st.DataObject):
    answers = _successes(dialect)
    body = data.draw(_damaged([answer.body for answer in answers]))
    for reader in (dialect.read_top_up, dialect.read_status):
        read = reader(account(dialect.name), ORDER, dataclasses.replace(answers[0], body=body))
        assert read.code != "unreadable", f"the reader raised {read.message}"
        if read.outcome is Outcome.SUCCEEDED:
            assert ORDER.dealer_ref.encode() in body


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_a_damaged_callback_is_refused_or_only_a_hint(dialect: Dialect, data: st.DataObject):
    recorded = [case.callback() for case in _recorded(dialect, "callback")]
    whole = data.draw(st.sampled_from(recorded))
    body = data.draw(_damaged([each.body for each in recorded]))
    query = data.draw(_damaged([each.query.encode() for each in recorded]))
    callback = Callback(whole.method, query.decode("latin-1"), whole.headers, body)
    read = _read_or_refused(dialect, callback)

    if isinstance(read, str):
        assert not read.startswith("unreadable"), "the reader raised something of its own"
    elif read.verified:
        assert body in {each.body for each in recorded}, "signed words were changed"


def _read_or_refused(dialect: Dialect, callback: Callback) -> CallbackReport | str:
    try:
        return dialect.read_callback(account(dialect.name), callback)
    except CallbackRefused as refusal:
        return str(refusal)
