"""I11: a service over a restored database calls nobody until a named human accepted it; then the log goes on.

The restore is a real one: the database is copied while the service stands still, the service goes on, and the copy is
put in its place. The keys, the key store and the anchor are those of the newer state, as after a real restore.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from connectors.base.errors import LeaseLost
from service.audit.anchor_checkpoint import anchor_checkpoint
from service.audit.reconcile import accept_restored_store, compare_with_anchors
from service.audit.sequence import checkpoint_everything
from service.domain.audit.anchor import Disagreement
from service.domain.audit.entry import decode_entry
from service.domain.errors import Invalid
from service.execution import worker_context as runtime_module
from service.execution.heartbeat import renew_lease
from service.execution.lease import lease_steps
from service.execution.worker_context import WorkerContext
from service.requests.identity.resolve import lease_identities
from service.store.anchors.configured import default_directory
from service.store.anchors.file import HEADS_FILE, FileAnchor
from service.store.engine import open_engine
from service.store.interlock import NOT_COMPARED, open_conflicts
from tests.company import Company
from tests.databases import Databases
from tests.drive import turn
from workers.tasks import work


def anchored(company: Company) -> int:
    """Everything logged so far is signed and published."""
    engine, key = company.stores.engine, company.runtime.signing_key()
    checkpoint_everything(engine, key)
    return anchor_checkpoint(engine, key, company.runtime.anchors()).size


@contextmanager
def backup(company: Company, databases: Databases) -> Iterator[Company]:
    """A company over a copy of the database as it is now; everything outside the database is shared."""
    company.stores.engine.dispose()
    url = company.stores.engine.url.render_as_string(hide_password=False)
    copy = databases.create(template=str(make_url(url).database))
    stores = replace(company.stores, engine=open_engine(copy))
    try:
        yield replace(company, stores=stores, runtime=WorkerContext(company.settings, stores))
    finally:
        stores.engine.dispose()
        databases.drop(copy)


def conflicts(company: Company) -> list[tuple[str, str]]:
    with company.stores.engine.begin() as connection:
        return [(c.anchor, c.code) for c in open_conflicts(connection)]


def works(company: Company, monkeypatch: pytest.MonkeyPatch) -> int:
    """What the real tasks do with everything that is due."""
    monkeypatch.setattr(work, "runtime", lambda: company.runtime)
    done = work.identify.run()
    return int(done) + sum(work.work_system.run(system.config.name) for system in company.settings.systems)


def heard(company: Company) -> int:
    """How many calls the vendors' stand-ins were made."""
    return sum(len(sandbox.journal) for sandbox in company.sandboxes.values())


@pytest.fixture
def restored(company: Company, main_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Company]:
    """A restored company with due searches and a person to be found; what came after the copy is lost to it."""
    searched, waiting, lost = company.world.ordinary[:3]
    company.submit(searched)
    monkeypatch.setattr(work, "runtime", lambda: company.runtime)
    assert work.identify.run() == 1
    company.submit(waiting)
    anchored(company)
    with backup(company, main_databases) as old:
        company.submit(lost)
        # One round: the log is ahead of the copy, which is all that the anchors can tell.
        assert turn(company.runtime) > 0
        anchored(company)
        yield old


