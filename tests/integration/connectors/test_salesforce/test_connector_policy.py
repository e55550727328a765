"""What policy makes of records: emptied, unlinked, kept for a reason; and what an opt-out reaches."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from connectors.base.interface import Operation
from connectors.base.runner import Line, Outcome, run

from .connecting import Served, serving
from .world import hard_world, ordinary_world, residue


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
