"""Clients that hold connections and send nothing, or too little, keep nobody else out, over real sockets."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.api.routes.metrics import Metrics
from service.domain.access.api_key import Scope
from tests.integration.api.conftest import Office
from tests.integration.api.served import Served, answer_of, served, served_by_process

HALF_OPEN = 230
NOTHING = b""
HALF_A_HEAD = b"GET /healthz HTTP/1.1\r\nHost: expunge\r\nX-Long: "
NOT_HTTP = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"


def half_a_body(office: Office) -> bytes:
    head = (
        "POST /v1/requests HTTP/1.1\r\nHost: expunge\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {office.key.token}\r\nContent-Length: 1000\r\n\r\n"
    )
    return head.encode() + b'{"kind": "era'


@contextlib.contextmanager
def flood(place: Served, sent: bytes, *, source: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """So many connections over which no more comes."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(place.connect(sent, source=source))) for _ in range(HALF_OPEN)]


@pytest.mark.parametrize(("sent", "server"), [(NOTHING, served), (HALF_A_HEAD, served_by_process)])
def test_half_open_connections_do_not_block_other_clients(
    office: Office, tmp_path: Path, sent: bytes, server: Callable[..., contextlib.AbstractContextManager[Served]]
) -> None:
    with server(office, tmp_path, "max_connections = 100\nheader_timeout_seconds = 600") as place, flood(place, sent):
        assert place.get("/healthz").status_code == 200
        assert place.get("/healthz", source="127.0.0.2").status_code == 200
        assert (place.probe("/healthz"), place.probe("/readyz")) == (200, 200)


def test_half_sent_bodies_do_not_block_other_clients(office: Office, tmp_path: Path) -> None:
    with (
        served(office, tmp_path, "max_connections = 100\nbody_timeout_seconds = 4") as place,
        flood(place, half_a_body(office)),
    ):
        assert (place.probe("/healthz"), place.probe("/readyz")) == (200, 200)
        while (status := place.get("/healthz", source="127.0.0.2").status_code) == 503:
            pass  # all are in the middle of a body, until each has fallen behind
        assert status == 200


def test_dripping_clients_are_ended(office: Office, tmp_path: Path) -> None:
    with served(office, tmp_path, "header_timeout_seconds = 1\nbody_timeout_seconds = 1") as place:
        head, body = place.connect(HALF_A_HEAD), place.connect(half_a_body(office))
        over = threading.Event()

        def drip() -> None:
            while not over.wait(0.1):
                for connection in (head, body):
                    with contextlib.suppress(OSError):
                        connection.sendall(b"x")

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        try:
            answers = [answer_of(head), answer_of(body)]
        finally:
            over.set()
            dripping.join()
            head.close()
            body.close()
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b"application/problem+json" in answer
        assert b'"code":"too_slow"' in answer


def test_a_body_at_its_least_rate_is_read_to_the_end(office: Office, tmp_path: Path) -> None:
    limits = "body_timeout_seconds = 2\nmin_body_bytes_per_second = 50"
    with served(office, tmp_path, limits) as place, contextlib.closing(place.connect(half_a_body(office))) as slow:
        rest, wait = b'sure"' + b" " * 2000, threading.Event()
        for at in range(0, 987, 100):  # 5 s in all
            slow.sendall(rest[at : at + 100][: 987 - at])
            wait.wait(0.5)
        slow.shutdown(socket.SHUT_WR)
        answer = answer_of(slow)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'"code":"malformed_json"' in answer


def test_input_after_a_refusal_keeps_no_connection(office: Office, tmp_path: Path) -> None:
    """A 401 is sent before the body is there: its sender must not hold the connection by dripping."""
    sent = half_a_body(office).replace(b"Bearer xpg_", b"Bearer no_")
    with served(office, tmp_path, "body_timeout_seconds = 1") as place, contextlib.closing(place.connect(sent)) as held:
        assert held.recv(65536).startswith(b"HTTP/1.1 401 ")
        while True:
            try:
                held.sendall(b"x")
                held.settimeout(0.1)
                if held.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break


