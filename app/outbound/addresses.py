"""Which addresses a reseller's webhook may point at, so that no one makes us call ourselves.

A reseller writes the URL and we make the call, from inside our network: unchecked, that is a key
to everything beside us (server-side request forgery). So every address that a name resolves to is
checked, one bad one refuses them all, and the caller connects to the very address that was
checked. Python's `is_global` is not enough: it calls multicast global, and it does not look at the
IPv4 address inside NAT64 (`64:ff9b::a9fe:a9fe` is a cloud's metadata service) or inside 6to4.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from app.outbound.urls import UnreadableUrl, parse_url

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host and a port to addresses, the preferred one first. Raises OSError without any."""

MAX_URL_CHARACTERS = 2048
MAX_HOST_CHARACTERS = 253
HOST_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
URL_SHAPE = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]+)[^#]*", re.IGNORECASE)
SPACES_CONTROLS_BACKSLASH = re.compile(r"[\x00-\x20\x7f\\]")

# Source: the IANA special-purpose registries; the first network that holds the address names it.
CLOSED_V4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/32", "unspecified"),
        ("0.0.0.0/8", "reserved"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared (carrier-grade NAT)"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's host service"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "reserved"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)
CLOSED_V6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),
        ("fc00::/7", "unique-local"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "documentation"),
        ("3fff::/20", "documentation"),
    )
)
OPEN_V6 = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")
COMPATIBLE = IPv6Network("::/96")


class AddressRefused(Exception):
    """A webhook URL or address that will not be called. `reason` may be shown to the reseller."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What ops opened: networks that webhooks may reach although they are not public.

    `allow` is for private deployments and the demo; `allow_http` accepts URLs without TLS.
    """

    allow: tuple[IPNetwork, ...] = ()
    allow_http: bool = False


@dataclass(frozen=True, slots=True)
class EndpointUrl:
    """A webhook URL that passed: what is written here is what is called."""

    url: str
    """Normalised, the host in lower-case ASCII."""
    host: str
    """A name, or an address without brackets."""
    port: int
    literal: IPAddress | None
    """Set where the host is an address, however it was written; it is checked already."""


def check_address(address: IPAddress, policy: AddressPolicy) -> str | None:
    """Why this address may not be called, in one word or a few; None where it may."""
    if any(address in network for network in policy.allow):
        return None
    if isinstance(address, IPv4Address):
        return _closed(address, CLOSED_V4)
    embedded = _embedded(address)
    if embedded is None:
        return _closed(address, CLOSED_V6) or (None if address in OPEN_V6 else "reserved")
    form, inner = embedded
    reason = check_address(inner, policy)
    if reason is not None:
        return f"{form} form of {inner}, {reason}"
    return None if form in {"IPv4-mapped", "NAT64"} else f"{form} form of {inner}, an old tunnel"


def parse_endpoint_url(url: str, policy: AddressPolicy) -> EndpointUrl:
    """Check a webhook URL as far as that goes without DNS. Raises `AddressRefused`.

    The host is read by the very parser that will make the call, so that `0x7f.1`, `2130706433`,
    full-width digits and international names mean the same thing to the check and to the call.
    """
    _check_shape(url, policy)
    try:
        origin, target = parse_url(url)
    except UnreadableUrl as error:
        raise AddressRefused(f"the URL cannot be read: {error}") from None
    if origin.literal is None:
        _check_name(origin.host)
    else:
        _refuse_closed(origin.literal, policy)
    normalised = f"{origin.scheme}://{origin.authority}{target}"
    return EndpointUrl(normalised, origin.host, origin.port, origin.literal)


async def resolve_checked(
    host: str, port: int, policy: AddressPolicy, resolver: Resolver
) -> IPAddress:
    """The first of the name's addresses, after every one of them passed.

    Raises `AddressRefused` if a single one does not, OSError where the name has none.
    """
    addresses = [ip_address(text) for text in await resolver(host, port)]
    if not addresses:
        raise OSError(f"{host} has no address")
    for address in addresses:
        _refuse_closed(address, policy)
    return addresses[0]


def _check_shape(url: str, policy: AddressPolicy) -> None:
    if len(url) > MAX_URL_CHARACTERS:
        raise AddressRefused(f"the URL is longer than {MAX_URL_CHARACTERS} characters")
    if SPACES_CONTROLS_BACKSLASH.search(url):
        raise AddressRefused("the URL holds a space, a control character or a backslash")
    if "#" in url:
        raise AddressRefused("the URL must not have a fragment (#…)")
    shape = URL_SHAPE.fullmatch(url)
    if shape is None:
        raise AddressRefused("the URL must look like https://host/path")
    if shape["scheme"].lower() != "https" and not policy.allow_http:
        raise AddressRefused("the URL must begin with https://")
    if "@" in shape["authority"]:
        raise AddressRefused("the URL must not hold a user name or password")


def _check_name(host: str) -> None:
    if len(host) > MAX_HOST_CHARACTERS:
        raise AddressRefused(f"the host is longer than {MAX_HOST_CHARACTERS} characters")
    if not all(HOST_LABEL.fullmatch(label) for label in host.split(".")):
        raise AddressRefused("the host is not a valid name")


def _refuse_closed(address: IPAddress, policy: AddressPolicy) -> None:
    reason = check_address(address, policy)
    if reason is not None:
        raise AddressRefused(f"the address {address} is not public: {reason}")


def _closed(address: IPAddress, networks: Sequence[tuple[IPNetwork, str]]) -> str | None:
    return next((reason for network, reason in networks if address in network), None)


def _embedded(address: IPv6Address) -> tuple[str, IPv4Address] | None:
    """The IPv4 address that packets for this one would end up at, and the form it hides in."""
    if address.ipv4_mapped is not None:
        return "IPv4-mapped", address.ipv4_mapped
    if address in NAT64:
        return "NAT64", _low_bits(address)
    if address.sixtofour is not None:
        return "6to4", address.sixtofour
    if address.teredo is not None:
        return "Teredo", address.teredo[1]
    if address in COMPATIBLE and int(address) > 1:
        return "IPv4-compatible", _low_bits(address)
    return None


def _low_bits(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFF_FFFF)
