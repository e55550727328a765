"""A check of a list that can't be read says `unknown` or is no answer at all; never that somebody is free."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from service.api.app import create_app
from service.domain.suppression.check import Freshness, verdict_on
from service.store.autocommit import Autocommit
from service.store.encryption.keyed_hash import Pepper
from service.store.encryption.pepper_versions import bring_hashes_up
from service.store.encryption.secrets import load_secrets
from service.store.engine import open_engine
from service.store.stores import Stores
from service.suppression import check as checking
from tests.integration.api.conftest import EMAIL, Office, office, serving

__all__ = ["office"]

BODY = {"items": [{"kind": "email", "value": EMAIL}, {"kind": "email", "value": "bob@example.test"}]}
PATH = "/v1/suppressions/check"


@contextmanager
def locked(office: Office, name: str) -> Iterator[None]:
    """A table that nobody else can read meanwhile."""
    engine = open_engine(office.stores.engine.url.render_as_string(hide_password=False))
    with engine.connect() as connection:
        connection.execute(text(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"))
        yield
        connection.rollback()
    engine.dispose()


def said(answer: httpx.Response) -> list[tuple[str, str | None]]:
    assert answer.status_code == 200, answer.text
    return [(each["status"], each["reason"]) for each in answer.json()["items"]]


UNREADABLE = [("unknown", "list_unavailable")] * 2


@pytest.mark.parametrize("name", ["suppression_entries", "requests"])
def test_a_list_that_is_not_read_in_time_is_unknown(office: Office, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(checking, "PATIENCE", timedelta(seconds=0.2))
    with locked(office, name):
        answer = office.call("POST", PATH, BODY)

    assert said(answer) == UNREADABLE
    assert (answer.json()["as_of"], answer.json()["checked_at"]) == (None, None)
    assert said(office.call("POST", PATH, BODY)) == [("not_suppressed", None)] * 2


def test_without_the_limit_it_would_wait(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "PATIENCE", timedelta(seconds=0.2))
    monkeypatch.setattr(checking, "limit_statements", lambda connection, patience: None)
    with locked(office, "suppression_entries"), pytest.raises(httpx.ReadTimeout):
        office.call("POST", PATH, BODY, timeout=1.5)


def _end_the_waiting_one(office: Office) -> None:
    ended = office.rows(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND query LIKE '%suppression_entries%' AND pid <> pg_backend_pid()"
    )
    if not ended:
        timer = threading.Timer(0.05, _end_the_waiting_one, [office])
        timer.start()


def test_a_server_that_ends_while_it_reads_is_unknown(office: Office) -> None:
    with locked(office, "suppression_entries"):
        _end_the_waiting_one(office)
        answer = office.call("POST", PATH, BODY)

    assert said(answer) == UNREADABLE


def test_an_error_that_was_taken_for_an_empty_list_would_set_people_free(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault of a check that answers "not suppressed" on any error of its store."""
    monkeypatch.setattr(checking, "PATIENCE", timedelta(seconds=0.2))
    read = checking._read

    def careless(stores: Stores, hashes: set[bytes]) -> Any:
        freshness, scopes = read(stores, hashes)
        now = office.rows("SELECT now() AS now")[0].now
        return freshness or Freshness(now, None), scopes

    monkeypatch.setattr(checking, "_read", careless)
    with locked(office, "suppression_entries"):
        assert said(office.call("POST", PATH, BODY)) == [("not_suppressed", None)] * 2


def test_a_doubt_about_the_list_that_was_not_applied_would_set_people_free(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.submit(EMAIL)
    stale = BODY | {"max_staleness_seconds": 0}
    assert said(office.call("POST", PATH, stale)) == [("unknown", "list_stale")] * 2

    monkeypatch.setattr(checking, "verdict_on", lambda of_list, of_item, scopes: verdict_on(None, of_item, scopes))

    assert said(office.call("POST", PATH, stale)) == [("not_suppressed", None)] * 2


def test_a_store_that_is_down_for_the_look_up_is_unknown_and_for_the_key_no_answer(office: Office) -> None:
    url = make_url(office.stores.engine.url).set(host="127.0.0.1", port=9, query={})
    engine = open_engine(url.render_as_string(hide_password=False))
    after_the_key = replace(office.stores, engine=engine)

    answer = _asked_of(office, after_the_key)
    refused = _asked_of(office, replace(after_the_key, autocommit=Autocommit(engine)))

    assert said(answer) == UNREADABLE
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert "suppressed" not in refused.text


def test_a_process_with_another_pepper_gives_no_answer(office: Office) -> None:
    bring_hashes_up(office.stores.engine, office.stores.pepper)
    secrets = replace(load_secrets(office.settings), pepper=Pepper(b"another" * 8))
    urls = [each.url.render_as_string(hide_password=False) for each in (office.stores.engine, office.stores.key_engine)]
    stores = Stores.open(urls[0], urls[1], secrets)

    answer = _asked_of(office, stores)
    stores.close()

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "suppressed" not in answer.text


def _asked_of(office: Office, stores: Stores) -> httpx.Response:
    headers = {"Authorization": f"Bearer {office.key.token}"}
    with serving(create_app(stores, office.settings)) as url:
        return httpx.post(f"{url}{PATH}", json=BODY, headers=headers, timeout=30)