def test_one_client_has_only_so_many_connections(office: Office, tmp_path: Path) -> None:
    limits = "max_connections_per_client = 20\nproxies = []\nbody_timeout_seconds = 600"
    asking = half_a_body(office).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n", 1)
    with served(office, tmp_path, limits) as place, contextlib.ExitStack() as held:
        for _ in range(20):
            # A head makes room for a new connection; a body that is being read, and not late, doesn't.
            connection = held.enter_context(contextlib.closing(place.connect(asking, source="127.0.0.3")))
            assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        with contextlib.closing(place.connect(asking, source="127.0.0.3")) as one_more:
            refused = answer_of(one_more)
        assert refused.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        assert b'"code":"too_many_connections"' in refused
        assert place.get("/healthz").status_code == 200
        key = office.new_key(Scope.METRICS_READ).token
        metrics = ask_metrics(place, key)
    refusals = re.search(r'expunge_http_connections_ended_total\{reason="too_many_connections"\} ([0-9.]+)', metrics)
    assert refusals is not None
    assert float(refusals[1]) >= 1


def ask_metrics(place: Served, key: str) -> str:
    head = f"GET /metrics HTTP/1.1\r\nHost: expunge\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n"
    with contextlib.closing(place.connect(head.encode())) as connection:
        return answer_of(connection).decode()


def test_a_proxy_is_no_single_client(office: Office, tmp_path: Path) -> None:
    limits = 'max_connections_per_client = 20\nproxies = ["127.0.0.4"]\nbody_timeout_seconds = 600'
    with served(office, tmp_path, limits) as place, flood(place, half_a_body(office), source="127.0.0.4"):
        assert place.get("/healthz", source="127.0.0.4").status_code == 200


def test_an_idle_connection_is_closed_after_the_configured_time(office: Office, tmp_path: Path) -> None:
    """Seven seconds are more than uvicorn's own limit of five, so that the closing shows which limit it was."""
    limits = "idle_timeout_seconds = 7\nheader_timeout_seconds = 600"
    with served(office, tmp_path, limits) as place:
        began = time.monotonic()
        with contextlib.closing(place.connect(b"GET /healthz HTTP/1.1\r\nHost: expunge\r\n\r\n")) as idle:
            answer = answer_of(idle)
        lasted = time.monotonic() - began
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert lasted > 6.5


def test_input_that_is_not_http_gets_a_problem(office: Office, tmp_path: Path) -> None:
    with served(office, tmp_path) as place, contextlib.closing(place.connect(NOT_HTTP)) as connection:
        answer = answer_of(connection)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'"code":"malformed_http"' in answer
    assert b"x-content-type-options: nosniff" in answer


def test_an_answer_that_is_not_read_is_given_up(office: Office, tmp_path: Path) -> None:
    ask = f"GET /openapi.json HTTP/1.1\r\nHost: expunge\r\nAuthorization: Bearer {office.key.token}\r\n\r\n".encode()
    with served(office, tmp_path, "body_timeout_seconds = 1") as place:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", place.port))
        with connection:
            # Answers to pipelined requests fill all buffers between the two.
            with contextlib.suppress(OSError):
                for _ in range(10):
                    connection.sendall(ask * 100)
            while ended(place, office, "too_slow") == 0:
                pass


def ended(place: Served, office: Office, reason: str) -> float:
    text = ask_metrics(place, office.key.token)
    found = re.search(rf'expunge_http_connections_ended_total\{{reason="{reason}"\}} ([0-9.]+)', text)
    assert found is not None
    return float(found[1])


def test_the_metric_names_every_reason(office: Office) -> None:
    text = Metrics(office.stores, office.settings).exposition().decode()
    assert text.count("expunge_http_connections_ended_total{") == 4
