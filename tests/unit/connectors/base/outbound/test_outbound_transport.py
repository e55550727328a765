"""Kept-alive connections: used again while they live, one per call at once, and bounded in what they take in."""

from __future__ import annotations

import gzip
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from connectors.base.destinations import NetworkRules
from connectors.base.errors import AnswerNotUnderstood, RequestRefused, TemporarilyUnavailable
from connectors.base.outbound.client import changes, connector_error, limits, open_client
from connectors.base.outbound.transport import MAX_BODY_BYTES, StrictTransport
from connectors.base.toolkit.http import VendorClient

HERE = NetworkRules(allow_private_hosts=frozenset({"127.0.0.1"}))
UNSENDABLE = {b"authorization": b"Bearer secret\n"}


def answer(body: bytes = b"{}", *more: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Vendor:
    """Answers every call with what `says` gives; b"" closes the connection instead. Remembers who came."""

    def __init__(self) -> None:
        self.says: Callable[[bytes], bytes] = lambda _: answer()
        self.closes_after = 10_000
        self.connections = 0
        self.heads: list[bytes] = []
        self.ended = threading.Event()
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = httpx.URL(f"http://127.0.0.1:{self._listening.getsockname()[1]}")
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with line:
            for _ in range(self.closes_after):
                head = b""
                while b"\r\n\r\n" not in head:
                    try:
                        more = line.recv(65536)
                    except OSError:
                        more = b""
                    if not more:
                        self.ended.set()
                        return
                    head += more
                self.heads.append(head)
                said = self.says(head)
                if not said:
                    return
                line.sendall(said)
        self.ended.set()

    def close(self) -> None:
        self._listening.close()
        for line in self._open:
            line.close()


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    made = Vendor()
    yield made
    made.close()


class Connections:
    """Calls to one vendor, whose failures are the connectors' errors."""

    def __init__(self, url: httpx.URL) -> None:
        self._url = url
        self.transport = StrictTransport(HERE, limits(5.0))
        self._client = open_client(self.transport)

    def close(self) -> None:
        self.transport.close()

    def exchange(self, method: str, headers: dict[bytes, bytes] | None = None, content: bytes = b"") -> httpx.Response:
        try:
            return self._client.request(method, self._url, headers=headers, content=content)
        except httpx.RequestError as raised:
            raise connector_error(raised, changed=changes(method)) from None


@pytest.fixture
def connections(vendor: Vendor) -> Iterator[Connections]:
    made = Connections(vendor.url)
    yield made
    made.close()


def get(connections: Connections) -> bytes:
    return connections.exchange("GET").content


def test_one_connection_serves_call_after_call(vendor: Vendor, connections: Connections) -> None:
    for _ in range(5):
        assert get(connections) == b"{}"
    assert vendor.connections == 1


def test_calls_at_once_have_a_connection_each_and_leave_it_to_the_next(
    vendor: Vendor, connections: Connections
) -> None:
    together = threading.Barrier(4)

    def says(_: bytes) -> bytes:
        together.wait(5)
        return answer()

    vendor.says = says
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(lambda _: get(connections), range(4))) == [b"{}"] * 4
    assert vendor.connections == 4


def test_a_connection_that_the_vendor_closed_is_not_used_again(vendor: Vendor, connections: Connections) -> None:
    vendor.closes_after = 1
    for count in range(3):
        assert get(connections) == b"{}"
        assert vendor.ended.wait(5)
        vendor.ended.clear()
        assert vendor.connections == count + 1


@pytest.mark.parametrize("says", [answer(b"{}", "connection: close"), answer().replace(b"HTTP/1.1", b"HTTP/1.0")])
def test_after_a_last_answer_comes_another_connection(vendor: Vendor, connections: Connections, says: bytes) -> None:
    vendor.says = lambda _: says
    for count in range(3):
        assert get(connections) == b"{}"
        assert vendor.connections == count + 1


def test_a_connection_that_lay_idle_for_long_is_not_used_again(
    vendor: Vendor, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.base.outbound.transport._KEPT_ALIVE_SECONDS", -1.0)
    get(connections)
    get(connections)
    assert vendor.connections == 2


def test_connections_that_nobody_needs_any_more_are_closed(
    vendor: Vendor, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.base.outbound.transport._KEPT_ALIVE_SECONDS", -1.0)
    together = threading.Barrier(2)

    def says(_: bytes) -> bytes:
        together.wait(5)
        return answer()

    vendor.says = says
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: get(connections), range(2)))
    assert vendor.ended.wait(5)


def test_closing_closes_what_is_idle_and_what_comes_back(vendor: Vendor, connections: Connections) -> None:
    def says(_: bytes) -> bytes:
        connections.close()
        return answer()

    get(connections)
    connections.close()
    assert vendor.ended.wait(5)
    vendor.ended.clear()
    vendor.says = says
    get(connections)
    assert vendor.ended.wait(5)


def test_a_broken_answer_leaves_no_connection_behind(vendor: Vendor, connections: Connections) -> None:
    vendor.says = lambda _: answer(b"{}" * 10)[:-1] + b""
    vendor.closes_after = 1
    with pytest.raises(TemporarilyUnavailable, match="connection_lost") as raised:
        connections.exchange("DELETE")
    assert raised.value.effect_unknown
    vendor.says, vendor.closes_after = (lambda _: answer()), 10
    assert get(connections) == b"{}"
    assert vendor.connections == 2


