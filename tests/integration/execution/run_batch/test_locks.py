"""What several transactions want at once: locks in one order, and a commit of which nobody heard."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from service.requests.intake import submit as submit_request
from service.requests.planning.advance import advance_requests
from service.requests.records.store import lock_request
from service.requests.steps.read import lock_steps
from service.store import locking as rows
from service.store.encryption.key_store import request_owner
from tests.company import Company
from tests.drive import turn
from tests.scenes import person_in, quicken


def test_steps_are_locked_in_the_order_of_a_batchs(company: Company) -> None:
    """Whoever waits for a step holds exactly those before it: a hold and a recorded batch never wait in a circle."""
    requests = [company.submit(person_in(company, "support", skip=n)) for n in range(3)]
    turn(company.runtime, only=lambda name: False)
    ids: list[UUID] = [r.id for r in company.rows("SELECT id FROM steps ORDER BY id")]
    middle = ids[len(ids) // 2]
    waits = threading.Event()

    def lock_all() -> None:
        with company.stores.engine.begin() as connection:
            waits.set()
            lock_steps(connection, requests)

    with company.stores.engine.begin() as holder:
        holder.execute(text("SELECT 1 FROM steps WHERE id = :id FOR UPDATE"), {"id": middle})
        waiter = threading.Thread(target=lock_all)
        waiter.start()
        waits.wait()
        while not company.rows("SELECT 1 FROM pg_locks WHERE NOT granted"):
            pass
        free = company.rows("SELECT id FROM steps ORDER BY id FOR UPDATE SKIP LOCKED")
        assert [r.id for r in free] == [i for i in ids if i > middle]
    waiter.join()


def test_who_advances_requests_waits_for_nobodys_asking(company: Company) -> None:
    """Seen in the chaos run: two that advanced at once deleted the same rows in two orders, a deadlock."""
    first, second = (company.submit(person_in(company, "support", skip=n)) for n in range(2))
    turn(company.runtime, only=lambda name: False)
    with company.stores.engine.begin() as connection:
        rows.request_check(connection, [first, second])
        connection.execute(text(f"ALTER DATABASE {connection.engine.url.database} SET lock_timeout = '2s'"))

    company.stores.engine.dispose()
    with company.stores.engine.begin() as holder:
        holder.execute(text("DELETE FROM request_checks WHERE request_id = :id"), {"id": first})
        assert advance_requests(company.stores, company.settings) == 1
    assert company.rows("SELECT 1 FROM request_checks") == []


def test_a_commit_of_which_nobody_heard_keeps_its_key(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(company)
    person = person_in(company, "support")
    real = submit_request._write

    def commit_and_lose_the_connection(*args: Any, **named: Any) -> Any:
        real(*args, **named)
        raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    with monkeypatch.context() as patch:
        patch.setattr(submit_request, "_write", commit_and_lose_the_connection)
        with pytest.raises(OperationalError):
            company.submit(person)
    (row,) = company.rows("SELECT id FROM requests")
    assert company.stores.keys.get([request_owner(row.id)])
    company.drive()
    assert company.request(row.id).state == "fulfilled"
    assert company.residue(person) == []


def rewrite_its_rows(company: Company, request: UUID) -> None:
    """What settling and freezing do to an identifier: two UPDATEs in one transaction, so its foreign key is checked
    again. Steps have none any more."""
    with company.stores.engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '300ms'"))
        for _ in range(2):
            connection.execute(
                text("UPDATE steps SET consecutive_attempts = consecutive_attempts WHERE request_id = :id"),
                {"id": request},
            )
            connection.execute(text("UPDATE identifiers SET use = use WHERE request_id = :id"), {"id": request})


def test_whoever_holds_a_request_does_not_stop_its_rows(company: Company) -> None:
    """Seen in a demo: `advance` held a request and wanted its steps, a recorded batch held these and wanted it."""
    request = company.submit(person_in(company, "support"))
    turn(company.runtime, only=lambda name: False)
    assert company.steps(request)

    with company.stores.engine.begin() as holder:
        lock_request(holder, request)
        rewrite_its_rows(company, request)


def test_a_plain_for_update_would_stop_them(company: Company) -> None:
    request = company.submit(person_in(company, "support"))
    turn(company.runtime, only=lambda name: False)

    with company.stores.engine.begin() as holder:
        holder.execute(text("SELECT 1 FROM requests WHERE id = :id FOR UPDATE"), {"id": request})
        with pytest.raises(OperationalError):
            rewrite_its_rows(company, request)
