"""The privacy team's own program: submits over the API, and sends the same again until it was answered.

What was answered 202 is accepted: the run's verdict holds the service to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx

from connectors.testing.sandbox.sample_world import SamplePerson
from service.access.create_key import create_key
from service.domain.access.api_key import Scope
from service.store.stores import Stores

# An API that is killed at every point of one submission is started again a dozen times.
_PATIENCE_SECONDS = 600.0


class Intake:
    """Takes people from `waiting` and puts what was accepted into `requests`.

    `refused` counts answers that weren't 202, `unanswered` connections that broke.
    """

    def __init__(
        self, stores: Stores, port: int, waiting: list[SamplePerson], requests: MutableMapping[UUID, SamplePerson]
    ) -> None:
        key = create_key(stores, name="chaos", scopes=list(Scope), life=timedelta(days=1), actor="cli")
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {key.token}"},
            timeout=30.0,
            trust_env=False,
        )
        self._waiting = waiting
        self._requests = requests
        self.refused = 0
        self.unanswered = 0

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def wait_until_ready(self) -> None:
        """Return when the API says that it is ready."""
        self._until(lambda: self._http.get("/readyz").status_code == 200)
        self.unanswered = 0

    def accept(self, people: int) -> list[UUID]:
        """Submit so many people, each until it was accepted. Returns their requests."""
        accepted = []
        for _ in range(min(people, len(self._waiting))):
            person = self._waiting.pop()
            body = _body(person)
            answers: list[Any] = []
            self._until(lambda body=body, person=person, answers=answers: self._submit(body, person, answers))
            accepted.append(UUID(answers[-1]["id"]))
            self._requests[accepted[-1]] = person
        return accepted

    def _submit(self, body: Any, person: SamplePerson, answers: list[Any]) -> bool:
        answer = self._http.post("/v1/requests", json=body, headers={"idempotency-key": person.ref})
        if answer.status_code == 202:
            answers.append(answer.json())
            return True
        self.refused += 1
        # Anything but "not now" would be the test's own fault.
        assert answer.status_code >= 500, answer.text
        return False

    def _until(self, done: Callable[[], bool]) -> None:
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            try:
                if done():
                    return
            except httpx.TransportError:
                self.unanswered += 1
            time.sleep(0.05)
        raise AssertionError("the API did not answer")


def _body(person: SamplePerson) -> Any:
    at = datetime.now(UTC).isoformat()
    identifier = {
        "kind": "email",
        "value": person.emails[0],
        "verification": {"method": "email_link", "verified_at": at},
    }
    return {"kind": "erasure", "regime": "gdpr", "identifiers": [identifier], "received_at": at}
