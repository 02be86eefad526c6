"""Requests as bytes: nothing smuggled, nothing beside the URL that was meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.failures import FailureKind, TransportFailure
from app.outbound.requests import encode_request
from dealers.contract import Request

URL = "http://dealer.test/topup"
SECRET = "p1n4"


def is_refused(request: Request) -> bool:
    """Whether it cannot be sent; the refusal tells no secret."""
    try:
        encode_request(request)
    except TransportFailure as failure:
        plain = SECRET not in str(failure) and failure.__cause__ is None
        return failure.kind is FailureKind.UNSENDABLE and failure.nothing_sent and plain
    return False


def first_line_of(url: str) -> bytes:
    return encode_request(Request("GET", url))[1].split(b"\r\n")[0]


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\0", "\x0b", "\x7f", "\x85", "\u2028", "é"])
def test_no_value_ends_its_header(end: str):
    assert is_refused(Request("POST", URL, {"X-Ref": f"{SECRET}{end}X-Evil: 1"}))
    assert is_refused(Request("POST", URL, {f"X-{SECRET}{end}X-Evil": "1"}))
    assert is_refused(Request(f"POST{end}", URL, {"X-Ref": SECRET}))


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\0", "\t", "\x7f"])
@pytest.mark.parametrize(
    "place", ["http://dealer{}.test/", "http://dealer.test/a{}b", URL + "?a={}b"]
)
def test_no_control_character_passes_in_an_address(end: str, place: str):
    assert is_refused(Request("POST", place.format(end) + SECRET))


@pytest.mark.parametrize(
    "name", ["Content-Length", "transfer-encoding", "HOST", "Connection", "Upgrade", "Expect", "TE"]
)
def test_what_frames_a_message_is_nobody_elses_to_set(name: str):
    assert is_refused(Request("POST", URL, {name: SECRET}))


@pytest.mark.parametrize("name", ["", "a b", "a:b", "(a)"])
def test_a_headers_name_is_a_token(name: str):
    assert is_refused(Request("POST", URL, {name: SECRET}))


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://dealer.test/{SECRET}",
        f"http://user:{SECRET}@dealer.test/",
        f"http://dealer.test:0/{SECRET}",
        f"http://dealer.test:65536/{SECRET}",
        f"http://dealer.test:८/{SECRET}",
        f"http://[::1/{SECRET}",
        f"http://dealer.test\\@evil.test/{SECRET}",
        f"http://dealer%2etest/{SECRET}",
        f"http://deal er.test/{SECRET}",
        f"http:///{SECRET}",
        f"http://xn--/{SECRET}",
        f"http://256.0.0.1/{SECRET}",
        f"http://dealer.test/{SECRET}\ud800",
    ],
)
def test_an_address_of_another_kind_is_refused(url: str):
    assert is_refused(Request("GET", url))


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://dealer.test", b"GET / HTTP/1.1"),
        ("http://dealer.test?a=1", b"GET /?a=1 HTTP/1.1"),
        ("http://dealer.test/a?b#fragment", b"GET /a?b HTTP/1.1"),
        ("http://dealer.test/a b/é?c=%20 d", b"GET /a%20b/%C3%A9?c=%20%20d HTTP/1.1"),
        ("http://dealer.test/%0d%0aX:1", b"GET /%0d%0aX:1 HTTP/1.1"),
    ],
)
def test_a_path_is_sent_as_it_stands_or_percent_encoded(url: str, line: bytes):
    assert first_line_of(url) == line


@pytest.mark.parametrize(
    ("url", "host", "connects_to"),
    [
        ("http://Dealer.TEST/", b"dealer.test", ("dealer.test", 80)),
        ("https://dealer.test:443/", b"dealer.test", ("dealer.test", 443)),
        ("http://dealer.test:443/", b"dealer.test:443", ("dealer.test", 443)),
        ("http://[2001:DB8::1]:81/", b"[2001:db8::1]:81", ("2001:db8::1", 81)),
        ("http://0x7f.1/", b"127.0.0.1", ("127.0.0.1", 80)),
        ("http://bücher.test/", b"xn--bcher-kva.test", ("xn--bcher-kva.test", 80)),
    ],
)
def test_the_host_header_names_the_origin(url: str, host: bytes, connects_to: tuple[str, int]):
    origin, encoded = encode_request(Request("GET", url))
    assert encoded.split(b"\r\n")[1] == b"host: " + host
    assert (origin.host, origin.port) == connects_to


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [("POST", b"", b"0"), ("PUT", b"abc", b"3"), ("GET", b"ab", b"2"), ("GET", b"", None)],
)
def test_the_length_is_always_right(method: str, body: bytes, length: bytes | None):
    head, _, sent = encode_request(Request(method, URL, {}, body))[1].partition(b"\r\n\r\n")
    stated = [line[16:] for line in head.split(b"\r\n") if line.startswith(b"content-length: ")]
    assert stated == ([] if length is None else [length])
    assert sent == body


@given(st.text(max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_whatever_is_typed_the_head_keeps_its_lines(path: str, name: str, value: str):
    request = Request("POST", f"http://dealer.test/{path}", {name: value}, b"body")
    try:
        _, encoded = encode_request(request)
    except TransportFailure:
        return
    assert encoded.endswith(b"\r\n\r\nbody")
    lines = encoded.removesuffix(b"\r\n\r\nbody").split(b"\r\n")
    assert len(lines) - len({b"user-agent", b"accept"} - {name.lower().encode()}) == 4
    assert not any(b"\n" in line or b"\r" in line or b"\0" in line for line in lines)
    assert lines[0].count(b" ") == 2
