"""Decide which URLs, hosts and addresses the service may call.

Pure: resolves nothing, connects to nothing.

One parser for every `http://` and `https://` URL that comes from a configuration or from a vendor's answer. It refuses
everything that two parsers could read in two ways, instead of guessing: user information, backslashes, white space,
IPv4 addresses in octal, hexadecimal or as one number, zone ids, letters outside ASCII.

Which addresses are special: IANA IPv4 and IPv6 Special-Purpose Address Registries, RFC 6890, RFC 6052 (NAT64), RFC 7526
(6to4 is deprecated); metadata services by their vendors' documentation (read 2026-11-30).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote

Address = IPv4Address | IPv6Address

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?", re.IGNORECASE
)
_NOT_IN_A_URL = re.compile(r"[^\x21-\x7e]|[\\\"<>^`{|}]")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = {"http": 80, "https": 443}


class UrlRefused(ValueError):  # noqa: N818 - named after what happened to the URL
    """The URL or host can't be used.

    The text is the reason and never contains the URL, because people put passwords there.
    """


class Reach(Enum):
    """Where an address leads."""

    PUBLIC = "public"
    PRIVATE = "private"  # this machine or this company: only where the configuration allows the host
    NEVER = "never"  # link-local, metadata services, multicast, reserved: no configuration opens it


_PRIVATE: tuple[IPv4Network | IPv6Network, ...] = tuple(
    ip_network(text)
    for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")
)
_METADATA = frozenset(
    ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure's host of a virtual machine, a public address
        "fd00:ec2::254",  # AWS over IPv6
        "fd20:ce::254",  # Google Cloud over IPv6
    )
)
# IPv4-mapped, IPv4-compatible, NAT64 and IPv4-translated: what is written in the last 32 bits is where they lead.
_EMBEDDING = tuple(IPv6Network(text) for text in ("::ffff:0:0/96", "::/96", "64:ff9b::/96", "::ffff:0:0:0/96"))
_WITHIN_EMBEDDING_BUT_OWN = frozenset({IPv6Address("::1"), IPv6Address("::")})
# Written out, because what `ipaddress` takes for global changes with Python's patch releases.
_RESERVED = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")


def reach_of(address: Address) -> Reach:
    """Where an address leads; one that contains an IPv4 address leads where that one does."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return Reach.NEVER
        if address not in _WITHIN_EMBEDDING_BUT_OWN and any(address in network for network in _EMBEDDING):
            return reach_of(IPv4Address(int(address) & 0xFFFFFFFF))
    if address in _METADATA:
        return Reach.NEVER
    if any(address in network for network in _PRIVATE if network.version == address.version):
        return Reach.PRIVATE
    if isinstance(address, IPv6Address) and address not in _GLOBAL_IPV6:
        return Reach.NEVER
    is_reserved = any(address in network for network in _RESERVED if network.version == address.version)
    return Reach.NEVER if is_reserved else Reach.PUBLIC


def literal(host: str) -> Address | None:
    """The address that a host *is*, if it is one and not a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """A parsed URL.

    `host` is in lower case, an IPv6 address without brackets; `path` has no query.
    """

    scheme: str
    host: str
    port: int
    path: str = field(default="", repr=False)
    query: str | None = field(default=None, repr=False)

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: what a credential belongs to."""
        return self.scheme, self.host, self.port


def parse_host(text: str) -> str:
    """A host as the name or address that every resolver takes it for. Raises UrlRefused."""
    if text.startswith("[") or ":" in text:
        inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        address = literal(inner)
        if "%" in inner or not isinstance(address, IPv6Address):
            raise UrlRefused("an IPv6 address stands in brackets, without a zone")
        return str(address)
    host = text.lower()
    if not host.isascii():
        raise UrlRefused("a host has ASCII letters only; write an international name in its xn-- form")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # Resolvers read 127.1, 0x7f000001 and 2130706433 as addresses, and 010.0.0.1 in two ways.
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise UrlRefused("an IPv4 address has four decimal numbers without leading zeros") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused("the host is no host name")
    return host


def parse_http_url(text: str, *, takes_query: bool = False) -> HttpUrl:
    """Read an absolute `http` or `https` URL. Raises UrlRefused with the reason, never with the URL."""
    if _NOT_IN_A_URL.search(text) or _BAD_PERCENT.search(text):
        raise UrlRefused("a character that doesn't belong in a URL; quote it as %XX")
    if "#" in text:
        raise UrlRefused("no # and nothing after it")
    found = _URL.fullmatch(text)
    if found is None:
        raise UrlRefused("an absolute URL that begins with https:// is required")
    authority, path = found["authority"], found["path"] or ""
    if "@" in authority:
        raise UrlRefused("no user and password in the URL; they belong in the credentials")
    if found["query"] is not None and not takes_query:
        raise UrlRefused("no ? and nothing after it")
    if _DOT_SEGMENT.search(path):
        raise UrlRefused("no segment . or .. in the path")
    host_text, port_text = _split_port(authority)
    scheme = found["scheme"].lower()
    return HttpUrl(scheme, parse_host(host_text), _port(port_text, scheme), path, found["query"])


