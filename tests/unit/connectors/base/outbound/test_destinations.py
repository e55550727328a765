"""Which URLs and addresses may be called: every trick to reach this machine or this company is refused.

Judged twice: by the rules alone, and by a real client whose resolver answers as the trick needs, before a listening
socket that must not hear anything.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

import httpx
import pytest

from connectors.base.destinations import NetworkRules, Reach, UrlRefused, parse_host, parse_http_url, reach_of
from connectors.base.errors import ConnectorError
from connectors.base.outbound.client import connector_error, limits, open_client
from connectors.base.outbound.transport import StrictTransport

PUBLIC = "93.184.215.14"

# What a name resolves to, where the trick is in the resolver's answer.
RESOLVED = {
    "localtest.example": ["127.0.0.1"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
    "10-0-0-1.sslip.example": ["10.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "six.example": ["::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "ula.example": ["fd12:3456::1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "sixtofour.example": ["2002:7f00:1::"],
    "zero.example": ["0.0.0.0"],
    "any.example": ["::"],
    "shared.example": ["100.64.0.1"],
    "multicast.example": ["224.0.0.1"],
    "broadcast.example": ["255.255.255.255"],
    "linklocal.example": ["fe80::1"],
    "azure.example": ["168.63.129.16"],
    "alibaba.example": ["100.100.100.200"],
    "awssix.example": ["fd00:ec2::254"],
    "empty.example": [],
    "localhost.localdomain.example": ["127.0.0.1"],
}

TRICKS = [
    # this machine and this company, plainly
    "http://127.0.0.1/",
    "https://127.0.0.1/",
    "https://127.8.9.10/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://0.0.0.0/",
    "https://0.1.2.3/",
    "https://255.255.255.255/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://198.18.0.1/",
    "https://192.0.2.1/",
    "https://168.63.129.16/",
    "https://100.100.100.200/",
    # IPv4 written otherwise
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.0.0.01/",
    "https://127.0.0.1./",
    "https://127.0.0.0x1/",
    "https://1/",
    "https://0/",
    # IPv6
    "https://[::1]/",
    "https://[::]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    # names of this machine
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://sub.localhost/",
    # another host than it seems
    "https://public.example@127.0.0.1/",
    "https://127.0.0.1@public.example/",
    "https://public.example:443@127.0.0.1:80/",
    "https://public.example\\@127.0.0.1/",
    "https://127.0.0.1\\.public.example/",
    "https://public.example#@127.0.0.1/",
    "https://public.example%2f@127.0.0.1/",
    "https://127.0.0.1%00.public.example/",
    "https://１２７.0.0.1/",
    "https://ⓛocalhost/",
    "https://127。0。0。1/",
    "https://lоcalhost/",
    # white space and lines
    " https://127.0.0.1/",
    "https://public.example /",
    "https://public.example\r\nHost: 127.0.0.1/",
    "https://public.example/\r\nX: y",
    "https://public.example\t/",
    # other protocols, ports and forms
    "file:///etc/passwd",
    "gopher://127.0.0.1:25/",
    "http:127.0.0.1/",
    "//127.0.0.1/",
    "https:///127.0.0.1",
    "https://public.example:0/",
    "https://public.example:65536/",
    "https://public.example:4a/",
    "https://public.example:/",
    "https://[::1/",
    "https://::1/",
    "https://public..example/",
    "https://-public.example/",
    "https://public.example/a/../b",
    "https://public.example/%2e%2e/b",
    # not encrypted
    "http://public.example/",
    # names that are resolved to where nobody may go
    *(f"https://{name}/" for name in RESOLVED),
]


@pytest.fixture(scope="module")
def sink() -> Iterator[socket.socket]:
    """Listens on every address of this machine; a connection to it is a trick that worked."""
    with socket.create_server(("0.0.0.0", 0)) as listening:
        listening.setblocking(False)
        yield listening


def ports_at(url: str, sink: socket.socket) -> list[str]:
    """The URL itself, and the same with the sink's port where that can be written."""
    port = sink.getsockname()[1]
    authority = url.partition("//")[2].partition("/")[0]
    if not authority or authority[-1] == ":" or authority.rpartition(":")[2].isdigit():
        return [url]
    return [url, url.replace(authority, f"{authority}:{port}", 1)]


def call(url: str) -> ConnectorError | None:
    """Call it as a link from an answer would be, with nothing allowed. None: it was called."""
    transport = StrictTransport(NetworkRules(), limits(0.5, 2), resolve=lambda host, _: RESOLVED.get(host, [PUBLIC]))
    try:
        open_client(transport).get(url)
    except httpx.RequestError as error:
        return connector_error(error, changed=False)
    finally:
        transport.close()
    return None


