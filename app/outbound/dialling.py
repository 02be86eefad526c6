"""Making a connection: name, TCP and TLS within one time, and why there is none."""

import asyncio
import os
import socket
import ssl
from functools import lru_cache

from app.outbound.connections import Connection
from app.outbound.failures import FailureKind, TransportFailure


async def dial(
    loop: asyncio.AbstractEventLoop,
    connection: Connection,
    address: str,
    *,
    connect_timeout_seconds: float,
    deadline: float,
) -> None:
    """Connect to the address, under the origin's own name. Raises `TransportFailure`.

    Nothing of a request is written here. A total time (`deadline`, in the loop's time) that ends
    while connecting is still reported as the call's own time-out, and not taken for proof.
    """
    longest = loop.time() + connect_timeout_seconds
    limit = asyncio.timeout_at(min(longest, deadline))
    try:
        async with limit:
            await _open(loop, connection, address)
    except BaseException as error:
        # It may come when the connection is made already.
        connection.abort()
        if not isinstance(error, OSError | ValueError):
            raise
        in_total = limit.expired() and deadline <= longest
        # Without its cause, which may name the address.
        raise (_timed_out() if in_total else not_connected(_describe(error))) from None


def not_connected(detail: str) -> TransportFailure:
    """There was no connection to write to."""
    return TransportFailure(FailureKind.NOT_CONNECTED, nothing_sent=True, detail=detail)


def _timed_out() -> TransportFailure:
    detail = "the call's time ended while connecting"
    return TransportFailure(FailureKind.TIMED_OUT, nothing_sent=False, detail=detail)


async def _open(loop: asyncio.AbstractEventLoop, connection: Connection, address: str) -> None:
    origin = connection.origin
    tls, name = None, None
    if origin.scheme == "https":
        variables = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        tls, name = _tls_context(*variables), origin.host
    await loop.create_connection(
        lambda: connection, address, origin.port, ssl=tls, server_hostname=name
    )


@lru_cache(maxsize=1)
def _tls_context(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    """The system's roots, or those that the two variables name: OpenSSL reads them itself."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _describe(error: OSError | ValueError) -> str:
    """In words of the system's, never the error's own text: that names addresses."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"TLS: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS: {error.reason}"
        case socket.gaierror():
            return f"name not resolved: {error.strerror}"
        case TimeoutError(errno=None):
            return "no connection in time"
        case OSError(errno=int(number)):
            return os.strerror(number)
        case _:
            return type(error).__name__
