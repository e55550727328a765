"""The whole service as its users run it: API, workers, beat as processes; only the servers are the test's own."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from connectors.testing.sandbox.sample_world import SamplePerson
from service.access.create_key import create_key
from service.cli.demo.client import DemoClient
from service.cli.running.api_process import api_listeners
from service.cli.running.installation import Servers, processes
from service.domain.access.api_key import Scope
from service.settings import Settings, load_settings
from tests.company import Company


@dataclass
class Service:
    """A running service and a client with every scope."""

    company: Company
    settings: Settings
    client: DemoClient
    secret: str

    def submit(self, person: SamplePerson, **more: Any) -> str:
        """Submit an erasure by the person's first email; returns the request's id."""
        at = datetime.now(UTC).isoformat()
        identifier = {
            "kind": "email",
            "value": person.emails[0],
            "verification": {"method": "email_link", "verified_at": at},
        }
        body = {"kind": "erasure", "regime": "gdpr", "identifiers": [identifier], "received_at": at, **more}
        return str(self.client.post("/v1/requests", body)["id"])


@contextlib.contextmanager
def service_up(company: Company, urls: dict[str, str], **engine: float) -> Iterator[Service]:
    """Run the service for the company; `engine` overrides keys of `[engine]`."""
    origin = company.settings.origin
    assert origin is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = origin.read_text().replace("listen_port = 0", f"listen_port = {port}")
    overrides = "".join(f"{key} = {value}\n" for key, value in engine.items())
    kept = "\n".join(line for line in text.splitlines() if line.split(" = ")[0] not in engine)
    origin.write_text(kept.replace("[engine]\n", f"[engine]\n{overrides}"))
    settings = load_settings(origin)
    key = create_key(company.stores, name="journey", scopes=list(Scope), life=timedelta(days=1), actor="cli")
    os.environ.pop("EXPUNGE_CONFIG", None)
    with api_listeners(settings) as listeners, processes(settings, Servers(urls, ()), listeners):
        client = DemoClient(f"http://127.0.0.1:{port}", key.token)
        client.wait_until_ready(120)
        yield Service(company, settings, client, key.token)
        client.close()


def logs_of(settings: Settings) -> Path:
    """Where the processes write their logs."""
    return settings.service.data_directory / "logs"
