"""The front door over real databases: keys, a client for each, and rows as the engine would have left them."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import uvicorn
from fastapi import FastAPI
from httpx import Client, Response
from sqlalchemy import text
from starlette.routing import BaseRoute

from service.access.create_key import CreatedKey, create_key
from service.api.app import create_app
from service.domain.access.api_key import Scope
from service.domain.audit.entry import decode_entry
from service.execution.systems.sync_config import sync_systems
from service.settings import Settings, parse_settings
from service.store.encryption.secrets import load_secrets
from service.store.stores import Stores

SYSTEMS = ("support", "support-eu")
EMAIL = "ada.lovelace@example.test"


@dataclass
class Office:
    """The service as the privacy team meets it, and the rows behind it."""

    settings: Settings
    stores: Stores
    client: Client
    url: str
    key: CreatedKey

    def call(self, method: str, path: str, body: Any = None, *, key: CreatedKey | None = None, **more: Any) -> Response:
        """One call with a key that may do everything, unless told otherwise."""
        headers = {"Authorization": f"Bearer {(key or self.key).token}", **more.pop("headers", {})}
        return self.client.request(method, path, json=body, headers=headers, **more)

    def new_key(self, *scopes: Scope) -> CreatedKey:
        """Another key; without scopes, one that may do everything."""
        return create_key(self.stores, name="test", scopes=scopes or tuple(Scope), life=timedelta(days=1), actor="cli")

    def submission(self, *emails: str, verified: bool = True, **more: Any) -> dict[str, Any]:
        """A body for POST /v1/requests."""
        at = datetime.now(UTC).isoformat()
        proof = {"verification": {"method": "email_link", "verified_at": at}} if verified else {}
        identifiers = [{"kind": "email", "value": email, **proof} for email in emails or (EMAIL,)]
        return {"kind": "erasure", "regime": "gdpr", "identifiers": identifiers, "received_at": at} | more

    def submit(self, *emails: str, key: CreatedKey | None = None, **more: Any) -> UUID:
        """Submit a request and return its id."""
        answer = self.call("POST", "/v1/requests", self.submission(*emails, **more), key=key)
        assert answer.status_code == 202, answer.text
        return UUID(answer.json()["id"])

    def show(self, request_id: UUID) -> Any:
        """The request as its readers see it."""
        answer = self.call("GET", f"/v1/requests/{request_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """Any reading of the main store."""
        with self.stores.engine.begin() as connection:
            return list(connection.execute(text(statement), values))

    def write(self, statement: str, **values: Any) -> None:
        """Put rows into the state in which the engine would have left them."""
        with self.stores.engine.begin() as connection:
            connection.execute(text(statement), values)

    def put(self, request_id: UUID, **columns: Any) -> None:
        """Set columns of a request."""
        assignments = ", ".join(f"{name} = :{name}" for name in columns)
        self.write(f"UPDATE requests SET {assignments} WHERE id = :request_id", request_id=request_id, **columns)

    def add_step(self, request_id: UUID, system: str = "support", **columns: Any) -> UUID:
        """A step of a request: due to be erased unless told otherwise."""
        values: dict[str, Any] = {
            "id": uuid4(),
            "request_id": request_id,
            "system": system,
            "position": 50,
            "phase": "erase",
            "state": "due",
            "due_at": datetime.now(UTC),
            "respond_by": datetime.now(UTC) + timedelta(days=20),
            "located": True,
            "plan_version": 1,
        } | columns
        for name in ("erased", "remaining"):
            if name in values:
                values[name] = json.dumps(values[name])
        names = ", ".join(values)
        self.write(f"INSERT INTO steps ({names}) VALUES ({', '.join(f':{n}' for n in values)})", **values)
        step_id: UUID = values["id"]
        return step_id

    def step(self, step_id: UUID) -> Any:
        """A step's row."""
        return self.rows("SELECT * FROM steps WHERE id = :id", id=step_id)[0]

    def events(self, object_id: object) -> list[tuple[str, str, Any]]:
        """(event, actor, data) of everything that was logged about one object, in order."""
        entries = [decode_entry(bytes(r.entry)) for r in self.rows("SELECT entry FROM audit_pending ORDER BY id")]
        own = [e for e in entries if e["object_id"] == str(object_id)]
        assert [e["version"] for e in own] == list(range(1, len(own) + 1))
        return [(e["event"], e["actor"], e["data"]) for e in own]


@pytest.fixture
def office(tmp_path: Path, database_url: str, key_database_url: str) -> Iterator[Office]:
    """A service with two support accounts that nobody speaks to: no engine runs here."""
    settings = parse_settings(
        {
            "service": {"data_directory": str(tmp_path / "data")},
            "systems": [
                {
                    "name": name,
                    "connector": "zendesk",
                    "base_url": "http://127.0.0.1:9",
                    "allow_private_hosts": ["127.0.0.1"],
                    "credentials": {"email": "privacy@example.test", "api_token": "stand-in"},
                }
                for name in SYSTEMS
            ],
        }
    )
    stores = Stores.open(database_url, key_database_url, load_secrets(settings))
    sync_systems(stores, settings)
    key = create_key(stores, name="test", scopes=tuple(Scope), life=timedelta(days=1), actor="cli")
    # Unverified, as it is plain HTTP: each client would read all certificates of the system, 25 ms.
    with serving(create_app(stores, settings)) as url, Client(base_url=url, timeout=30, verify=False) as client:
        yield Office(settings, stores, client, url, key)
    stores.close()


_ROUTES: list[BaseRoute] = []
"""Of the first application. What a route needs is worked out at its first request, 100 ms for all of them; they are the
same in every application and hold none of its state."""


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The application behind a real server on a free port."""
    if not _ROUTES:
        _ROUTES.extend(app.router.routes)
    assert len(app.router.routes) == len(_ROUTES)
    app.router.routes[:] = _ROUTES
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as in service.api.server.listening
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=30)


@pytest.fixture
def parked(office: Office) -> Callable[..., tuple[UUID, UUID]]:
    """Makes a request whose step in one system waits for a human; returns both ids."""

    def make(reason: str, **columns: Any) -> tuple[UUID, UUID]:
        request_id = office.submit(f"{uuid4().hex}@example.test")
        office.put(request_id, state="in_progress", reason="erasing", next_action=None, due_at=None, plan_version=1)
        step_id = office.add_step(request_id, state="parked", reason=reason, due_at=None, **columns)
        return request_id, step_id

    return make