def judged(url: str) -> bool:
    """True if the rules refuse the URL, before or after its name was resolved."""
    rules = NetworkRules()
    try:
        parsed = parse_http_url(url, takes_query=True)
        rules.check_target(parsed.scheme, parsed.host)
    except UrlRefused:
        return True
    found = [ip_address(text) for text in RESOLVED.get(parsed.host, [PUBLIC])]
    return not rules.permitted(parsed.host, found)


def test_there_are_many_tricks() -> None:
    assert len(set(TRICKS)) == len(TRICKS) >= 72


@pytest.mark.parametrize("url", TRICKS)
def test_a_trick_is_refused(url: str) -> None:
    assert judged(url)


# httpx reads some of them as a public host, which is no trick on it.
@pytest.mark.parametrize("url", [url for url in TRICKS if "public" not in url and "\u043e" not in url])
def test_a_trick_reaches_nothing(url: str, sink: socket.socket) -> None:
    for each in ports_at(url, sink):
        try:
            error = call(each)
        except (httpx.InvalidURL, UnicodeError):
            continue
        assert error is not None
        assert error.code in ("address_refused", "no_connection")
    with pytest.raises(BlockingIOError):
        sink.accept()


@pytest.mark.parametrize(
    "url",
    [
        "https://acme.zendesk.example",
        "HTTPS://Acme.Zendesk.example:8443/api/",
        "https://93.184.215.14/x",
        "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:443/",
        "https://[64:ff9b::5db8:d70e]/",
        "https://xn--bcher-kva.example/a%20b",
        "https://a_b.example/",
        "https://10.example/",
        "https://results.example/x?signature=a%2Fb",
    ],
)
def test_an_ordinary_url_is_taken(url: str) -> None:
    assert not judged(url)


def test_a_refusal_does_not_repeat_the_url() -> None:
    for url in TRICKS:
        try:
            parse_http_url(url)
        except UrlRefused as refused:
            text = str(refused)
            assert url not in text
            assert "public" not in text


def test_a_url_is_read_into_its_parts() -> None:
    url = parse_http_url("HTTPS://Acme.example:8443/api/v2?x=1", takes_query=True)
    assert (url.origin, url.path, url.query) == (("https", "acme.example", 8443), "/api/v2", "x=1")
    assert parse_http_url("http://[::1]").origin == ("http", "::1", 80)
    assert parse_host("[::FFFF:1]") == "::ffff:1"


@pytest.mark.parametrize(
    ("allowed", "scheme", "host", "addresses", "reached"),
    [
        ({"crm.example"}, "https", "crm.example", ["10.0.0.7"], ["10.0.0.7"]),
        ({"crm.example"}, "https", "crm.example", ["169.254.169.254"], []),
        ({"crm.example"}, "https", "other.example", ["10.0.0.7"], []),
        ({"127.0.0.1"}, "http", "127.0.0.1", ["127.0.0.1"], ["127.0.0.1"]),
        ({"127.0.0.1"}, "http", "localhost", ["127.0.0.1"], None),
        ({"localhost"}, "http", "localhost", ["127.0.0.1", "10.0.0.7"], ["127.0.0.1"]),
        ({"169.254.169.254"}, "https", "169.254.169.254", ["169.254.169.254"], None),
        ({"10.0.0.7"}, "http", "10.0.0.7", ["10.0.0.7"], None),
        (set(), "https", "both.example", ["127.0.0.1", PUBLIC], [PUBLIC]),
    ],
)
def test_a_host_that_is_allowed_and_no_other(
    allowed: set[str], scheme: str, host: str, addresses: list[str], reached: list[str] | None
) -> None:
    rules = NetworkRules(frozenset(allowed))
    if reached is None:
        with pytest.raises(UrlRefused):
            rules.check_target(scheme, host)
        return
    rules.check_target(scheme, host)
    assert rules.permitted(host, map(ip_address, addresses)) == [ip_address(text) for text in reached]


def test_plain_http_elsewhere_is_a_choice_of_its_own() -> None:
    NetworkRules(allow_plain_http=True).check_target("http", "public.example")
    with pytest.raises(UrlRefused, match="allow_plain_http"):
        NetworkRules(frozenset({"public.example"})).check_target("http", "public.example")


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        (PUBLIC, Reach.PUBLIC),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", Reach.PUBLIC),
        ("::ffff:93.184.215.14", Reach.PUBLIC),
        ("::1", Reach.PRIVATE),
        ("::ffff:10.0.0.1", Reach.PRIVATE),
        ("fec0::1", Reach.NEVER),
        ("192.0.0.192", Reach.NEVER),
        ("192.88.99.1", Reach.NEVER),
        ("203.0.113.9", Reach.NEVER),
        ("3fff::1", Reach.NEVER),
        ("5f00::1", Reach.NEVER),
    ],
)
def test_where_an_address_leads(address: str, reach: Reach) -> None:
    assert reach_of(ip_address(address)) is reach
