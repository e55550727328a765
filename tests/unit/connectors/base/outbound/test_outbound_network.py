"""What is connected to is what was checked, and a call has an end, however slowly the vendor sends or takes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count

import httpx
import pytest

from connectors.base.config import ConfigurationError, SystemConfig
from connectors.base.destinations import NetworkRules, Proxy, parse_proxy
from connectors.base.errors import AnswerNotUnderstood, TemporarilyUnavailable
from connectors.base.outbound import deadlines
from connectors.base.outbound.client import connector_error, limits, open_client
from connectors.base.outbound.proxies import proxy_for
from connectors.base.outbound.services import open_service_client
from connectors.base.outbound.transport import StrictTransport, TargetRefused
from connectors.base.toolkit.http import VendorClient
from service.settings import parse_settings

HERE = NetworkRules(allow_private_hosts=frozenset({"127.0.0.1", "vendor.example"}))
# A drop every 50 ms is no silence of 5 s; the whole call may take 0.5 s. Without the deadline it takes a minute.
_DRIP_SECONDS, _SILENCE_SECONDS, _DEADLINE_SECONDS, _DROPS = 0.05, 5.0, 0.5, 1200
_MUCH_SOONER_SECONDS = 30.0


class Server:
    """Handles each connection with `serves`, in a thread. Counts connections."""

    def __init__(self, serves: Callable[[socket.socket], None]) -> None:
        self.connections = 0
        self._serves = serves
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._handle, args=(line,), daemon=True).start()

    def _handle(self, line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            self._serves(line)

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def serving() -> Iterator[Callable[[Callable[[socket.socket], None]], Server]]:
    servers: list[Server] = []

    def begin(serves: Callable[[socket.socket], None]) -> Server:
        servers.append(Server(serves))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


def drip(line: socket.socket, first: bytes, drop: bytes) -> None:
    line.sendall(first)
    for _ in range(_DROPS):
        time.sleep(_DRIP_SECONDS)
        line.sendall(drop)


def hear(line: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        more = line.recv(65536)
        if not more:
            raise OSError
        head += more
    return head


def answers(line: socket.socket, body: bytes = b"{}") -> None:
    while True:
        hear(line)
        line.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )


def slow_head(line: socket.socket) -> None:
    hear(line)
    drip(line, b"HTTP/1.1 200 OK\r\nx-slow: ", b"y")


def slow_body(line: socket.socket) -> None:
    hear(line)
    drip(line, b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n", b" ")


def endless_hints(line: socket.socket) -> None:
    hear(line)
    drip(line, b"", b"HTTP/1.1 103 Early Hints\r\n\r\n")


def slow_handshake(line: socket.socket) -> None:
    line.recv(65536)
    drip(line, b"\x16\x03\x03\x40\x00", b"\x02")


def slow_reader(line: socket.socket) -> None:
    for _ in range(_DROPS):
        time.sleep(_DRIP_SECONDS)
        line.recv(20_000)


@pytest.mark.parametrize(
    ("serves", "scheme", "content", "code", "is_unknown"),
    [
        (slow_head, "http", b"", "deadline_passed", True),
        (slow_body, "http", b"", "deadline_passed", True),
        (endless_hints, "http", b"", "deadline_passed", True),
        (slow_reader, "http", b" " * 32_000_000, "deadline_passed", True),
        (slow_handshake, "https", b"", "no_connection", False),
    ],
    ids=["head", "body", "hints", "upload", "handshake"],
)
def test_a_call_ends_although_the_vendor_drips(
    serving: Callable[..., Server],
    serves: Callable[[socket.socket], None],
    scheme: str,
    content: bytes,
    code: str,
    is_unknown: bool,
) -> None:
    server = serving(serves)
    transport = StrictTransport(HERE, limits(_SILENCE_SECONDS, _DEADLINE_SECONDS * 2))
    began = time.monotonic()
    with pytest.raises(httpx.RequestError) as raised:
        open_client(transport).post(f"{scheme}://127.0.0.1:{server.port}/", content=content)
    assert time.monotonic() - began < _MUCH_SOONER_SECONDS
    error = connector_error(raised.value, changed=True)
    assert (error.code, error.effect_unknown) == (code, is_unknown)


def test_a_resolver_that_hangs_ends_with_the_call() -> None:
    released = threading.Event()

    def resolve(_host: str, _port: int) -> list[str]:
        released.wait(_MUCH_SOONER_SECONDS * 2)
        return []

    transport = StrictTransport(HERE, limits(0.3), resolve)
    began = time.monotonic()
    with pytest.raises(httpx.ConnectTimeout):
        open_client(transport).get("https://vendor.example/")
    assert time.monotonic() - began < _MUCH_SOONER_SECONDS
    released.set()


def test_a_deadline_ends_with_its_call() -> None:
    with deadlines.deadline(0.0):
        assert deadlines.is_over()
        assert deadlines.within(5.0) == 0.0
    assert not deadlines.is_over()
    assert deadlines.within(5.0) == 5.0


def test_limits_of_a_call_follow_from_each_other() -> None:
    assert limits(None, None).deadline_seconds == 120
    assert limits(90, None).deadline_seconds == 180
    assert limits(20, 1).connect_seconds == limits(20, 1).silence_seconds == 1


def test_a_name_is_resolved_once_and_its_checked_address_connected_to(serving: Callable[..., Server]) -> None:
    """The resolver's second answer would be this machine: DNS rebinding."""
    server = serving(answers)
    asked = count()
    rules = NetworkRules(allow_plain_http=True)
    transport = StrictTransport(
        rules, limits(0.5), lambda *_: ["203.0.113.9", "10.255.255.1"] if next(asked) == 0 else ["127.0.0.1"]
    )
    client = open_client(transport)
    for _ in range(3):
        with pytest.raises(httpx.ConnectError) as raised:
            client.get(f"http://rebinding.example:{server.port}/")
        assert connector_error(raised.value, changed=True).code == "address_refused"
    assert server.connections == 0
    assert next(asked) == 3


