"""Traces: a caller's is continued and sent on; one made up is known to ourselves only."""

import re

import pytest

from app.traces import id_of, trace_of, traceparent

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def read(value: str) -> bytes:
    return trace_of([(b"host", b"jalur"), (b"traceparent", value.encode())])


@pytest.mark.parametrize(
    ("flags", "sent_on"), [("00", "00"), ("01", "01"), ("03", "03"), ("ff", "03")]
)
def test_a_callers_trace_goes_on_under_a_span_of_its_own(flags: str, sent_on: str):
    trace = read(f"00-{ID}-{SPAN}-{flags}")
    assert id_of(trace) == ID
    headers = {traceparent(trace) for _ in range(100)}
    assert len(headers) == 100
    for header in headers:
        found = re.fullmatch(f"00-{ID}-([0-9a-f]{{16}})-{sent_on}", header or "")
        assert found
        assert found[1] not in (SPAN, "0" * 16)


def test_a_later_version_is_read_as_far_as_it_is_known():
    assert id_of(read(f"cc-{ID}-{SPAN}-01-what-the-future-brings")) == ID


@pytest.mark.parametrize(
    "value",
    [
        "",
        ID,
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID.upper()}-{SPAN}-01",
        f"ff-{ID}-{SPAN}-01",
        f"00-{ID}-{SPAN}-01\n",
        f"00-{ID}-{SPAN}-1",
    ],
)
def test_what_is_no_trace_is_replaced_by_one_that_nobody_else_is_told(value: str):
    trace = read(value)
    assert re.fullmatch("[0-9a-f]{32}", id_of(trace))
    assert id_of(trace) != ID
    assert traceparent(trace) is None


def test_without_a_trace_there_is_no_header():
    assert traceparent(None) is None
