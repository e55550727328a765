"""While the log can't be signed or anchored nothing new is erased; everything goes on by itself when it can again."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from connectors.base.transitions.states import Phase
from service.audit.anchor_checkpoint import anchor_checkpoint
from service.audit.evidence_standing import evidence_standing
from service.audit.sequence import checkpoint_everything
from service.cli.running.evidence_watch import EvidenceWatch
from service.configuration.audit import AnchorSettings
from service.execution import heartbeat as hold_lease
from service.execution import lease as lease_steps
from service.execution.heartbeat import HeldLease
from service.store.anchors.file import FileAnchor
from service.store.audit_log.signing_key import SigningKeyUnusable
from service.store.encryption.secrets import audit_signing_key
from tests.company import Company
from tests.drive import turn
from tests.scenes import write
from workers.tasks import control

pytestmark = pytest.mark.parametrize("company", [{"people": 20, "accounts": ("support",)}], indirect=True)
EFFECTS = (Phase.SUPPRESS, Phase.ERASE)


def bounded(company: Company, **bounds: Any) -> None:
    settings = replace(company.settings, audit=company.settings.audit.model_copy(update=bounds))
    company.settings = company.runtime.settings = settings


def grow_old(company: Company, seconds: int = 3600) -> None:
    write(company, f"UPDATE audit_pending SET created_at = created_at - interval '{seconds} seconds'")


def effects(company: Company) -> int:
    """Attempts at suppressing or erasing so far."""
    found = company.rows("SELECT count(*) FROM attempts WHERE phase IN ('suppress', 'erase')")
    return int(found[0][0])


def rest(company: Company) -> None:
    """Turn until nothing is done any more: due work may be left, if it mustn't be done."""
    for _ in range(60):
        if not turn(company.runtime):
            return


def key(company: Company) -> Any:
    return audit_signing_key(company.settings)


def until_due_to_erase(company: Company) -> UUID:
    """A person who was found and planned while the evidence lags."""
    request = company.submit(company.world.ordinary[0])
    grow_old(company)
    rest(company)
    return request


def test_nothing_new_is_erased_while_entries_wait_too_long(company: Company) -> None:
    request = until_due_to_erase(company)
    states = {step.state for step in company.steps(request).values()}
    assert effects(company) == 0
    assert states <= {"due", "waiting"}, "nothing parks for it"
    assert company.residue(company.world.ordinary[0])

    checkpoint_everything(company.stores.engine, key(company))
    company.drive()
    assert company.request(request).state == "fulfilled"
    assert effects(company) > 0
    assert not company.residue(company.world.ordinary[0])


def test_without_the_rule_it_would_be_erased(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_steps, "leasable_phases", lambda *_: frozenset(Phase))
    monkeypatch.setattr(hold_lease, "effects_stopped", lambda *_: ())
    until_due_to_erase(company)
    assert effects(company) > 0


def test_too_many_waiting_entries_stop_effects_too(company: Company) -> None:
    bounded(company, max_unsequenced_entries=3)
    company.submit(company.world.ordinary[0])
    rest(company)
    assert effects(company) == 0
    assert evidence_standing(company.stores, company.settings).codes() == ("audit_unsequenced",)
    for _ in range(20):
        checkpoint_everything(company.stores.engine, key(company))
        rest(company)
    assert effects(company) > 0


