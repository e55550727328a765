"""A counter in front of the service that makes calls arrive together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest

from service.api import dependencies as doors
from service.api.app import create_app
from service.requests.intake import submit as submitting
from service.store.encryption.key_store import request_owner
from tests.integration.api.conftest import Office, serving

IN_USE = (409, "reference_in_use")


@dataclass
class Counter:
    """A served application at which a first submission can be held, so that others meet behind it."""

    office: Office
    client: httpx.Client
    submissions: Any
    pool: ThreadPoolExecutor
    is_holding: bool = False
    sizes: list[int] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    let: threading.Event = field(default_factory=threading.Event)

    def post(self, body: Any, **headers: str) -> httpx.Response:
        given = {"Authorization": f"Bearer {self.office.key.token}"} | headers
        return self.client.post("/v1/requests", json=body, headers=given)

    def hold_one(self) -> Future[httpx.Response]:
        """A submission that isn't written before `let`."""
        self.is_holding = True
        first = self.pool.submit(self.post, self.office.submission("first@example.test"))
        assert self.arrived.wait(20)
        return first

    def behind_one(self, *sent: tuple[Any, dict[str, str]]) -> list[Future[httpx.Response]]:
        """Submissions that arrived in this order while another one was being written."""
        first = self.hold_one()
        answers = []
        for number, (body, headers) in enumerate(sent, 1):
            answers.append(self.pool.submit(self.post, body, **headers))
            until(lambda n=number: len(self.submissions._waiting) == n)
        self.let.set()
        assert first.result(30).status_code == 202
        return answers

    def together(self, *sent: tuple[Any, dict[str, str]]) -> list[httpx.Response]:
        """Their answers."""
        answers = [answer.result(30) for answer in self.behind_one(*sent)]
        assert self.sizes[:2] == [1, len(sent)]
        return answers


def until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


@contextmanager
def counting(office: Office, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    app = create_app(office.stores, office.settings)
    with (
        serving(app) as url,
        httpx.Client(base_url=url, timeout=30, verify=False) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        counter = Counter(office, client, app.state.context.submissions, pool)

        def held(stores: Any, settings: Any, submissions: Sequence[Any]) -> Any:
            if counter.is_holding:
                counter.sizes.append(len(submissions))
            if counter.is_holding and not counter.arrived.is_set():
                counter.arrived.set()
                assert counter.let.wait(20)
            return submitting.submit_requests(stores, settings, submissions)

        monkeypatch.setattr(doors, "submit_requests", held)
        yield counter


def sent(office: Office, *emails: str, key: str | None = None, **more: Any) -> tuple[Any, dict[str, str]]:
    body = office.submission(*(emails or (f"{uuid4().hex}@example.test",)), **more)
    return body, {} if key is None else {"Idempotency-Key": key}


def said(answers: Sequence[httpx.Response]) -> list[tuple[int, str]]:
    return [(answer.status_code, answer.json().get("code", "")) for answer in answers]


def assert_a_key_for_each_request(office: Office) -> None:
    """No request without its key, no key without its request: nothing was lost, nothing left behind."""
    owners = {request_owner(row.id) for row in office.rows("SELECT id FROM requests")}
    assert set(office.stores.keys.owners_older_than(-60, 5000)) == owners