def _split_port(authority: str) -> tuple[str, str | None]:
    if authority.startswith("["):
        host, bracket, rest = authority.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise UrlRefused("an IPv6 address stands in brackets, without a zone")
        return host + bracket, rest[1:] if rest else None
    host, colon, port = authority.partition(":")
    return host, port if colon else None


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return _PORTS[scheme]
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise UrlRefused("a port is a number from 1 to 65535")
    return int(text)


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; `auth` is user and password of Basic authentication."""

    host: str
    port: int
    auth: tuple[bytes, bytes] | None = field(default=None, repr=False)


def parse_proxy(text: str) -> Proxy:
    """Read `http://[user:password@]host:port`; the scheme may be left out.

    Raises UrlRefused, never with the URL.
    """
    scheme, separator, rest = text.partition("://")
    userinfo, at, place = (rest if separator else text).rpartition("@")
    url = parse_http_url(f"{scheme if separator else 'http'}://{place}")
    if url.scheme != "http" or url.path not in ("", "/"):
        raise UrlRefused("a proxy is http://host:port; calls to https are tunnelled through it")
    if not at:
        return Proxy(url.host, url.port)
    user, _, password = userinfo.partition(":")
    return Proxy(url.host, url.port, (unquote(user).encode(), unquote(password).encode()))


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """The destinations that one system's entry allows to its calls, and the way to them.

    `allow_private_hosts`: hosts, as they stand in a URL, that may be at a loopback or private address.
    `allow_plain_http`: also to others than this machine without encryption. `proxy`: the system's own; None leaves it
    to HTTPS_PROXY, HTTP_PROXY and NO_PROXY, unless `may_use_proxy` is False. `http2`: speak HTTP/2 where the vendor
    offers it.
    """

    allow_private_hosts: frozenset[str] = frozenset()
    allow_plain_http: bool = False
    proxy: Proxy | None = None
    may_use_proxy: bool = True
    http2: bool = True

    def check_target(self, scheme: str, host: str) -> None:
        """Check the target as far as possible before its name is resolved.

        `host` as `parse_host` returns it. Raises UrlRefused.
        """
        address = literal(host)
        if address is not None and not self.permits(host, address):
            raise UrlRefused(
                "the address is private; if the system really is there, list the host in allow_private_hosts"
                if reach_of(address) is Reach.PRIVATE
                else "a link-local, metadata or reserved address is never called"
            )
        if is_local_name(host) and host not in self.allow_private_hosts:
            raise UrlRefused(
                "the host is this machine; if the system really is there, list the host in allow_private_hosts"
            )
        if scheme == "http" and not self.allow_plain_http and not is_this_machine(host):
            raise UrlRefused("plain http is for this machine only; use https, or set allow_plain_http = true")

    def permits(self, host: str, address: Address) -> bool:
        """True if a call to `host` may connect to `address`."""
        reach = reach_of(address)
        if reach is Reach.PRIVATE:
            return host in self.allow_private_hosts and (not is_local_name(host) or _is_loopback(address))
        return reach is Reach.PUBLIC and not is_local_name(host)

    def permitted(self, host: str, addresses: Iterable[Address]) -> list[Address]:
        """Those addresses of a name that a call may connect to, in their order."""
        return [address for address in addresses if self.permits(host, address)]


def is_local_name(host: str) -> bool:
    """True for names that mean this machine (RFC 6761 §6.3)."""
    return host == "localhost" or host.endswith(".localhost")


def is_this_machine(host: str) -> bool:
    """True for a loopback address and for names that mean this machine."""
    address = literal(host)
    return is_local_name(host) if address is None else _is_loopback(address)


def _is_loopback(address: Address) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (address if mapped is None else mapped).is_loopback


def service_rules(url: str, *, allow_plain_http: bool) -> NetworkRules:
    """Return the rules for calls to a service of the operator's; its own host may be at a private address.

    Raises UrlRefused, whose text never contains the URL.
    """
    parsed = parse_http_url(url, takes_query=True)
    rules = NetworkRules(frozenset({parsed.host}), allow_plain_http)
    rules.check_target(parsed.scheme, parsed.host)
    return rules