@pytest.mark.parametrize("is_on", [True, False])
def test_a_pass_under_way_stops_before_its_next_effect(
    is_on: bool, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    company.submit(company.world.ordinary[0])
    leased = None
    for _ in range(60):
        batch = lease_steps.lease_steps(company.stores, company.settings, "support")
        if batch is not None and batch.phase in EFFECTS:
            leased = batch
            break
        if batch is not None:
            # Not ours to hold: the engine's own turn goes on with it.
            write(company, "UPDATE batches SET lease_until = clock_timestamp() - interval '1 second'")
        turn(company.runtime, only=lambda name: name != "support" or not planned(company))
    assert leased is not None, "nobody was about to be erased"
    refs = [step.ref for step in leased.steps]
    assert not hold_lease.renew_lease(company.stores, company.settings, leased)
    grow_old(company)
    if not is_on:
        monkeypatch.setattr(hold_lease, "effects_stopped", lambda *_: ())
        assert not hold_lease.renew_lease(company.stores, company.settings, leased)
        return
    short = replace(company.settings, engine=company.settings.engine.model_copy(update={"lease_seconds": 9.0}))
    with HeldLease(company.stores, short, leased) as lease:
        # LeaseLost ends the loop if no renewal ever tells.
        while any(lease.may_proceed(ref) for ref in refs):
            time.sleep(0.05)


def planned(company: Company) -> bool:
    return bool(company.rows("SELECT 1 FROM steps WHERE system = 'support' AND plan_version IS NOT NULL"))


def test_effects_wait_for_an_anchor_past_the_bound(company: Company, tmp_path: Path) -> None:
    blocked = FileAnchor("file", tmp_path / "blocked")
    (tmp_path / "blocked").write_text("no directory")
    request = company.submit(company.world.ordinary[0])
    signing = key(company)
    checkpoint_everything(company.stores.engine, signing)
    turned = anchor_checkpoint(company.stores.engine, signing, [blocked])
    assert list(turned.refused) == ["file"]
    standing = evidence_standing(company.stores, company.settings)
    assert (standing.codes(), [each.part for each in standing.troubles]) == ((), ["anchor:file"])

    bounded(company, max_unanchored_seconds=0.001)
    assert evidence_standing(company.stores, company.settings).codes() == ("audit_unanchored",)
    rest(company)
    assert effects(company) == 0

    (tmp_path / "blocked").unlink()
    assert anchor_checkpoint(company.stores.engine, signing, [blocked]).published == ("file",)
    assert evidence_standing(company.stores, company.settings).troubles == ()
    company.drive()
    assert company.request(request).state == "fulfilled"


def test_one_anchor_of_two_is_enough(company: Company, tmp_path: Path) -> None:
    company.submit(company.world.ordinary[0])
    signing = key(company)
    checkpoint_everything(company.stores.engine, signing)
    (tmp_path / "blocked").write_text("no directory")
    away, here = FileAnchor("away", tmp_path / "blocked"), FileAnchor("file", tmp_path / "here")
    anchor_checkpoint(company.stores.engine, signing, [away, here])
    two = [AnchorSettings(kind="file", name=name, directory=tmp_path / name) for name in ("away", "file")]
    bounded(company, max_unanchored_seconds=0.001, anchors=tuple(two))
    standing = evidence_standing(company.stores, company.settings)
    assert (standing.codes(), [each.part for each in standing.troubles]) == ((), ["anchor:away"])
    write(company, "DELETE FROM anchored_heads")
    assert evidence_standing(company.stores, company.settings).codes() == ("audit_unanchored",)


def test_an_unusable_key_is_said_until_it_works_again(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "runtime", lambda: company.runtime)
    lines: list[str] = []
    watch = EvidenceWatch(company.stores, company.settings, lines.append)
    watch.look()
    control.sequence.run()
    file = company.settings.service.data_directory / "keys" / "audit.key"
    file.chmod(0o644)
    with pytest.raises(SigningKeyUnusable):
        control.sequence.run()
    assert evidence_standing(company.stores, company.settings).codes() == ("signing_key_unusable",)
    watch._next_at = 0.0
    watch.look()
    file.chmod(0o600)
    control.sequence.run()
    assert evidence_standing(company.stores, company.settings).codes() == ()
    watch._next_at = 0.0
    watch.look()
    said = "the audit log can't be signed: audit.key is open to others: its mode must be 0600"
    assert lines == [said, f"over: {said}"]


def test_a_key_that_is_gone_is_not_made_anew(company: Company) -> None:
    signing = key(company)
    file = company.settings.service.data_directory / "keys" / "audit.key"
    kept = file.read_bytes()
    file.unlink()
    with pytest.raises(SigningKeyUnusable, match="missing"):
        key(company)
    assert not file.exists()
    file.write_bytes(kept)
    file.chmod(0o600)
    assert key(company).trusted == signing.trusted