def test_a_packed_answer_is_unpacked(vendor: Vendor, connections: Connections) -> None:
    vendor.says = lambda _: answer(gzip.compress(b'{"people": []}'), "Content-Encoding: gzip")
    assert get(connections) == b'{"people": []}'


@pytest.mark.parametrize(
    ("packed", "encoding", "code"),
    [
        (gzip.compress(b" " * (MAX_BODY_BYTES + 1)), "gzip", "body_too_large"),
        (gzip.compress(b" " * 100)[:-9], "gzip", "undecodable"),
        (b"not packed", "gzip", "undecodable"),
        (b"{}", "br", "undecodable"),
    ],
    ids=["bomb", "cut_off", "not_packed", "packed_otherwise"],
)
def test_what_cannot_be_unpacked_is_not_understood(
    vendor: Vendor, connections: Connections, packed: bytes, encoding: str, code: str
) -> None:
    vendor.says = lambda _: answer(packed, f"content-encoding: {encoding}")
    with pytest.raises(AnswerNotUnderstood, match=code):
        get(connections)


def test_headers_have_one_form_and_hints_are_skipped(vendor: Vendor, connections: Connections) -> None:
    vendor.says = lambda _: b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + answer(b"{}", "X-Left: 1", "x-left: 2")
    received = connections.exchange("GET")
    assert (received.status_code, received.headers["x-left"]) == (200, "1, 2")


def test_more_than_was_asked_for_is_never_the_answer_to_another_call(vendor: Vendor, connections: Connections) -> None:
    """Were the line used again, the surplus would be what is heard about the next person."""
    vendor.says = lambda _: answer(b'{"about": "ada"}') + answer(b'{"about": "nobody"}')
    assert get(connections) == b'{"about": "ada"}'
    assert get(connections) == b'{"about": "ada"}'
    assert vendor.connections == 2


def test_an_answer_that_comes_before_all_was_read_is_heard(vendor: Vendor, connections: Connections) -> None:
    vendor.closes_after = 1
    vendor.says = lambda _: answer(b'{"error": "too_large"}', "connection: close", status="413 Too Large")
    received = connections.exchange("POST", content=b" " * 8_000_000)
    assert (received.status_code, received.content) == (413, b'{"error": "too_large"}')


def test_a_header_that_http_cannot_carry_is_not_sent(vendor: Vendor, connections: Connections) -> None:
    with pytest.raises(RequestRefused, match="unsendable") as raised:
        connections.exchange("DELETE", UNSENDABLE)
    assert not raised.value.effect_unknown
    assert "secret" not in "".join(traceback.format_exception(raised.value))
    assert vendor.heads == []


@pytest.mark.parametrize(
    "said",
    [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, b""],
    ids=["ssh", "endless", "nothing"],
)
def test_what_is_no_http_is_a_lost_connection(vendor: Vendor, connections: Connections, said: bytes) -> None:
    vendor.says, vendor.closes_after = (lambda _: said), 1
    with pytest.raises(TemporarilyUnavailable, match="connection_lost") as raised:
        connections.exchange("DELETE")
    assert raised.value.effect_unknown


def test_where_nothing_can_be_called_nobody_is() -> None:
    for url in ("ftp://v.example", "v.example"):
        with pytest.raises(TemporarilyUnavailable, match="no_connection"):
            Connections(httpx.URL(url)).exchange("DELETE")


def test_no_cookie_is_kept_and_every_call_says_who_it_is_for(vendor: Vendor) -> None:
    vendor.says = lambda _: answer(b"{}", "set-cookie: session=1; path=/")
    client = VendorClient(f"{vendor.url}/api/", auth=("ada", "sécret"), headers={"X-Key": "k"}, network=HERE)
    client.request("GET", "/a", expect=(200,), params={"q": "x y"})
    client.request("POST", "/b", expect=(200,), json_body={"name": "é"}, headers={"x-key": "other"})
    client.request("POST", "/c", expect=(200,))
    client.close()
    look, post, bare = (head.decode().split("\r\n") for head in vendor.heads)
    assert look[0] == "GET /api/a?q=x+y HTTP/1.1"
    assert f"host: {vendor.url.netloc.decode()}" in [line.lower() for line in look]
    assert {"x-key: k", "authorization: Basic YWRhOnPDqWNyZXQ=", "accept: application/json"} <= set(look)
    assert post[0] == "POST /api/b HTTP/1.1"
    assert {"x-key: other", "content-type: application/json", "Content-Length: 13"} <= set(post)
    assert "Content-Length: 0" in bare
    assert not any(line.lower().startswith("cookie") for line in (*post, *bare))


def test_a_download_elsewhere_carries_nothing_of_ours(vendor: Vendor) -> None:
    client = VendorClient("http://127.0.0.1:9", auth=("user", "secret"), headers={"x-key": "secret"}, network=HERE)
    assert client.download("GET", f"{vendor.url}/results?signature=a%2Fb") == b"{}"
    client.close()
    head = vendor.heads[0].decode().lower()
    assert head.startswith("get /results?signature=a%2fb http/1.1")
    assert "secret" not in head
    assert "authorization" not in head


@pytest.mark.parametrize("url", ["ftp://v.example/x", "http://[::bad/x", "file:///etc/passwd"])
def test_a_download_from_nowhere_is_not_understood(url: str) -> None:
    with pytest.raises(AnswerNotUnderstood, match="bad_url"):
        VendorClient("http://127.0.0.1:9", network=HERE).download("GET", url)
