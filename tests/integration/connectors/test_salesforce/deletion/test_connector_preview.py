"""What `locate` tells before anything is done: counts per object, what would stay, the calls, and the plan's hash."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from typer.testing import CliRunner

from connectors.base.interface import Operation
from connectors.base.runner import Line, Outcome, Summary, run
from service.cli.connector import app

from ..connecting import CREDENTIALS, Served, serving
from ..org_client import row
from ..world import hard_world, ordinary_world, residue


def _located(org: Served, *refs: str) -> tuple[dict[str, Line], Summary]:
    lines: list[Line] = []
    subjects = [org.subject(ref) for ref in refs]
    summary = run(org.connect(), subjects, Operation.LOCATE, timedelta(seconds=5), lines.append)
    return {line.subject: line for line in lines}, summary


def test_what_is_planned_is_what_happens() -> None:
    with serving(ordinary_world(1)) as org:
        before = org.sandbox.snapshot(())
        lines, summary = _located(org, "p0")
        assert org.sandbox.changed_bystanders(before) == []
        done = org.erase("p0")
        located = done.calls - sum(summary.planned_calls.values())
        assert located == 3, "locating takes three calls, and all others were foreseen"
        assert dict(lines["p0"].records) == dict(done.lines["p0"].records)


def test_what_would_stay_is_named_and_the_hash_is_the_plans() -> None:
    with serving(hard_world(tasks=1)) as org:
        lines, _ = _located(org, "ada")
        again, _ = _located(org, "ada")
        assert {e.object for e in lines["ada"].left} == {"Order", "Contract", "ServiceContract", "User"}
        assert lines["ada"].plan_hash == again["ada"].plan_hash
        org.sandbox.seed({"records": [row("Task", None, "ada", WhoId="@ada", Subject="one more", Status="Open")]})
        changed, _ = _located(org, "ada")
        assert changed["ada"].plan_hash != lines["ada"].plan_hash


def test_a_plan_that_was_agreed_on_is_done_and_another_one_is_not() -> None:
    with serving(ordinary_world(1)) as org:
        lines, _ = _located(org, "p0")
        agreed = {"plan_hash": lines["p0"].plan_hash}
        org.sandbox.seed({"records": [row("Task", None, "p0", WhoId="@p0", Subject="one more", Status="Open")]})
        before = org.sandbox.snapshot(())
        refused = org.erase("p0", policy=agreed)
        assert (refused.lines["p0"].outcome, refused.lines["p0"].reason) == (Outcome.PARKED, "plan_changed")
        assert org.sandbox.changed_bystanders(before) == []
        lines, _ = _located(org, "p0")
        done = org.erase("p0", policy={"plan_hash": lines["p0"].plan_hash})
        assert done.lines["p0"].outcome is Outcome.ERASED_VERIFIED
        assert residue(org.sandbox, org.world.people["p0"]) == []


def test_the_command_prints_counts_calls_and_hash(tmp_path: Path) -> None:
    with serving(ordinary_world(1)) as org:
        config, people = tmp_path / "system.toml", tmp_path / "people.jsonl"
        config.write_text(
            f'[[systems]]\nname = "s"\nconnector = "salesforce"\nbase_url = "{org.url}"\n'
            'allow_private_hosts = ["127.0.0.1"]\n'
            f'credentials = {{ consumer_key = "{CREDENTIALS["consumer_key"]}",'
            f' consumer_secret = "{CREDENTIALS["consumer_secret"]}" }}\n'
        )
        email = org.world.people["p0"].emails[0]
        people.write_text(json.dumps({"subject": "p0", "identifiers": [{"kind": "email", "value": email}]}) + "\n")
        asked = ["run", "salesforce", "--config", str(config), "--subjects", str(people), "--operation", "locate"]
        shown = CliRunner().invoke(app, [*asked, "--json"])
        assert shown.exit_code == 0, shown.output
        person, totals = map(json.loads, shown.stdout.splitlines())
        assert person["records"]["Case"] == 6
        assert len(person["plan_hash"]) == 64
        assert totals["planned_calls"]["purge"] == 1
        table = CliRunner().invoke(app, asked)
        assert f"plan {person['plan_hash']}" in table.output
        assert "planned: " in table.output
