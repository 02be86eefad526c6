"""Reading answers out of bytes: any cut, any garbage, no end, and what comes behind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.answers import MAX_FRAMING_BYTES, AnswerReader, NotHttp
from dealers.contract import Answer

CAP = 1000
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n"
    + OK
    + b"Transfer-Encoding: chunked\r\nX-A:  1 \r\nx-a: 2\r\n\r\n"
    b"3;name=value\r\nsuk\r\n3  \r\nses\r\n0\r\nX-A: trailer\r\nX-B: 3\r\n\r\n"
)
CHUNKED_ANSWER = Answer(200, {"transfer-encoding": "chunked", "x-a": "1, 2"}, b"sukses")


def read(*pieces: bytes, head_only: bool = False) -> AnswerReader:
    reader = AnswerReader(CAP, head_only=head_only)
    for piece in pieces:
        if reader.answer is None:
            reader.feed(piece)
    return reader


@pytest.mark.parametrize("place", range(1, len(CHUNKED)))
def test_an_answer_may_be_split_anywhere(place: int):
    reader = read(CHUNKED[:place], CHUNKED[place:])
    assert reader.answer == CHUNKED_ANSWER
    assert reader.reusable


def test_an_answer_may_come_byte_by_byte():
    reader = read(*(bytes([byte]) for byte in CHUNKED))
    assert reader.answer == CHUNKED_ANSWER
    assert reader.reusable


def test_no_cut_of_a_chunked_answer_is_taken_for_its_end():
    for length in range(len(CHUNKED)):
        reader = read(CHUNKED[:length])
        reader.end()
        assert reader.answer is None


@pytest.mark.parametrize(
    ("head", "body", "reusable"),
    [
        (OK + b"Content-Length: 2\r\n\r\nok", b"ok", True),
        (OK + b"Content-Length: 2\r\nConnection: Close\r\n\r\nok", b"ok", False),
        (OK + b"Content-Length: 2\r\nConnection: keep-alive, close\r\n\r\nok", b"ok", False),
        (OK + b"Content-Length: 0\r\n\r\n", b"", True),
        (OK.replace(b"200", b"204") + b"\r\n", b"", True),
        (OK.replace(b"200", b"304") + b"Content-Length: 9\r\n\r\n", b"", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
        (
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
            b"ok",
            False,
        ),
        (b"HTTP/1.1 200\nContent-Length: 2\n\nok", b"ok", True),
    ],
)
def test_an_answer_says_where_it_ends_and_whether_another_may_follow(
    head: bytes, body: bytes, reusable: bool
):
    reader = read(head)
    assert reader.answer is not None
    assert reader.answer.body == body
    assert reader.reusable is reusable


@pytest.mark.parametrize("head", [OK, b"HTTP/1.0 200 OK\r\n", OK + b"Transfer-Encoding: gzip\r\n"])
def test_a_body_without_a_length_ends_with_the_connection(head: bytes):
    reader = read(head + b"\r\nsuk", b"ses")
    assert reader.answer is None
    reader.end()
    assert reader.answer is not None
    assert reader.answer.body == b"sukses"
    assert not reader.reusable


@pytest.mark.parametrize(
    "cut",
    [
        b"",
        b"HTTP/1.1 2",
        OK,
        OK + b"Content-Length: 3\r\n\r\nok",
        b"HTTP/1.1 102 Wait\r\n\r\n",
        b"HTTP/1.1 102 Wait\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
def test_an_answer_that_says_where_it_ends_does_not_end_before(cut: bytes):
    reader = read(cut)
    reader.end()
    assert reader.answer is None


def test_an_answer_to_head_ends_with_its_head():
    reader = read(OK + b"Content-Length: 9\r\n\r\n", head_only=True)
    assert reader.answer == Answer(200, {"content-length": "9"}, b"")
    assert not reader.reusable


@pytest.mark.parametrize(
    "more", [b"H", b"x", OK + b"Content-Length: 1\r\n\r\nx", OK + b"\r\nevil", b"\0" * 70_000]
)
def test_what_comes_behind_an_answer_neither_changes_it_nor_leaves_the_connection(more: bytes):
    reader = read(OK + b"Content-Length: 2\r\n\r\nok" + more)
    assert reader.answer == Answer(200, {"content-length": "2"}, b"ok")
    assert not reader.reusable


@pytest.mark.parametrize(
    "garbage",
    [
        b"OK 200 berhasil\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 Early\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 99999999999999999999\r\n\r\n",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + b"X: a\0b\r\n\r\n",
        OK + b"X : a\r\n\r\n",
    ],
)
def test_what_is_not_an_answer_is_refused(garbage: bytes):
    with pytest.raises(NotHttp):
        read(garbage)


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK, b"X-Many: values\r\n"),
        (OK + b"X: ", b"a" * 1000),
        (OK, b"a" * 1000),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"e" * 1000),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"T: trailer\r\n"),
    ],
)
def test_what_is_not_body_is_bounded(start: bytes, endless: bytes):
    reader = read(start)
    with pytest.raises(NotHttp):
        feed_often(reader, endless)


def feed_often(reader: AnswerReader, endless: bytes) -> None:
    for _ in range(2 * MAX_FRAMING_BYTES // len(endless)):
        reader.feed(endless)


def test_headers_beyond_the_bound_are_refused_in_one_piece_too():
    with pytest.raises(NotHttp):
        read(OK + b"X: " + b"a" * MAX_FRAMING_BYTES + b"\r\nContent-Length: 2\r\n\r\nok")


def test_two_hundred_headers_are_read():
    many = b"".join(b"X-%d: %d\r\n" % (number, number) for number in range(200))
    reader = read(OK + many + b"Content-Length: 0\r\n\r\n")
    assert reader.answer is not None
    assert len(reader.answer.headers) == 201


@pytest.mark.parametrize("framing", [b"Content-Length: 9999\r\n\r\n", b"\r\n"])
def test_a_body_beyond_the_cap_ends_the_reading(framing: bytes):
    reader = read(OK + framing + b"x" * CAP, b"x")
    assert reader.answer is not None
    assert reader.answer.truncated
    assert reader.answer.body == b"x" * CAP
    assert not reader.reusable


def test_a_body_of_a_million_chunks_holds_no_more_than_the_cap():
    reader = read(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000)
    assert reader.answer is not None
    assert len(reader.answer.body) == CAP


PARTS = st.sampled_from(
    [
        OK,
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 204 \r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Upgrade: x\r\nConnection: upgrade\r\n",
        b"\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
    ]
)


@given(st.lists(PARTS | st.binary(max_size=20), max_size=12), st.booleans())
def test_any_bytes_end_in_an_answer_or_a_refusal(pieces: list[bytes], head_only: bool):
    whole, alone = (AnswerReader(CAP, head_only=head_only) for _ in range(2))
    assert outcome(whole, [b"".join(pieces)]) == outcome(alone, pieces)


def outcome(reader: AnswerReader, pieces: list[bytes]) -> object:
    try:
        for piece in pieces:
            if reader.answer is None:
                reader.feed(piece)
    except NotHttp:
        return NotHttp
    reader.end()
    return reader.answer