def test_the_host_stays_the_urls(serving: Callable[..., Server]) -> None:
    heads: list[bytes] = []

    def serves(line: socket.socket) -> None:
        heads.append(hear(line))
        line.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    server = serving(serves)
    rules = NetworkRules(frozenset({"vendor.example"}), allow_plain_http=True)
    transport = StrictTransport(rules, limits(5), lambda *_: ["not-an-address", "127.0.0.1", "169.254.169.254"])
    assert open_client(transport).get(f"http://vendor.example:{server.port}/x").status_code == 204
    assert f"Host: vendor.example:{server.port}".encode() in heads[0]


def test_a_redirect_leads_nowhere(serving: Callable[..., Server]) -> None:
    inner = serving(answers)

    def serves(line: socket.socket) -> None:
        hear(line)
        line.sendall(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:%d/\r\ncontent-length: 0\r\n\r\n" % inner.port)

    outer = serving(serves)
    client = VendorClient(f"http://127.0.0.1:{outer.port}", network=HERE)
    with pytest.raises(AnswerNotUnderstood, match="redirect"):
        client.request("GET", "/", expect=(200,))
    assert inner.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost", "[::1]", "169.254.169.254"])
def test_a_link_in_an_answer_leads_to_no_other_private_host(serving: Callable[..., Server], host: str) -> None:
    inner = serving(answers)
    client = VendorClient("http://127.0.0.1:9", network=HERE)
    with pytest.raises(AnswerNotUnderstood, match="address_refused"):
        client.download("GET", f"http://{host}:{inner.port}/results")
    assert inner.connections == 0


def test_a_link_is_encrypted_where_the_system_is() -> None:
    client = VendorClient("https://vendor.example", network=NetworkRules(allow_plain_http=True))
    with pytest.raises(AnswerNotUnderstood, match="bad_url"):
        client.download("GET", "http://results.example/x")


def test_without_rules_nothing_private_is_called(serving: Callable[..., Server]) -> None:
    server = serving(answers)
    client = VendorClient(f"http://127.0.0.1:{server.port}")
    with pytest.raises(TemporarilyUnavailable, match="address_refused") as raised:
        client.request("DELETE", "/", expect=(200,))
    assert not raised.value.effect_unknown
    assert server.connections == 0


def test_hooks_see_every_call(serving: Callable[..., Server]) -> None:
    seen: list[str] = []
    hooks = {
        "request": [lambda request: seen.append(request.method)],
        "response": [lambda answer: seen.append(str(answer.status_code))],
    }
    client = VendorClient(f"http://127.0.0.1:{serving(answers).port}", network=HERE, hooks=hooks)
    client.request("GET", "/", expect=(200,))
    assert seen == ["GET", "200"]


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("exceptions", "host", "is_used"),
    [
        ("", "vendor.example", True),
        ("vendor.example", "vendor.example", False),
        ("example", "vendor.example", False),
        (".example, other.test", "vendor.example", False),
        ("*.example", "vendor.example", False),
        ("dor.example", "vendor.example", True),
        ("vendor.example:443", "vendor.example", False),
        ("vendor.example:8443", "vendor.example", True),
        ("*", "vendor.example", False),
        ("10.0.0.0/8", "10.1.2.3", False),
        ("10.0.0.0/8", "11.1.2.3", True),
        ("10.1.2.3", "10.1.2.3", False),
        ("", "127.0.0.1", False),
        ("", "localhost", False),
    ],
)
def test_exceptions_from_the_proxy(no_proxies: pytest.MonkeyPatch, exceptions: str, host: str, is_used: bool) -> None:
    no_proxies.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    no_proxies.setenv("NO_PROXY", exceptions)
    assert (proxy_for(NetworkRules(), "https", host, 443) is not None) is is_used


