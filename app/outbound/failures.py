"""Why a call brought no answer, and whether anything of it may have left."""

from enum import StrEnum


class FailureKind(StrEnum):
    """Why a call brought no answer. The value can serve as a report's code."""

    NOT_CONNECTED = "not-connected"
    """The name, the address or the TLS handshake failed: there was no connection to write to."""
    BUSY = "busy"
    """This client already has as many calls in flight as it may."""
    UNSENDABLE = "unsendable"
    """The request is not valid HTTP: its address, method or a header."""
    TIMED_OUT = "timed-out"
    """No whole answer within the total time allowed."""
    CUT = "cut"
    """The connection broke before the answer was whole."""
    UNREADABLE = "unreadable"
    """What came back is not HTTP."""


class TransportFailure(Exception):
    """A call that brought no answer.

    `nothing_sent` is True only where it is proven that no byte of the request left this process
    for the other side. `detail` is for ops; it never holds the address, whose query may carry a
    password.
    """

    def __init__(self, kind: FailureKind, *, nothing_sent: bool, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.nothing_sent = nothing_sent
        self.detail = detail


def unsendable(detail: str) -> TransportFailure:
    """The request cannot be put on the wire, so nothing of it was."""
    return TransportFailure(FailureKind.UNSENDABLE, nothing_sent=True, detail=detail)
