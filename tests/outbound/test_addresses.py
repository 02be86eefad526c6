"""Which webhook addresses are refused, in every spelling, and what ops can open."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from app.outbound.addresses import (
    AddressPolicy,
    AddressRefused,
    Resolver,
    check_address,
    parse_endpoint_url,
    resolve_checked,
)

STRICT = AddressPolicy()


def answering(*addresses: str) -> Resolver:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "reserved"),
        ("10.0.0.1", "private"),
        ("100.64.0.1", "shared (carrier-grade NAT)"),
        ("100.127.255.255", "shared (carrier-grade NAT)"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("168.63.129.16", "a cloud's host service"),
        ("169.254.169.254", "link-local"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.8", "reserved"),
        ("192.0.2.1", "documentation"),
        ("192.168.1.1", "private"),
        ("198.19.0.1", "reserved"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.1", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fec0::1", "private"),
        ("fc00::1", "unique-local"),
        ("fd12:3456::1", "unique-local"),
        ("ff02::1", "multicast"),
        ("2001:db8::1", "documentation"),
        ("3fff::1", "documentation"),
        ("2001:2::1", "reserved"),
        ("100::1", "reserved"),
        ("64:ff9b:1::a00:1", "reserved"),
        ("5f00::1", "reserved"),
        ("::ffff:127.0.0.1", "IPv4-mapped form of 127.0.0.1, loopback"),
        ("::ffff:a9fe:a9fe", "IPv4-mapped form of 169.254.169.254, link-local"),
        ("64:ff9b::a9fe:a9fe", "NAT64 form of 169.254.169.254, link-local"),
        ("64:ff9b::a00:1", "NAT64 form of 10.0.0.1, private"),
        ("2002:7f00:1::", "6to4 form of 127.0.0.1, loopback"),
        ("2002:c0a8:101::1", "6to4 form of 192.168.1.1, private"),
        ("2002:808:808::1", "6to4 form of 8.8.8.8, an old tunnel"),
        ("2001:0:808:808::f5ff:fffe", "Teredo form of 10.0.0.1, private"),
        ("::7f00:1", "IPv4-compatible form of 127.0.0.1, loopback"),
        ("::8.8.8.8", "IPv4-compatible form of 8.8.8.8, an old tunnel"),
    ],
)
def test_an_address_that_is_not_public_is_refused_by_name(address: str, reason: str):
    assert check_address(ip_address(address), STRICT) == reason


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.0.1",
        "172.32.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_a_public_address_passes(address: str):
    assert check_address(ip_address(address), STRICT) is None


@pytest.mark.parametrize(
    ("address", "passes"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("10.2.0.1", False),
        ("fd00::1", True),
        ("fd01::1", False),
        ("127.0.0.1", False),
    ],
)
def test_the_allow_list_opens_what_it_names_and_nothing_beside_it(address: str, passes: bool):
    policy = AddressPolicy(allow=(ip_network("10.1.0.0/16"), ip_network("fd00::/32")))
    assert (check_address(ip_address(address), policy) is None) is passes


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "①②⑦.0.0.1",
        "\uff10x7f.1",
        "127.0.0.1.",
        "127。0。0。1",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ],
)
def test_loopback_is_refused_however_it_is_written(host: str):
    with pytest.raises(AddressRefused, match="loopback"):
        parse_endpoint_url(f"https://{host}/hook", STRICT)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0xA9.0xFE.0xA9.0xFE",
        "0251.0376.0251.0376",
        "0251.254.0xa9.254",
        "169.254.43518",
        "169.16689662",
        "\uff11\uff16\uff19.\uff12\uff15\uff14.\uff11\uff16\uff19.\uff12\uff15\uff14",
        "169.254.169.254.",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[::169.254.169.254]",
        "[64:ff9b::169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "[2001:0:808:808::5601:5601]",
    ],
)
def test_the_clouds_metadata_service_is_refused_however_it_is_written(host: str):
    with pytest.raises(AddressRefused, match=r"not public: .*(link-local)"):
        parse_endpoint_url(f"https://{host}/latest/meta-data/", STRICT)


@pytest.mark.parametrize(
    "url",
    [
        "https://10.1/",
        "https://0xac100001/",
        "https://192.168.257/",
        "https://100.64.0.1:8443/",
        "https://[fc00::1]/",
        "https://[fe80::1]/",
        "https://[ff02::1]/",
        "https://[fe80::1%eth0]/",
        "https://[fe80::1%25lo]/",
        "https://8.8.8.8@127.0.0.1/",
        "https://8.8.8.8%40127.0.0.1/",
        "https://8.8.8.8\\@127.0.0.1/",
        "https://127.0.0.1#@8.8.8.8/",
        "https://127.0.0.1%2f.example/",
        "https://0/",
        "https://4294967296/",
        "https://127.0.0.0x100/",
        "https://[::]/",
        "https://[::1]:443/",
        "https://[::ffff:0:127.0.0.1]/",
    ],
)
def test_no_trick_with_the_authority_is_let_through(url: str):
    with pytest.raises(AddressRefused):
        parse_endpoint_url(url, STRICT)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://hooks.example/", "must begin with https://"),
        ("ftp://hooks.example/", "must look like https://host/path"),
        ("https:/hooks.example", "must look like https://host/path"),
        ("https:hooks.example", "must look like https://host/path"),
        ("//hooks.example", "must look like https://host/path"),
        ("https://", "must look like https://host/path"),
        ("https:///path", "must look like https://host/path"),
        ("https://user:pw@hooks.example/", "user name or password"),
        ("https://@hooks.example/", "user name or password"),
        ("https://hooks.example/a#b", "fragment"),
        ("https://hooks.example:0/", "port"),
        ("https://hooks.example:65536/", "port"),
        ("https://hooks.example:x/", "port"),
        ("https://hooks .example/", "space"),
        ("https://hooks.example/\n", "control character"),
        ("https:\\\\hooks.example", "backslash"),
        ("https://hooks..example/", "not a valid name"),
        ("https://-hooks.example/", "not a valid name"),
        ("https://hooks.example./", "not a valid name"),
        (f"https://{'a' * 64}.example/", "not a valid name"),
        (f"https://{'a.' * 127}example/", "longer than 253"),
        (f"https://hooks.example/{'a' * 2048}", "longer than 2048"),
        ("https://256.1.1.1/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://[fe80::1%25eth0]/", "cannot be read"),
        ("https://xn--/", "cannot be read"),
    ],
)
def test_a_bad_url_is_refused_with_what_is_wrong(url: str, reason: str):
    with pytest.raises(AddressRefused) as caught:
        parse_endpoint_url(url, STRICT)
    assert reason in caught.value.reason


def test_a_good_url_is_normalised():
    endpoint = parse_endpoint_url("HTTPS://Bücher.Example:8443/hook?a=1", STRICT)
    assert endpoint.url == "https://xn--bcher-kva.example:8443/hook?a=1"
    assert endpoint.host == "xn--bcher-kva.example"
    assert endpoint.port == 8443
    assert endpoint.literal is None


def test_a_public_literal_passes_without_its_brackets():
    endpoint = parse_endpoint_url("https://[2606:4700::1111]/", STRICT)
    assert endpoint.host == "2606:4700::1111"
    assert endpoint.literal == ip_address("2606:4700::1111")
    assert endpoint.port == 443


def test_plain_http_passes_only_where_ops_opened_it():
    endpoint = parse_endpoint_url("http://hooks.example/", AddressPolicy(allow_http=True))
    assert endpoint.port == 80


async def test_the_first_address_is_taken_when_all_pass():
    found = await resolve_checked("h.example", 443, STRICT, answering("8.8.8.8", "2606:4700::1"))
    assert found == ip_address("8.8.8.8")


@pytest.mark.parametrize("bad", ["127.0.0.1", "10.0.0.1", "64:ff9b::a9fe:a9fe"])
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_one_bad_address_refuses_the_name(bad: str, place: int):
    addresses = ["8.8.8.8", "1.1.1.1"]
    addresses.insert(place, bad)
    with pytest.raises(AddressRefused, match="not public"):
        await resolve_checked("h.example", 443, STRICT, answering(*addresses))


async def test_a_name_without_addresses_is_an_error():
    with pytest.raises(OSError, match="no address"):
        await resolve_checked("h.example", 443, STRICT, answering())