def test_a_systems_own_proxy_goes_before_the_environments(no_proxies: pytest.MonkeyPatch) -> None:
    no_proxies.setenv("https_proxy", "proxy.example")
    assert proxy_for(NetworkRules(), "https", "vendor.example", 443) == Proxy("proxy.example", 80)
    assert proxy_for(NetworkRules(), "http", "vendor.example", 80) is None
    own = Proxy("10.0.0.1", 8080, (b"me", b"p@ss"))
    assert parse_proxy("http://me:p%40ss@10.0.0.1:8080") == own
    assert proxy_for(NetworkRules(proxy=own), "https", "vendor.example", 443) == own
    assert proxy_for(NetworkRules(may_use_proxy=False), "https", "vendor.example", 443) is None


@pytest.mark.parametrize(
    "text", ["https://proxy.example", "socks5://proxy.example", "http://proxy.example/x", "http://[::1", "http://a b"]
)
def test_what_is_no_proxy_is_refused_without_its_password(no_proxies: pytest.MonkeyPatch, text: str) -> None:
    no_proxies.setenv("HTTPS_PROXY", text.replace("//", "//me:hunter2@"))
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY") as raised:
        proxy_for(NetworkRules(), "https", "vendor.example", 443)
    assert "hunter2" not in str(raised.value)


def test_plain_calls_go_through_the_proxy_and_only_literals_are_checked(serving: Callable[..., Server]) -> None:
    heads: list[bytes] = []

    def proxy(line: socket.socket) -> None:
        while True:
            heads.append(hear(line))
            line.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")

    server = serving(proxy)
    rules = NetworkRules(allow_plain_http=True, proxy=Proxy("127.0.0.1", server.port, (b"me", b"secret")))
    client = VendorClient("http://vendor.example/api", network=rules)
    for _ in range(2):
        client.request("GET", "/a", expect=(200,))
    assert [head.split(b"\r\n")[0] for head in heads] == [b"GET http://vendor.example/api/a HTTP/1.1"] * 2
    assert all(b"Proxy-Authorization: Basic bWU6c2VjcmV0" in head for head in heads)
    assert server.connections == 1
    with pytest.raises(AnswerNotUnderstood, match="address_refused"):
        client.download("GET", "http://169.254.169.254/latest/meta-data/")
    assert len(heads) == 2


def test_a_proxy_that_refuses_is_named(serving: Callable[..., Server]) -> None:
    def proxy(line: socket.socket) -> None:
        hear(line)
        line.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")

    rules = NetworkRules(proxy=Proxy("127.0.0.1", serving(proxy).port))
    client = VendorClient("https://vendor.example", network=rules)
    with pytest.raises(TemporarilyUnavailable, match="proxy_refused") as raised:
        client.request("DELETE", "/", expect=(200,))
    assert not raised.value.effect_unknown


def test_a_system_has_its_rules_from_its_entry() -> None:
    assert SystemConfig.__dataclass_fields__["network"].default_factory is NetworkRules


def test_a_service_that_the_operator_named_may_be_private_and_only_that(serving: Callable[..., Server]) -> None:
    """A witness, an authority or Vault: its own host, nothing that an answer says."""
    server, inner = serving(answers), serving(answers)
    client = open_service_client(f"http://127.0.0.1:{server.port}", 5)
    assert client.get(f"http://127.0.0.1:{server.port}/").status_code == 200
    with pytest.raises(TargetRefused):
        client.get(f"http://127.0.0.2:{inner.port}/")
    assert inner.connections == 0


def test_a_service_that_drips_ends_with_the_call(serving: Callable[..., Server]) -> None:
    server = serving(slow_body)
    client = open_service_client(f"http://127.0.0.1:{server.port}", 1)
    began = time.monotonic()
    with pytest.raises(httpx.TimeoutException):
        client.get(f"http://127.0.0.1:{server.port}/")
    assert time.monotonic() - began < _MUCH_SOONER_SECONDS


@pytest.mark.parametrize(
    ("section", "url", "reason"),
    [
        ("vault", "http://vault.example:8200", "plain http"),
        ("vault", "https://me:hunter2@vault.example", "no user and password"),
        ("vault", "https://[::1", "IPv6"),
        ("witness", "http://169.254.169.254/", "never called"),
        ("witness", "https://witness.example\\@10.0.0.1/", "doesn't belong"),
    ],
)
def test_the_address_of_a_service_is_refused_at_start(section: str, url: str, reason: str) -> None:
    table: dict[str, object] = {
        "vault": {"keys": {"audit_vault": {"url": url, "token_file": "token"}}},
        "witness": {"audit": {"anchors": [{"kind": "witness", "name": "w", "url": url, "key": "k"}]}},
    }[section]
    with pytest.raises(ConfigurationError, match=reason) as raised:
        parse_settings(table)
    assert "hunter2" not in str(raised.value)
    assert "url" in str(raised.value)
