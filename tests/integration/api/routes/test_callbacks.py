"""Callbacks without a valid signature have hardly any effect and disclose no system."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from service.api.routes import callbacks
from service.execution import callbacks as hear_callback
from tests.integration.api.conftest import Office


def test_no_more_is_read_than_a_callback_needs(office: Office) -> None:
    for system in ("support", "nobody"):
        answer = office.client.post(f"/v1/callbacks/{system}", content=b"x" * (callbacks.MAX_CALLBACK_BYTES + 1))
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert answer.headers["connection"] == "close"
    # Nothing is asked of a body but its signature: no form, no media type.
    answer = office.client.post("/v1/callbacks/support", content=b"\xff" * callbacks.MAX_CALLBACK_BYTES)
    assert (answer.status_code, answer.json()["code"]) == (401, "callback_refused")
    counted = office.call("GET", "/metrics").text
    assert 'expunge_callbacks_total{result="too_large"} 2.0' in counted
    assert 'expunge_callbacks_total{result="refused"} 1.0' in counted


def test_an_endless_body_is_cut_off_while_it_comes(office: Office) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 1024 * 1024
            yield b"x" * 1024 * 1024

    try:
        status = office.client.post("/v1/callbacks/support", content=endless()).status_code
    except httpx.TransportError:
        # The connection ended while we were still sending.
        status = 413
    assert status == 413
    assert sent < 64 * 1024 * 1024


def test_more_than_so_many_a_second_are_turned_away_unread(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "_CALLS_PER_SECOND", 3)
    heard: list[str] = []
    real = hear_callback.hear_callback
    monkeypatch.setattr(callbacks, "hear_callback", lambda *given: heard.append(given[2]) or real(*given))
    statuses = [office.client.post("/v1/callbacks/nobody", content=b"{}").status_code for _ in range(8)]
    assert statuses.count(429) >= 1
    assert len(heard) == statuses.count(401) == 8 - statuses.count(429)


def test_slow_callers_do_not_block_other_callers(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "_CALLS_AT_ONCE", 1)
    monkeypatch.setattr(callbacks, "_READING_SECONDS", 1.0)
    host, port = office.url.removeprefix("http://").split(":")
    head = f"POST /v1/callbacks/support HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n\r\n{{"
    entered = threading.Event()
    real = callbacks.read_at_most

    async def reading(*given: object) -> bytes:
        entered.set()
        return await real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(callbacks, "read_at_most", reading)
    with socket.create_connection((host, int(port)), timeout=20) as dawdler:
        dawdler.sendall(head.encode())
        assert entered.wait(20)
        assert office.client.post("/v1/callbacks/support", content=b"{}").status_code == 429
        # Everything else is answered meanwhile, and the dawdler is sent away.
        assert office.client.get("/healthz").status_code == 200
        assert dawdler.recv(4096).startswith(b"HTTP/1.1 408")
    assert office.client.post("/v1/callbacks/support", content=b"{}").status_code == 401


def test_a_connectors_mistake_is_answered_like_any_refusal(
    office: Office, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def stumbles(kind: object, *given: object) -> None:
        raise KeyError("ada@example.test")

    kind = hear_callback.connector_class("zendesk")
    monkeypatch.setattr(kind, "declaration", type("Calls", (), {"sends_callbacks": True}))
    monkeypatch.setattr(kind, "read_callback", classmethod(stumbles))
    answer = office.client.post("/v1/callbacks/support", content=b"ada@example.test")
    monkeypatch.undo()
    assert answer.content == office.client.post("/v1/callbacks/nobody", content=b"{}").content
    printed = capfd.readouterr()
    assert "callback_not_read" in printed.out + printed.err
    assert "ada@example.test" not in printed.out + printed.err
