"""Bytes to one answer, without I/O: RFC 9112 as llhttp reads it, bounded in every direction."""

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from dealers.contract import Answer

MAX_FRAMING_BYTES = 65536
"""Of all headers and trailers together, those of interim answers too, and of whatever else may come
between two pieces of a body."""
_STATUSES = range(100, 1000)
_FIRST_FINAL_STATUS = 200
_VERSIONS = frozenset({"1.0", "1.1"})


class NotHttp(Exception):
    """What came is no answer; the message says why and quotes nothing of it."""


class AnswerReader:
    """Reads one answer. `answer` is set once it is whole, or once its body is beyond the cap.

    `reusable` says whether the connection then stands where a next answer would begin. Whatever
    follows an answer belongs to no request (RFC 9112, section 9.2), so it spoils the connection.
    """

    __slots__ = (
        "_body",
        "_head_only",
        "_header_bytes",
        "_headers",
        "_in_body",
        "_keep_alive",
        "_max_body_bytes",
        "_parser",
        "_status",
        "_unframed_bytes",
        "_until_close",
        "answer",
        "reusable",
    )

    def __init__(self, max_body_bytes: int, *, head_only: bool = False) -> None:
        self._max_body_bytes = max_body_bytes
        self._head_only = head_only
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()
        self._header_bytes = 0
        self._unframed_bytes = 0
        self._in_body = False
        self._keep_alive = False
        self._until_close = False
        self.answer: Answer | None = None
        self.reusable = False
        self._parser = HttpResponseParser(self)
        # Allowed by RFC 9112, sections 2.2 and 7.1, and dangerous only to those who pass it on.
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    def feed(self, data: bytes) -> None:
        """Take what has arrived while there is no answer yet. Raises `NotHttp`."""
        self._unframed_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.reusable = False
            if self.answer is None:
                raise NotHttp(_reason(error)) from None
        if self.answer is None and self._unframed_bytes > MAX_FRAMING_BYTES:
            raise NotHttp("endless headers")

    def end(self) -> None:
        """The peer has said that nothing more will come, which ends a body without a length."""
        if self._until_close and self.answer is None:
            self._conclude()

    # What the parser calls, in this order.

    def on_message_begin(self) -> None:
        """Also the first byte behind a whole answer."""
        self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which is not one of the headers (RFC 9110, section 6.5.1)."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_FRAMING_BYTES:
            raise NotHttp("too many headers")
        if self._in_body:
            return
        name, value = name.lower(), value.strip(b" \t")
        known = self._headers.get(name)
        self._headers[name] = value if known is None else b"%b, %b" % (known, value)

    def on_headers_complete(self) -> None:
        """The head is whole: what it says of the length and of the connection holds."""
        if self.answer is not None:
            return
        version, status = self._parser.get_http_version(), self._parser.get_status_code()
        if version not in _VERSIONS or status not in _STATUSES:
            raise NotHttp("neither HTTP/1.1 nor HTTP/1.0")
        self._status = status
        self._in_body = True
        # Section 9.3: before HTTP/1.1 a connection served one request.
        self._keep_alive = version == "1.1" and self._parser.should_keep_alive()
        # Section 6.3: chunks and a length say themselves where they end.
        self._until_close = status >= _FIRST_FINAL_STATUS and not (
            b"content-length" in self._headers
            or b"chunked" in self._headers.get(b"transfer-encoding", b"").lower()
        )
        if self._head_only and status >= _FIRST_FINAL_STATUS:
            self._conclude()

    def on_body(self, piece: bytes) -> None:
        """A piece of the body, without its chunks' framing."""
        self._unframed_bytes = 0
        if self.answer is not None:
            return
        self._body += piece[: self._max_body_bytes + 1 - len(self._body)]
        if len(self._body) > self._max_body_bytes:
            self._conclude()

    def on_message_complete(self) -> None:
        """An answer is whole. An interim one (RFC 9110, section 15.2) announces the next."""
        if self.answer is not None:
            return
        if self._status >= _FIRST_FINAL_STATUS:
            self._conclude()
            self.reusable = self._keep_alive
        self._in_body = False
        self._headers.clear()
        self._body.clear()

    def _conclude(self) -> None:
        body = bytes(self._body)
        truncated = len(body) > self._max_body_bytes
        if truncated:
            body = body[: self._max_body_bytes]
        self.answer = Answer(self._status, _decode(self._headers), body, truncated)
        # It knows this reader: a circle that only the garbage collector would find.
        del self._parser


def _decode(headers: dict[bytes, bytes]) -> dict[str, str]:
    """A header beyond ASCII is left out: it must not cost the answer's word."""
    return {name.decode(): value.decode() for name, value in headers.items() if value.isascii()}


def _reason(error: Exception) -> str:
    if isinstance(error, HttpParserUpgrade):
        return "the peer changed to another protocol"
    return str(error.__context__ or error)
