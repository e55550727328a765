"""Bulk jobs of a pass: looked at seldom, and what comes to be while they run isn't orphaned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from connectors.base.runner import Outcome
from connectors.salesforce.deletion.dependents import DependentSearch, News
from connectors.salesforce.deletion.hard_deletion import JobDeletion, JobsRun
from connectors.salesforce.deletion.writing import Entry

from ..connecting import Served, serving
from ..org_client import row
from ..world import ordinary_world, residue

JOBS: dict[str, Any] = {"bulk_from": 1}
PERMITTED = {"bulk_hard_delete": True}


def _erase_while_somebody_chats(org: Served, monkeypatch: pytest.MonkeyPatch) -> tuple[Outcome, list[dict[str, Any]]]:
    """A chat, which would outlive its contact without a relation to it, comes to be after the first job."""
    whole = JobDeletion.run
    new = [row("LiveChatTranscript", None, "p0", ContactId="@p0", Body="canary-p0."),
           row("acme__Audit__c", None, "p0", Name="canary-p0.", acme__Person__c="@p0")]  # fmt: skip

    def meanwhile(self: JobDeletion, name: str, entries: Sequence[Entry]) -> JobsRun:
        done = whole(self, name, entries)
        org.sandbox.seed({"records": new})
        new.clear()
        return done

    monkeypatch.setattr(JobDeletion, "run", meanwhile)
    done = org.erase("p0", policy=JOBS)
    return done.lines["p0"].outcome, residue(org.sandbox, org.world.people["p0"])


def test_what_comes_to_be_while_jobs_run_is_not_orphaned(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(ordinary_world(1), permissions=PERMITTED) as org:
        assert _erase_while_somebody_chats(org, monkeypatch) == (Outcome.ERASED_VERIFIED, [])


def test_a_mutant_that_looks_at_the_roots_only_once_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DependentSearch, "news", lambda self, roots: News((), range(0), lambda rows: set()))
    with serving(ordinary_world(1), permissions=PERMITTED) as org:
        assert len(_erase_while_somebody_chats(org, monkeypatch)[1]) == 2


def test_a_job_is_opened_once_and_looked_at_seldom() -> None:
    with serving(ordinary_world(1), permissions=PERMITTED, job_seconds=0.03) as org:
        org.sandbox.journal.clear()
        done = org.erase("p0", policy=JOBS, delays={"poll_every": 0.04, "confirm_after": 0})
        assert done.lines["p0"].outcome is Outcome.ERASED_VERIFIED
        calls = [call for call in org.sandbox.journal if "/jobs/ingest" in call["path"]]
        opened = [call for call in calls if call["method"] == "POST"]
        assert len(opened) == len(org.sandbox.state["jobs"])
        assert len(calls) <= 3 * len(opened)
