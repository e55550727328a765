"""What policy makes of records: emptied, unlinked, kept for a reason; and what an opt-out reaches."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.base.interface import Operation
from connectors.base.runner import Line, Outcome, run
from connectors.salesforce.sandbox.org import OrgSandbox
from connectors.salesforce.sandbox.schema import load_schema

from ..connecting import Served, serving
from ..world import World, hard_world, ordinary_world, residue


def _id(org: Served, ref: str) -> str:
    return str(org.sandbox.state["refs"][ref])


def _row(org: Served, ref: str) -> dict[str, Any]:
    row = org.sandbox.store.row(_id(org, ref))
    assert row is not None
    return row


def test_an_emptied_case_stays_and_nothing_of_the_person_with_it() -> None:
    with serving(ordinary_world(1)) as org:
        done = org.erase("p0", policy={"objects": {"Case": "anonymise"}})
        assert done.lines["p0"].outcome is Outcome.RETAINED
        assert done.left("p0") == {("Case", "anonymise")}
        case = _row(org, "p0-case0")
        assert not case["IsDeleted"]
        assert case["ContactId"] is None
        assert residue(org.sandbox, org.world.people["p0"]) == []


def test_an_emptied_root_stays_and_what_hangs_on_it_goes() -> None:
    with serving(ordinary_world(1)) as org:
        done = org.erase("p0", policy={"objects": {"Contact": "anonymise"}})
        assert done.lines["p0"].outcome is Outcome.RETAINED
        assert _row(org, "p0")["LastName"] == "Anonymised"
        assert residue(org.sandbox, org.world.people["p0"]) == []


def test_a_value_that_a_rule_asks_for_is_the_policys_and_without_it_the_refusal_is_named() -> None:
    rules = {"Contact.LastName": "Erased [0-9]+"}
    policy: dict[str, Any] = {"objects": {"Contact": "anonymise"}}
    with serving(ordinary_world(1), validation_rules=rules) as org:
        assert ("Contact", "vetoed") in org.erase("p0", policy=policy).left("p0")
    with serving(ordinary_world(1), validation_rules=rules) as org:
        done = org.erase("p0", policy=policy | {"values": {"Contact.LastName": "Erased 1"}})
        assert done.lines["p0"].outcome is Outcome.RETAINED
        assert _row(org, "p0")["LastName"] == "Erased 1"


def test_an_opt_out_reaches_the_consents_of_contact_points() -> None:
    with serving(hard_world(tasks=1)) as org:
        lines: list[Line] = []
        run(org.connect(), [org.subject("ada")], Operation.SUPPRESS, timedelta(seconds=5), lines.append)
        assert lines[0].outcome is Outcome.SUPPRESSED
        consents = [
            row
            for name in ("ContactPointConsent", "ContactPointTypeConsent")
            for row in org.sandbox.state["tables"][name].values()
        ]
        assert len(consents) == 2
        assert {row["PrivacyConsentStatus"] for row in consents} == {"OptOut"}


def _contact_flags(org: Served, ref: str) -> set[str]:
    flags = ("HasOptedOutOfEmail", "HasOptedOutOfFax", "DoNotCall")
    return {flag for flag in flags if _row(org, ref).get(flag) is True}


def test_an_opt_out_writes_the_fields_of_its_scopes_only() -> None:
    def opted_out(*scopes: str) -> set[str]:
        with serving(ordinary_world(1)) as org:
            lines: list[Line] = []
            asked = replace(org.subject("p0"), scopes=scopes)
            run(org.connect(), [asked], Operation.SUPPRESS, timedelta(seconds=5), lines.append)
            assert lines[0].outcome is Outcome.SUPPRESSED
            return _contact_flags(org, "p0")

    assert opted_out("do_not_contact:email") == {"HasOptedOutOfEmail"}
    assert opted_out("do_not_contact:phone", "do_not_sell") == {"DoNotCall"}
    assert opted_out("do_not_contact:email", "do_not_contact:phone") == {"HasOptedOutOfEmail", "DoNotCall"}
    assert opted_out() >= {"HasOptedOutOfEmail", "DoNotCall"}


def test_an_opt_out_of_telephone_calls_leaves_consents_to_email_alone() -> None:
    with serving(hard_world(tasks=1)) as org:
        asked = replace(org.subject("ada"), scopes=("do_not_contact:phone",))
        before = [dict(row) for row in org.sandbox.state["tables"]["ContactPointConsent"].values()]
        run(org.connect(), [asked], Operation.SUPPRESS, timedelta(seconds=5), lambda line: None)
        types = org.sandbox.state["tables"]["ContactPointTypeConsent"].values()
        assert {row["PrivacyConsentStatus"] for row in types} != {"OptOut"}
        assert [dict(row) for row in org.sandbox.state["tables"]["ContactPointConsent"].values()] == before


def _world_with_history() -> World:
    world = ordinary_world(1)
    world.add("p0", "CaseHistory", "old", CaseId="@p0-case0", Field="Description", OldValue="{c}")
    return world


@pytest.fixture
def deletable_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """An org whose preference and permission "Delete From Field History" are on."""
    schema = copy.deepcopy(load_schema())
    found = schema.get("CaseHistory")
    assert found is not None
    found.describe["deletable"] = True
    monkeypatch.setattr(OrgSandbox, "schema", property(lambda self: schema))


@pytest.mark.usefixtures("deletable_history")
def test_the_field_history_of_an_emptied_case_goes_where_it_may_be_deleted(tmp_path: Path) -> None:
    with serving(_world_with_history()) as org:
        done = org.erase("p0", policy={"objects": {"Case": "anonymise"}, "cache_directory": str(tmp_path / "cache")})
        assert done.lines["p0"].outcome is Outcome.RETAINED
        assert residue(org.sandbox, org.world.people["p0"]) == []


@pytest.mark.usefixtures("deletable_history")
def test_what_emptying_itself_writes_into_the_history_goes_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = OrgSandbox.update_row

    def with_history(self: OrgSandbox, value: Any, fields: Any) -> Any:
        before = dict(self.store.row(value) or {})
        row = whole(self, value, fields)
        if row["Id"].startswith("500"):
            old = {"CaseId": row["Id"], "Field": "Description", "OldValue": before.get("Description")}
            self.store.add("CaseHistory", {"IsDeleted": False, **old})
        return row

    monkeypatch.setattr(OrgSandbox, "update_row", with_history)
    with serving(ordinary_world(1)) as org:
        org.erase("p0", policy={"objects": {"Case": "anonymise"}, "cache_directory": str(tmp_path / "cache")})
        assert residue(org.sandbox, org.world.people["p0"]) == []


def test_without_the_permission_the_history_stays_and_the_evidence_says_so() -> None:
    with serving(_world_with_history()) as org:
        done = org.erase("p0", policy={"objects": {"Case": "anonymise"}})
        assert [row["Id"] for row in residue(org.sandbox, org.world.people["p0"])] == [_id(org, "old")]
        assert "field_history_of_records_that_stay" in done.lines["p0"].not_covered
