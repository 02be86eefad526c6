"""Traces: what ties an order to the request that placed it and to the calls made for it.

A caller that sends `traceparent` (W3C Trace Context) finds its trace on the calls to dealers that
understand it and on the webhooks of the order. For any other caller an id is made up, which stands
in our logs and in `X-Request-Id` but is passed on to nobody: its flags would tell others whether
to record a trace that no one asked for. Pure but for the random ids.
"""

import re
from collections.abc import Iterable
from random import getrandbits

HEADER = "traceparent"

Trace = bytes
"""The id, 16 bytes; behind it one of flags, where the caller sent a trace."""

_ID_BYTES = 16
_KNOWN_FLAGS = 0x03
"""Sampled, and random: the others mean nothing yet and are to be sent as 0."""
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?"
)
NAME = HEADER.encode()
"""As ASGI gives header names."""


def trace_of(headers: Iterable[tuple[bytes, bytes]]) -> Trace:
    """The trace that a caller's `traceparent` names, or a new one."""
    return trace_named(value for name, value in headers if name == NAME)


def trace_named(values: Iterable[bytes]) -> Trace:
    """The trace of the first sound `traceparent` among these, or a new one."""
    return trace_told(values) or getrandbits(128).to_bytes(_ID_BYTES)


def trace_told(values: Iterable[bytes]) -> Trace | None:
    """The trace of the first sound `traceparent` among these; None where there is none."""
    for value in values:
        found = _TRACEPARENT.fullmatch(value)
        if found:
            flags = int(found[2], 16) & _KNOWN_FLAGS
            return bytes.fromhex(found[1].decode()) + bytes([flags])
    return None


def new_id() -> str:
    """The id of a new trace, 32 hex digits."""
    return f"{getrandbits(128):032x}"


def id_of(trace: Trace) -> str:
    """The trace's id, 32 hex digits."""
    return trace[:_ID_BYTES].hex()


def traceparent(trace: Trace | None) -> str | None:
    """The header for a call made for a trace, with a span id of its own; None: none is sent."""
    if trace is None or len(trace) == _ID_BYTES:
        return None
    return f"00-{id_of(trace)}-{getrandbits(64) or 1:016x}-{trace[_ID_BYTES]:02x}"