def test_a_restored_service_calls_nobody(restored: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    assert restored.rows("SELECT 1 FROM steps WHERE state = 'due' AND due_at < clock_timestamp()")
    assert restored.rows("SELECT 1 FROM requests WHERE next_action = 'identify'")
    before = heard(restored)
    assert works(restored, monkeypatch) == 0
    assert heard(restored) == before
    assert conflicts(restored) == [("file", Disagreement.STORE_BEHIND)]
    # The gate itself holds, whoever asks: also without an admission, and in a later process.
    due = [s.config.name for s in restored.settings.systems]
    assert all(lease_steps(restored.stores, restored.settings, name) is None for name in due)
    assert lease_identities(restored.stores, restored.settings, limit=10) == []


def test_after_a_named_humans_word_it_goes_on_and_the_word_is_evidence(
    restored: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = restored.runtime
    assert runtime.admission() is None
    left = accept_restored_store(restored.stores.engine, runtime.signing_key(), runtime.anchors(), operator="ada.byron")
    assert left == []
    monkeypatch.setattr(runtime_module, "_COMPARE_AGAIN_SECONDS", 0.0)
    before = heard(restored)
    assert works(restored, monkeypatch) > 0
    assert heard(restored) > before
    entries = [decode_entry(bytes(row.entry)) for row in restored.rows("SELECT entry FROM audit_leaves")]
    words = [e for e in entries if e["event"] == "restored_store_accepted"]
    assert [(e["actor"], e["data"]["anchor"], e["data"]["conflict"]) for e in words] == [
        ("operator:ada.byron", "file", Disagreement.STORE_BEHIND)
    ]
    assert [row.accepted_by for row in restored.rows("SELECT accepted_by FROM anchor_conflicts")] == [
        "operator:ada.byron"
    ]
    # The larger head is still in the anchor, the accepted one behind it, and the next ones follow.
    anchored(restored)
    heads = (default_directory(restored.settings) / HEADS_FILE).read_text().splitlines()
    sizes = [int(line.split("\\n")[1]) for line in heads]
    assert sizes != sorted(sizes)
    assert conflicts(restored) == []


def test_a_word_that_could_not_be_published_opens_nothing(restored: Company, tmp_path: Path) -> None:
    runtime = restored.runtime
    assert runtime.admission() is None
    (tmp_path / "blocked").write_text("")
    away = FileAnchor("file", tmp_path / "blocked")
    left = accept_restored_store(restored.stores.engine, runtime.signing_key(), [away], operator="ada.byron")
    assert [c.code for c in left] == [Disagreement.STORE_BEHIND]
    assert conflicts(restored) == [("file", Disagreement.STORE_BEHIND)]


def test_nobody_in_particular_accepts_nothing(restored: Company) -> None:
    runtime = restored.runtime
    assert runtime.admission() is None
    for name in ("Ada Byron", "", "ada@example.test"):
        with pytest.raises(Invalid):
            accept_restored_store(restored.stores.engine, runtime.signing_key(), runtime.anchors(), operator=name)
        assert conflicts(restored) == [("file", Disagreement.STORE_BEHIND)]


def test_the_database_is_restored_under_a_running_process(
    company: Company, main_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was admitted before the copy was made, and has changed its admission since: the copy doesn't know it.

    Without that change it would go on until its next comparison.
    """
    monkeypatch.setattr(runtime_module, "_ADMITTED_SECONDS", 0.0)
    searched, waiting, lost = company.world.ordinary[:3]
    company.submit(searched)
    monkeypatch.setattr(work, "runtime", lambda: company.runtime)
    assert work.identify.run() == 1
    company.submit(waiting)
    anchored(company)
    with backup(company, main_databases) as old:
        company.submit(lost)
        works(company, monkeypatch)
        admission = company.runtime.admission()
        assert admission is not None
        anchored(company)
        assert lease_identities(old.stores, old.settings, limit=10, admission=admission) == []
        for system in old.rows("SELECT DISTINCT system FROM steps WHERE state = 'due'"):
            assert lease_steps(old.stores, old.settings, system.system, admission=admission) is None
        company.runtime.stores = old.stores
        monkeypatch.setattr(runtime_module, "_COMPARE_AGAIN_SECONDS", 0.0)
        before = heard(company)
        assert works(company, monkeypatch) == 0
        assert heard(company) == before
        assert conflicts(old) == [("file", Disagreement.STORE_BEHIND)]


def test_a_pass_under_way_ends_when_a_disagreement_is_found(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    company.submit(company.world.ordinary[0])
    monkeypatch.setattr(work, "runtime", lambda: company.runtime)
    work.identify.run()
    leased = next(
        leased
        for system in company.settings.systems
        if (leased := lease_steps(company.stores, company.settings, system.config.name)) is not None
    )
    renew_lease(company.stores, company.settings, leased)
    with company.stores.engine.begin() as connection:
        connection.execute(text("INSERT INTO anchor_conflicts (anchor, code, detail) VALUES ('x', 'y', '')"))
    with pytest.raises(LeaseLost):
        renew_lease(company.stores, company.settings, leased)


def test_a_fresh_installation_and_an_ordinary_restart_need_nobody(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert company.runtime.admission() is not None
    company.submit(company.world.ordinary[0])
    assert works(company, monkeypatch) > 0
    anchored(company)
    restarted = WorkerContext(company.settings, company.stores)
    assert restarted.admission() is not None
    assert conflicts(company) == []


def test_while_no_anchor_answers_at_the_start_nobody_is_called_and_then_by_itself_again(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = default_directory(company.settings)
    directory.write_text("a file where the directory is to be mounted")
    company.submit(company.world.ordinary[0])
    assert works(company, monkeypatch) == 0
    assert conflicts(company) == [("every_anchor", NOT_COMPARED)]
    directory.unlink()
    monkeypatch.setattr(runtime_module, "_COMPARE_AGAIN_SECONDS", 0.0)
    assert works(company, monkeypatch) > 0
    assert conflicts(company) == []


def test_later_the_silence_of_an_anchor_stops_nothing(company: Company, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    away = FileAnchor("away", tmp_path / "blocked")
    key = company.runtime.signing_key()
    checkpoint_everything(company.stores.engine, key)
    turn = anchor_checkpoint(company.stores.engine, key, [away])
    assert turn.published == ()
    assert conflicts(company) == []
    compare_with_anchors(company.stores.engine, key, [away])
    assert conflicts(company) == [("every_anchor", NOT_COMPARED)]


def test_one_disagreement_counts_although_another_anchor_agrees(company: Company, tmp_path: Path) -> None:
    agrees, strange = FileAnchor("agrees", tmp_path / "one"), FileAnchor("strange", tmp_path / "two")
    key, engine = company.runtime.signing_key(), company.stores.engine
    checkpoint_everything(engine, key)
    anchor_checkpoint(engine, key, [agrees, strange])
    with (tmp_path / "two" / HEADS_FILE).open("a") as file:
        file.write('"a head of nobody"\n')
    found = compare_with_anchors(engine, key, [agrees, strange])
    assert found.agree == ("agrees",)
    assert conflicts(company) == [("strange", Disagreement.NOT_OURS)]


def test_a_log_that_does_not_agree_with_itself_shuts_the_gate_and_cannot_be_accepted(company: Company) -> None:
    runtime, engine = company.runtime, company.stores.engine
    anchored(company)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_checkpoints DISABLE TRIGGER USER"))
        connection.execute(text("UPDATE audit_checkpoints SET note = replace(note, '—', '-')"))
    assert runtime.admission() is None
    assert conflicts(company) == [("file", Disagreement.LOG_BROKEN)]
    from service.store.audit_log.findings import AuditLogBroken

    with pytest.raises(AuditLogBroken):
        accept_restored_store(engine, runtime.signing_key(), runtime.anchors(), operator="ada")
    assert conflicts(company) == [("file", Disagreement.LOG_BROKEN)]
