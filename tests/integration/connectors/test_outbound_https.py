"""The strict transport over TLS: HTTP/2 with a call to each connection, and an HTTP proxy that tunnels."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest

from connectors.base.destinations import NetworkRules, Proxy
from connectors.base.errors import TemporarilyUnavailable
from connectors.base.toolkit.http import VendorClient
from connectors.salesforce.connector import SalesforceConnector
from connectors.salesforce.sandbox.server import SalesforceSandbox
from tests.integration.connectors.test_salesforce.tls import SecureOrg, secured

HERE = frozenset({"localhost"})


@pytest.fixture
def org(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecureOrg]:
    """A secured stand-in, whose certificates the other servers here use as well."""
    for name in ("REQUESTS_CA_BUNDLE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with secured(SalesforceSandbox(), tmp_path) as running:
        monkeypatch.setenv("SSL_CERT_FILE", str(running.ca))
        yield running


class Http2Vendor:
    """Answers each call with its own path, over HTTP/2 only. Remembers how many calls each connection had at once."""

    def __init__(self, certificates: Path) -> None:
        self.connections = 0
        self.most_at_once = 0
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        self._tls.set_alpn_protocols(["h2"])
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with (
            contextlib.suppress(OSError, h2.exceptions.ProtocolError),
            self._tls.wrap_socket(plain, server_side=True) as line,
        ):
            spoken = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
            spoken.initiate_connection()
            line.sendall(spoken.data_to_send())
            under_way: dict[int, str] = {}
            while data := line.recv(65536):
                for event in spoken.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        under_way[event.stream_id] = dict(event.headers)[":path"]
                        self.most_at_once = max(self.most_at_once, len(under_way))
                    elif isinstance(event, h2.events.StreamEnded):
                        body = json.dumps({"path": under_way.pop(event.stream_id)}).encode()
                        headers = [(":status", "200"), ("content-type", "application/json")]
                        spoken.send_headers(event.stream_id, headers)
                        spoken.send_data(event.stream_id, body, end_stream=True)
                line.sendall(spoken.data_to_send())

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def http2(org: SecureOrg) -> Iterator[Http2Vendor]:
    vendor = Http2Vendor(org.ca.parent)
    yield vendor
    vendor.close()


def test_calls_of_threads_over_http2_get_their_own_answers(http2: Http2Vendor) -> None:
    """Threads that share an HTTP/2 connection of httpcore have their calls mixed up."""
    versions: set[str] = set()
    hooks = {"response": [lambda answer: versions.add(answer.http_version)]}
    client = VendorClient(
        f"https://localhost:{http2.port}", network=NetworkRules(allow_private_hosts=HERE), hooks=hooks
    )

    def call(number: int) -> str:
        return client.request("GET", f"/people/{number}", expect=(200,)).field("path", str)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(200))) == [f"/people/{number}" for number in range(200)]
    client.close()
    assert versions == {"HTTP/2"}
    assert http2.connections <= 8
    assert http2.most_at_once == 1


def test_http2_can_be_left_out(org: SecureOrg, http2: Http2Vendor) -> None:
    rules = NetworkRules(allow_private_hosts=HERE, http2=False)
    client = VendorClient(f"https://localhost:{http2.port}", network=rules)
    with pytest.raises(TemporarilyUnavailable):
        client.request("GET", "/", expect=(200,))
    assert VendorClient(org.login_url, network=rules).request("GET", "/x", expect=(404,)).status == 404


class TunnellingProxy:
    """Passes bytes on to where CONNECT says. Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += line.recv(65536)
            self.asked.append(head.split(b"\r\n")[0].decode())
            host, _, port = head.split()[1].decode().rpartition(":")
            with socket.create_connection(("127.0.0.1" if host == "vendor.example" else host, int(port))) as there:
                line.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=self._pass_on, args=(there, line), daemon=True)
                back.start()
                self._pass_on(line, there)

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def proxy() -> Iterator[TunnellingProxy]:
    running = TunnellingProxy()
    yield running
    running.close()


def test_an_encrypted_call_is_tunnelled_through_the_proxy(org: SecureOrg, proxy: TunnellingProxy) -> None:
    port = org.login_url.rpartition(":")[2]
    rules = NetworkRules(allow_private_hosts=HERE, proxy=Proxy("127.0.0.1", proxy.port))
    client = VendorClient(org.login_url, network=rules)
    for _ in range(2):
        assert client.request("GET", "/x", expect=(404,)).status == 404
    client.close()
    assert proxy.asked == [f"CONNECT localhost:{port} HTTP/1.1"]


def test_the_certificate_is_checked_through_the_proxy(org: SecureOrg, proxy: TunnellingProxy) -> None:
    """The name is resolved by the proxy; what comes back must still be the vendor's."""
    port = org.login_url.rpartition(":")[2]
    client = VendorClient(f"https://vendor.example:{port}", network=NetworkRules(proxy=Proxy("127.0.0.1", proxy.port)))
    with pytest.raises(TemporarilyUnavailable, match="tls_not_trusted"):
        client.request("DELETE", "/x", expect=(200,))
    assert proxy.asked == [f"CONNECT vendor.example:{port} HTTP/1.1"]


def test_salesforce_goes_through_the_environments_proxy(
    org: SecureOrg, proxy: TunnellingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.base.outbound.proxies._is_excepted", lambda *_: False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    entry = {
        "name": "crm",
        "connector": "salesforce",
        "base_url": org.login_url.replace("localhost", "127.0.0.1"),
        "allow_private_hosts": ["127.0.0.1"],
        "credentials": org.credentials("secret"),
    }
    connector = SalesforceConnector(SalesforceConnector.parse_system(entry))
    with contextlib.suppress(Exception):
        connector.check_credentials()
    connector.close()
    assert len(proxy.asked) == 2  # for the token, and to the org itself
