"""The rows are what the log tells, whatever happened to a request; a hand in either of the two is found."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from connectors.base.values import Identifier
from service.access.create_key import create_key, revoke_key
from service.audit.exports.full import export_audit
from service.audit.rebuild import replay_audit
from service.audit.sequence import checkpoint_everything
from service.domain.access.api_key import Caller, Scope
from service.domain.requests.holds import HoldReason, LiftReason
from service.domain.requests.states import DenialReason, ExtensionReason
from service.execution.systems.sync_config import sync_systems
from service.requests.deadlines import extend_request
from service.requests.holds.lift import lift_hold
from service.requests.holds.place import place_hold
from service.requests.withdraw import deny_request, revoke_request
from service.store.audit_log.findings import AuditLogBroken
from service.store.encryption.secrets import audit_signing_key
from tests.company import Company
from tests.drive import turn


def replayed(company: Company, **more: Any) -> Any:
    return replay_audit(company.stores.engine, **more)


def lead_a_full_life(company: Company) -> None:
    """Requests that end, wait, are linked, unverified, held, denied, revoked, extended; keys; a system that leaves."""
    people = company.world.people
    caller = Caller(uuid4(), frozenset(Scope))
    company.submit(people[0])
    company.submit(people[0], kind="erasure")
    company.submit(people[1], verified=False)
    held = place_hold(
        company.stores,
        company.settings,
        identifiers=[Identifier("email", people[2].emails[0])],
        reason=HoldReason.LITIGATION,
        until=None,
        caller=caller,
    )
    company.submit(people[2])
    denied, revoked, extended = (company.submit(people[n]) for n in (3, 4, 5))
    turn(company.runtime)
    deny_request(company.stores, denied, reason=DenialReason.OTHER, actor=caller.actor)
    extend_request(company.stores, company.settings, extended, reason=ExtensionReason.COMPLEXITY, actor=caller.actor)
    sync_systems(company.stores, replace(company.settings, systems=company.settings.systems[1:]))
    assert replayed(company).differences == ()
    sync_systems(company.stores, company.settings)
    assert replayed(company).differences == ()
    revoke_request(company.stores, revoked, actor=caller.actor)
    company.drive()
    lift_hold(company.stores, held.id, reason=LiftReason.MATTER_CLOSED, actor=caller.actor)
    company.drive()
    key = create_key(company.stores, name="auditor", scopes=[Scope.AUDIT_READ], life=timedelta(days=1), actor="cli")
    revoke_key(company.stores, prefix=key.prefix, actor="cli")


def test_after_a_full_life_nothing_differs(company: Company) -> None:
    lead_a_full_life(company)
    report = replayed(company)
    assert report.differences == ()
    assert report.entries > 50
    states = {row.state for row in company.rows("SELECT DISTINCT state FROM requests")}
    assert {"fulfilled", "denied", "revoked", "in_progress"} <= states

    out = io.BytesIO()
    export_audit(company.stores.engine, audit_signing_key(company.settings), out)
    entries = replayed(company).entries
    # The file up to its end, the store's log after it: what happens after an export is no difference.
    denied_later = company.submit(company.world.people[9])
    assert replayed(company, export=io.BytesIO(out.getvalue())).differences == ()
    assert replayed(company, export=io.BytesIO(out.getvalue())).entries == entries + 1
    assert denied_later

    # Each hand in the rows is found, whichever row and field it changes, and nothing else is reported.
    for table, change in HANDS:
        with company.stores.engine.connect() as connection:
            row = connection.execute(text(f"SELECT * FROM {table} LIMIT 1")).one()
            key = "name" if table == "systems" else "id"
            saved = dict(row._mapping)
        edit(company, f"UPDATE {table} SET {change} WHERE {key} = :key", key=saved[key])
        found = replayed(company).differences
        assert [d.object_id for d in found] == [str(saved[key])], (table, change)
        column = change.partition(" ")[0]
        edit(company, f"UPDATE {table} SET {column} = :old WHERE {key} = :key", old=saved[column], key=saved[key])
        assert replayed(company).differences == ()

    # A row without a history, and a history whose row is gone.
    edit(
        company,
        "INSERT INTO systems (name, connector, state, fingerprint, position, max_concurrency)"
        " VALUES ('ghost', 'zendesk', 'active', '00', 1, 1)",
    )
    assert [(d.object_id, d.field, d.stored) for d in replayed(company).differences] == [("ghost", "row", "stored")]
    edit(company, "DELETE FROM systems WHERE name = 'ghost'")
    edit(company, "DELETE FROM hold_hashes")
    edit(company, "DELETE FROM holds")
    assert [(d.object, d.field, d.logged) for d in replayed(company).differences] == [("hold", "row", "logged")]


HANDS = [
    ("requests", "state = 'expired'"),
    ("requests", "reason = 'linked_by_hand'"),
    ("requests", "respond_by = respond_by + interval '1 microsecond'"),
    ("requests", "plan_version = plan_version + 1"),
    ("requests", "subject = subject || '0'"),
    ("requests", "overdue_at = clock_timestamp()"),
    ("requests", "version = version + 1"),
    ("requests", "entry_hash = decode('00', 'hex')"),
    ("steps", "state = 'retained_by_hand'"),
    ("steps", "phase = 'by_hand'"),
    ("steps", "reason = 'by_hand'"),
    ("steps", "attempts = attempts + 1"),
    ("batches", "system = 'by_hand'"),
    ("batches", "phase = 'by_hand'"),
    ("batches", "version = version + 1"),
    ("batches", "entry_hash = decode('00', 'hex')"),
    ("holds", "lifted_at = NULL"),
    ("holds", "reason = 'by_hand'"),
    ("holds", "effective_at = effective_at + interval '1 microsecond'"),
    ("api_keys", "scopes = ARRAY['requests:reveal']"),
    ("api_keys", "expires_at = expires_at + interval '1 year'"),
    ("api_keys", "revoked_at = NULL"),
    ("systems", "connector = 'by_hand'"),
    ("systems", "fingerprint = 'ffff'"),
    ("systems", "state = 'removed'"),
]


def edit(company: Company, statement: str, **values: Any) -> None:
    with company.stores.engine.begin() as connection:
        connection.execute(text(statement), values)


def test_an_entry_that_is_missing_in_the_middle_is_found(company: Company) -> None:
    request = company.submit(company.world.ordinary[0])
    company.drive()
    checkpoint_everything(company.stores.engine, company.runtime.signing_key())
    assert replayed(company).differences == ()
    edit(company, "ALTER TABLE audit_leaves DISABLE TRIGGER USER")
    edit(
        company,
        "DELETE FROM audit_leaves WHERE index IN (SELECT index FROM audit_leaves"
        " WHERE convert_from(entry, 'UTF8')::jsonb->>'event' = 'request_settled')",
    )
    found = replayed(company).differences
    steps = {str(step.id) for step in company.steps(request).values()}
    # It told how the request's steps began as well.
    untold = {(step, field) for step in steps for field in ("request", "system")}
    assert {(d.object_id, d.field) for d in found} == {(str(request), "chain"), *untold}


def test_a_lease_that_is_missing_at_its_batch_s_end_is_found_by_its_steps_attempts(company: Company) -> None:
    company.submit(company.world.ordinary[0])
    company.drive()
    checkpoint_everything(company.stores.engine, company.runtime.signing_key())
    edit(company, "ALTER TABLE audit_leaves DISABLE TRIGGER USER")
    edit(
        company,
        "WITH last AS (SELECT max(index) AS index FROM audit_leaves WHERE entry LIKE '%\"batch_leased\"%'),"
        " gone AS (DELETE FROM audit_leaves l USING last WHERE l.index = last.index RETURNING entry)"
        " DELETE FROM batches b USING gone WHERE b.id = (convert_from(entry, 'UTF8')::jsonb->>'object_id')::uuid",
    )
    assert {(d.object, d.field) for d in replayed(company).differences} == {("step", "attempts")}


@pytest.mark.parametrize("content", [b"", b"{}\n", b'{"entry":{},"index":"0"}\n', b'{"entry":{\n'])
def test_a_file_that_is_no_export_is_refused(company: Company, content: bytes) -> None:
    with pytest.raises(AuditLogBroken):
        replayed(company, export=io.BytesIO(content))
