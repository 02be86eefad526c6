"""A request as bytes: nothing that a dealer's settings or a customer typed can end a line early.

A line break inside a value would begin a header, or a whole second request, of the writer's choice
(request smuggling). So names and values are held against the grammar of RFC 9110, section 5, and
what decides where the request ends (RFC 9112, section 6) is written by this module alone.
"""

import re
from functools import lru_cache

from app.outbound.failures import unsendable
from app.outbound.urls import Origin, UnreadableUrl, parse_url
from dealers.contract import Request

USER_AGENT = "jalur"
BODILESS_METHODS = frozenset({"GET", "HEAD"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_DEFAULTS = {"user-agent": f"user-agent: {USER_AGENT}\r\n", "accept": "accept: */*\r\n"}
_RESERVED = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_MOST_NAMES = 1024


def encode_request(request: Request) -> tuple[Origin, bytes]:
    """Where the request goes, and all of it as it will be written. Raises `TransportFailure`."""
    try:
        origin, target = parse_url(request.url)
        return origin, _encode_head(request, origin, target) + request.body
    except UnreadableUrl as error:
        raise unsendable(f"the address: {error}") from None
    except TypeError:
        raise unsendable("a part of it is of the wrong type") from None


def _encode_head(request: Request, origin: Origin, target: str) -> bytes:
    if not _TOKEN.fullmatch(request.method):
        raise unsendable("the method is not a token")
    head = f"{request.method} {target} HTTP/1.1\r\nhost: {origin.authority}\r\n"
    absent = _DEFAULTS.copy()
    for name, value in request.headers.items():
        absent.pop(_check_name(name), None)
        if not _VALUE.fullmatch(value):
            raise unsendable("a header's value holds what is not printable ASCII")
        head += f"{name}: {value}\r\n"
    head += "".join(absent.values())
    if request.body or request.method not in BODILESS_METHODS:
        head += f"content-length: {len(request.body)}\r\n"
    return f"{head}\r\n".encode("ascii")


@lru_cache(_MOST_NAMES)
def _check_name(name: str) -> str:
    """The name in lower case."""
    if not _TOKEN.fullmatch(name):
        raise unsendable("a header's name is not a token")
    if name.lower() in _RESERVED:
        raise unsendable("it sets a header that is the client's own")
    return name.lower()
