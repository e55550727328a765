"""How many calls a whole run needs, warm: the targets of issue 5, and that nothing is left for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from connectors.base import operations
from connectors.base.errors import ConnectorError, CredentialsRefused, TemporarilyUnavailable
from connectors.base.interface import Operation
from connectors.base.runner import Outcome
from connectors.base.values import Batch, Located
from connectors.salesforce.deletion import deletion_groups, writing
from connectors.salesforce.deletion import root_search as roots
from connectors.salesforce.org import reading
from connectors.salesforce.org.org import Org, Subanswer, Subrequest
from connectors.salesforce.org.visibility import Control
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.sandbox.faults import Fault, FaultKind

from .connecting import Served, serving
from .world import ORDINARY_MARKS, World, ordinary_world

TARGETS = {1: 15, 10: 16, 100: 26, 1_000: 55}


def _run(org: Served, people: int, place: Path) -> int:
    policy = {"cache_directory": str(place)}
    org.connect(policy).check_credentials()
    before = org.sandbox.snapshot(org.world.people)
    done = org.erase_with(org.connect(policy), *org.world.people, wait=600)
    assert Counter(line.outcome for line in done.lines.values()) == {Outcome.ERASED_VERIFIED: people}
    assert org.sandbox.residue(ORDINARY_MARKS) == []
    assert org.sandbox.changed_bystanders(before) == []
    return done.calls


@pytest.mark.parametrize("people", [1, 10])
def test_a_whole_run_keeps_to_the_target(people: int, tmp_path: Path) -> None:
    with serving(ordinary_world(people)) as org:
        assert _run(org, people, tmp_path / "cache") <= TARGETS[people]


@pytest.mark.long
def test_a_hundred_people_keep_to_the_target(tmp_path: Path) -> None:
    with serving(ordinary_world(100)) as org:
        assert _run(org, 100, tmp_path / "cache") <= TARGETS[100]


@pytest.mark.long
def test_a_thousand_people_keep_to_the_target(tmp_path: Path) -> None:
    with serving(ordinary_world(1_000), permissions={"bulk_hard_delete": True}) as org:
        assert _run(org, 1_000, tmp_path / "cache") <= TARGETS[1_000]


@pytest.mark.parametrize("operation", [Operation.LOCATE, Operation.CONFIRM])
def test_a_look_proves_its_sight_itself(operation: Operation) -> None:
    """Blind from any call on: the look says so, whoever asked for it."""
    with serving(ordinary_world(1)) as org:
        batch, connector = Batch("k", (org.subject("p0"),)), org.connect()
        look: Callable[[Batch], object] = connector.locate
        if operation is Operation.CONFIRM:
            look = connector.confirm_absence
        connector.check_credentials()
        org.sandbox.journal.clear()
        look(batch)
        for number in range(len(org.sandbox.journal)):
            org.sandbox.faults = [Fault(FaultKind.BLIND, times=None, skip=number)]
            with pytest.raises(CredentialsRefused):
                look(batch)


def test_a_look_without_the_right_to_see_all_is_refused() -> None:
    with serving(ordinary_world(1), permissions={"modify_all_data": False}) as org:
        for look in (org.connect().locate, org.connect().confirm_absence):
            with pytest.raises(CredentialsRefused) as caught:
                look(Batch("k", (org.subject("p0"),)))
            assert caught.value.code == "missing_scope"


def test_a_mutant_that_trusts_its_eyes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("check_rights", "check_own_record"):
        monkeypatch.setattr(roots, name, lambda *seen: None)
    monkeypatch.setattr(reading, "shows", lambda answers, sure: True)
    monkeypatch.setattr(Control, "is_shown", lambda self, rows: True)
    with serving(ordinary_world(1)) as org:
        connector = org.connect()
        connector.check_credentials()
        org.sandbox.faults = [Fault(FaultKind.BLIND, times=None)]
        assert connector.locate(Batch("k", (org.subject("p0"),)))["p0"].is_empty  # type: ignore[union-attr]


def test_a_list_that_ends_early_is_no_end() -> None:
    """A credential that goes blind between two pages gets an empty last page."""
    with serving(ordinary_world(1), page_rows=4) as org:
        connector, subject = org.connect(), org.subject("p0")
        located = connector.locate(Batch("k", (subject,)))["p0"]
        assert isinstance(located, Located)
        batch = Batch("k", (replace(subject, records=located.records),))
        org.sandbox.journal.clear()
        connector.preview(batch)
        pages = [n for n, call in enumerate(org.sandbox.journal) if "query/01g" in call["body"]]
        assert pages, "nothing had a second page: the case shows nothing"
        for number in pages:
            org.sandbox.faults = [Fault(FaultKind.BLIND, skip=number)]
            with pytest.raises(TemporarilyUnavailable) as caught:
                connector.preview(batch)
            assert caught.value.code == "list_ended_early"


def _neighbours() -> World:
    """Four people, two of them under one Account."""
    world = ordinary_world(4)
    for record in world.records:
        for name, value in record["fields"].items():
            if value == "@p1-account":
                record["fields"][name] = "@p0-account"
    return world


def _side_by_side(monkeypatch: pytest.MonkeyPatch) -> tuple[int, set[str]]:
    """Erase them in calls of three rows each: how many calls of deletions ran at once, and how it ended."""
    monkeypatch.setattr(writing, "MAX_ROWS", 3)
    monkeypatch.setattr(writing, "_MAX_RUNS", 3)
    running: list[int] = []
    most = [0]
    whole = Org.composite

    def watched(self: Org, parts: Sequence[Subrequest]) -> list[Subanswer]:
        deletes = any(part.method == "DELETE" for part in parts)
        served[0].sandbox.latency_seconds = 0.15 if deletes else 0
        if not deletes:
            return whole(self, parts)
        running.append(1)
        most[0] = max(most[0], len(running))
        try:
            return whole(self, parts)
        finally:
            running.pop()

    with serving(_neighbours()) as org:
        served = [org]
        monkeypatch.setattr(Org, "composite", watched)
        connector = org.connect()
        subjects = []
        for ref in org.world.people:
            located = connector.locate(Batch("k", (org.subject(ref),)))[ref]
            assert isinstance(located, Located)
            subjects.append(replace(org.subject(ref), records=located.records))
        answers = operations.erase(connector, Batch("k", tuple(subjects)), SuiteLease())
        return most[0], {a.code if isinstance(a, ConnectorError) else a.kind.value for a in answers.values()}


def test_deletions_run_side_by_side_and_never_under_one_account(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, ends = _side_by_side(monkeypatch)
    assert at_once >= 2, "nothing ran side by side: the case shows nothing"
    assert ends == {"erased"}, "a row was locked"


def test_a_mutant_that_deletes_side_by_side_under_one_account_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion_groups.Groups, "connect", lambda self, names: None)
    assert "row_locked" in _side_by_side(monkeypatch)[1]


@pytest.mark.parametrize("refusal", ["QUERY_TIMEOUT", "QUERY_TOO_COMPLICATED"])
def test_an_org_that_gives_a_heavy_query_up_is_asked_for_less(monkeypatch: pytest.MonkeyPatch, refusal: str) -> None:
    whole = Org.composite

    def tired(self: Org, parts: Sequence[Subrequest]) -> list[Subanswer]:
        texts = [unquote(part.path) for part in parts]
        if any("FROM CaseComments)" in text and "FROM Cases)" in text for text in texts):
            refused.append(len(parts))
            return [Subanswer(400, [{"errorCode": refusal, "message": "too much"}]) for _ in parts]
        return whole(self, parts)

    refused: list[int] = []
    monkeypatch.setattr(Org, "composite", tired)
    with serving(ordinary_world(1)) as org:
        assert org.erase("p0").lines["p0"].outcome is Outcome.ERASED_VERIFIED
        assert len(refused) == 1, "it learns from the first one"
        assert org.sandbox.residue(ORDINARY_MARKS) == []


def test_an_api_version_without_deep_queries_will_do() -> None:
    with serving(ordinary_world(1)) as org:
        assert org.erase("p0", policy={"api_version": "57.0"}).lines["p0"].outcome is Outcome.ERASED_VERIFIED
        assert org.sandbox.residue(ORDINARY_MARKS) == []
