"""One HTTP/1.1 connection: a request is written, its answer read, and never anything twice."""

import asyncio
import select
import ssl
from collections.abc import Callable
from typing import cast

from app.outbound.answers import AnswerReader, NotHttp
from app.outbound.failures import FailureKind, TransportFailure
from app.outbound.urls import Origin
from dealers.contract import Answer


class Connection(asyncio.Protocol):
    """Serves one exchange at a time. Sections named here are those of RFC 9112.

    Between exchanges nothing may arrive (section 9.2): a byte or an end there closes it.
    """

    _transport: asyncio.Transport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        origin: Origin,
        on_lost: Callable[["Connection"], None],
    ) -> None:
        self.origin = origin
        self._loop = loop
        self._on_lost = on_lost
        self._poll = select.poll()
        self._open = False
        self._reader: AnswerReader | None = None
        self._outcome: asyncio.Future[Answer | TransportFailure] | None = None

    @property
    def usable(self) -> bool:
        """Open, and no exchange is under way or has left anything behind."""
        return self._open and self._reader is None and not self._transport.is_closing()

    def is_quiet(self) -> bool:
        """Usable, and neither bytes nor an end wait that the loop has yet to see.

        A request written behind the peer's end is lost, and nobody could tell (section 9.3.1).
        """
        return self.usable and not self._poll.poll(0)

    async def exchange(self, request: bytes, reader: AnswerReader, deadline: float) -> Answer:
        """Write the request, whole, and return the answer. `deadline` is in the loop's time.

        From here on nobody can prove that nothing was sent. Raises `TransportFailure`. Afterwards
        the connection is `usable` or closed, also when the caller was cancelled.
        """
        self._reader = reader
        self._outcome = self._loop.create_future()
        timer = self._loop.call_at(deadline, self._time_out)
        try:
            self._transport.write(request)
            outcome = await self._outcome
            # An answer may overtake the rest of its request (section 9.5).
            if reader.reusable and not self._transport.get_write_buffer_size():
                self._reader = None
        finally:
            timer.cancel()
            self._outcome = None
            if self._reader is not None:
                self.abort()
        if isinstance(outcome, TransportFailure):
            raise outcome
        return outcome

    def abort(self) -> None:
        """Close at once. An exchange under way fails as cut."""
        if self._open:
            self._open = False
            self._transport.abort()

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP stands, and TLS where there is any."""
        self._transport = cast(asyncio.Transport, transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._open = True

    def data_received(self, data: bytes) -> None:
        """Part of an answer, or bytes that nobody asked for."""
        reader = self._reader
        if reader is None or reader.answer is not None:
            self._abort_soon()
            return
        try:
            reader.feed(data)
        except NotHttp as error:
            self._fail(FailureKind.UNREADABLE, str(error))
            return
        if reader.answer is not None:
            self._settle(reader.answer)

    def eof_received(self) -> None:
        """The peer sends nothing more: an answer without a length is whole."""
        reader = self._reader
        if reader is not None and self._ended_cleanly():
            reader.end()
            if reader.answer is not None:
                self._settle(reader.answer)
        self._abort_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, by either side."""
        self._open = False
        self._fail(FailureKind.CUT, "the connection ended before the answer did")
        self._on_lost(self)

    def _time_out(self) -> None:
        self._fail(FailureKind.TIMED_OUT, "no whole answer in time")

    def _fail(self, kind: FailureKind, detail: str) -> None:
        self._settle(TransportFailure(kind, nothing_sent=False, detail=detail))

    def _settle(self, outcome: Answer | TransportFailure) -> None:
        # A failure too is a result: an exception that nobody fetches, for the caller was cancelled
        # meanwhile, would be reported as lost.
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(outcome)

    def _abort_soon(self) -> None:
        # Not from within a callback: TLS transports do not expect it there.
        self._open = False
        self._loop.call_soon(self._transport.abort)

    def _ended_cleanly(self) -> bool:
        """Under TLS the peer takes its leave; a bare end could be anybody's (section 9.8)."""
        tls = self._transport.get_extra_info("ssl_object")
        try:
            return tls is None or tls.read(1) == b""
        except ssl.SSLError:
            return False
