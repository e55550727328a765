"""Where Salesforce's token may go, and that its calls end: the session is over the strict transport."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.base.errors import AnswerNotUnderstood, TemporarilyUnavailable
from connectors.salesforce.connector import SalesforceConnector
from connectors.salesforce.sandbox.oauth import CONSUMER_KEY, CONSUMER_SECRET
from tests.integration.connectors.test_salesforce.connecting import serving
from tests.integration.connectors.test_salesforce.world import ordinary_world


def connect(url: str, **more: Any) -> SalesforceConnector:
    entry = {
        "name": "crm",
        "connector": "salesforce",
        "base_url": url,
        "allow_private_hosts": ["127.0.0.1"],
        "credentials": {"consumer_key": CONSUMER_KEY, "consumer_secret": CONSUMER_SECRET},
        **more,
    }
    return SalesforceConnector(SalesforceConnector.parse_system(entry))


@pytest.fixture
def sink() -> Iterator[socket.socket]:
    with socket.create_server(("0.0.0.0", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.mark.parametrize(
    "instance",
    [
        "http://127.0.0.2:{port}",
        "http://localhost:{port}",
        "http://169.254.169.254",
        "http://2130706433:{port}",
        "http://127.0.0.1@127.0.0.2:{port}",
        "https://127.0.0.2:{port}",
        "http://org.example",
        "file:///etc/passwd",
        "http://[::1",
    ],
)
def test_the_token_goes_to_no_private_host_that_is_not_allowed(sink: socket.socket, instance: str) -> None:
    with serving(ordinary_world(1)) as org:
        org.sandbox.options["instance_url"] = instance.format(port=sink.getsockname()[1])
        connector = connect(org.url)
        with pytest.raises(AnswerNotUnderstood, match="instance_url_refused"):
            connector.check_credentials()
        connector.close()
    with pytest.raises(BlockingIOError):
        sink.accept()


def test_a_name_that_leads_to_a_private_address_gets_no_token(
    sink: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written looks public; only the resolved address tells."""
    resolve = socket.getaddrinfo

    def resolves(host: Any, *more: Any, **named: Any) -> Any:
        return resolve("127.0.0.1" if host in ("org.example", b"org.example") else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolves)
    with serving(ordinary_world(1)) as org:
        org.sandbox.options["instance_url"] = f"https://org.example:{sink.getsockname()[1]}"
        connector = connect(org.url)
        with pytest.raises(TemporarilyUnavailable, match="address_refused"):
            connector.check_credentials()
        connector.close()
    with pytest.raises(BlockingIOError):
        sink.accept()


def test_a_call_ends_although_the_org_drips() -> None:
    """Without a deadline this takes a minute, and by the limit on silence it never ends."""

    def drip(listening: socket.socket) -> None:
        line, _ = listening.accept()
        with line, contextlib.suppress(OSError):
            line.recv(65536)
            line.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n")
            for _ in range(1200):
                time.sleep(0.05)
                line.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=drip, args=(listening,), daemon=True).start()
        connector = connect(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout_seconds=1, deadline_seconds=1)
        began = time.monotonic()
        with pytest.raises(TemporarilyUnavailable, match="deadline_passed") as raised:
            connector.check_credentials()
        assert time.monotonic() - began < 30
        assert raised.value.effect_unknown
        connector.close()
