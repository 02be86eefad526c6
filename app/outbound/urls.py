"""One reading of URLs for all: what is checked is what is called.

Hosts are read as the WHATWG URL Standard (section 3.5, host parsing) has it, for browsers and many
HTTP clients read them so: `0x7f.1`, `2130706433` and full-width digits are all 127.0.0.1, and an
international name is its ASCII form. Stricter than there: a user name, percent signs in the host,
backslashes before the path and control characters are refused, never repaired.
"""

import re
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple
from urllib.parse import quote

import idna

_URL = re.compile(r"(https?)://([^/?#\\]+)([/?][^#]*)?(?:#.*)?", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@]+)(?::([0-9]{0,5}))?", re.ASCII)
_NAME = re.compile(r"[a-z0-9._-]+")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# RFC 3986, section 2: whatever else stands in a path or a query is sent percent-encoded.
_MARKS = "%/?:@!$&'()*+,;=[]~"
_CLEAN_TARGET = re.compile(rf"[\w.{re.escape(_MARKS)}-]*", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MOST_PORT = 65535
_MOST_ORIGINS = 4096


class UnreadableUrl(ValueError):
    """A URL that will not be called. The message names the reason and quotes nothing of it."""


class Origin(NamedTuple):
    """Where a connection leads: calls of the same origin may share one, in turn."""

    scheme: str
    host: str
    """A name in lower-case ASCII, or an address without brackets."""
    port: int
    literal: IPv4Address | IPv6Address | None
    """Set where the host is an address, however it was written."""
    authority: str
    """As the Host header says it: brackets around IPv6, the port only where it is not the usual."""


def parse_url(url: str) -> tuple[Origin, str]:
    """The origin, and the path with the query as they stand in a request line (RFC 9112, 3.2.1).

    A fragment is left out. Raises `UnreadableUrl`.
    """
    parts = _URL.fullmatch(url)
    if parts is None or _CONTROL.search(url):
        raise UnreadableUrl("it must look like https://host/path, without control characters")
    scheme, authority, target = parts.groups("/")
    if not _CLEAN_TARGET.fullmatch(target):
        target = _percent_encode(target)
    if target[0] == "?":
        target = f"/{target}"
    return _parse_origin(scheme.lower(), authority), target


@lru_cache(_MOST_ORIGINS)
def _parse_origin(scheme: str, authority: str) -> Origin:
    if "@" in authority:
        raise UnreadableUrl("it must not hold a user name or password")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise UnreadableUrl("the host or the port is not valid")
    port = int(parts[2] or _DEFAULT_PORTS[scheme])
    if not 1 <= port <= _MOST_PORT:
        raise UnreadableUrl("the port must lie between 1 and 65535")
    host, literal = _read_host(parts[1])
    authority = f"[{host}]" if isinstance(literal, IPv6Address) else host
    if port != _DEFAULT_PORTS[scheme]:
        authority = f"{authority}:{port}"
    return Origin(scheme, host, port, literal, authority)


def _read_host(text: str) -> tuple[str, IPv4Address | IPv6Address | None]:
    try:
        literal = IPv6Address(text[1:-1]) if text[0] == "[" else None
        name = text if literal else _ascii_name(text)
        if literal is None and _NUMBER.fullmatch(name.removesuffix(".").rpartition(".")[2]):
            literal = IPv4Address(socket.inet_aton(name.removesuffix(".")))
    except (ValueError, OSError):
        raise UnreadableUrl("the host is not a valid name or address") from None
    return (str(literal), literal) if literal else (name, None)


def _ascii_name(text: str) -> str:
    """Unicode's mapping (UTS 46), which also folds full-width digits and dots."""
    lower = text.lower()
    if not lower.isascii() or "xn--" in lower:
        lower = idna.encode(text, uts46=True).decode("ascii")
    if not _NAME.fullmatch(lower):
        raise ValueError
    return lower


def _percent_encode(target: str) -> str:
    try:
        return quote(target, safe=_MARKS)
    except UnicodeEncodeError:
        raise UnreadableUrl("it holds half a character") from None
