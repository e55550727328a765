"""The demo's story: look, submit, watch, review, look again, export, verify.

Decides what is done in which order and what counts as a good end. Everything goes through the API and the commands that
users have; only the two looks at the records ask the stand-ins and the warehouse themselves.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.live import Live

from connectors.testing.sandbox.sample_world import SamplePerson
from service.audit.exports.certificate_pdf import print_certificate
from service.cli.audit import verify_audit
from service.cli.demo.client import DemoClient
from service.cli.demo.output import CERTIFICATES, LOG, RECORDS, REPORT, VERIFIER, VERIFY, write_verify_script
from service.cli.demo.records import Records, compare, write_csv
from service.cli.demo.view import progress_table, show_records
from service.cli.demo.world import DemoWorld
from service.cli.requests.answers import IdentityAnswer, ReceiptAnswer, RequestAnswer, SystemsAnswer
from service.cli.running.supervise import python

_GOOD_ENDS = {"erased_verified", "absent"}
_LONGEST_SECONDS = 300.0


class DemoFailed(Exception):  # noqa: N818 - says what is true
    """A step of the story did not end as it must."""


@dataclass
class Story:
    """One run of the demo against a running service."""

    demo: DemoWorld
    client: DemoClient
    sandbox_port: int
    output: Path
    console: Console
    ordinary: int
    people: dict[str, SamplePerson] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Ordinary people, and one whose cluster is three people by mistake.
        self.chosen = [*self.demo.world.ordinary[: self.ordinary], self.demo.world.over_merged[0]]
        self.records = Records(self.demo, self.sandbox_port, self.chosen)
        self.submitted_on = datetime.now(UTC).date()

    def look_before(self) -> None:
        """Remember every record of every system."""
        self.before = self.records.look()

    def submit(self) -> None:
        """Erasures of the chosen people, by one verified email each."""
        for person in self.chosen:
            at = datetime.now(UTC).isoformat()
            receipt: ReceiptAnswer = self.client.post(
                "/v1/requests",
                {
                    "kind": "erasure",
                    "regime": "gdpr",
                    "identifiers": [
                        {
                            "kind": "email",
                            "value": person.emails[0],
                            "verification": {"method": "email_link", "verified_at": at},
                        }
                    ],
                    "received_at": at,
                    "external_reference": f"demo-{person.ref}",
                },
                **{"idempotency-key": f"demo-{person.ref}"},
            )
            self.people[receipt["id"]] = person
        self.console.print(f"submitted {len(self.chosen)} erasures")

    def watch(self) -> None:
        """Show progress until every request is answered; do the review on the way."""
        connected: SystemsAnswer = self.client.get("/v1/systems")
        systems = [system["name"] for system in connected["systems"]]
        labels = {request_id: person.ref for request_id, person in self.people.items()}
        until = time.monotonic() + _LONGEST_SECONDS
        with Live(console=self.console, refresh_per_second=4) as live:
            shown: dict[str, RequestAnswer] = {}
            while True:
                for request_id in self.people:
                    if request_id not in shown or shown[request_id]["state"] != "fulfilled":
                        shown[request_id] = self.client.get(f"/v1/requests/{request_id}?masks=false")
                live.update(progress_table(labels, list(shown.values()), systems))
                for request in shown.values():
                    if request["state"] == "in_progress" and request["reason"] == "needs_review":
                        self._review(request)
                if all(r["state"] == "fulfilled" for r in shown.values()):
                    break
                if time.monotonic() > until:
                    raise DemoFailed("not every request was answered in time")
                time.sleep(0.5)
        self.console.print()
        for request in shown.values():
            for step in request["steps"]:
                if step["state"] not in _GOOD_ENDS:
                    raise DemoFailed(f"{step['system']}: {step['state']}")

    def _review(self, request: RequestAnswer) -> None:
        """Review as a human does: reveal the identifiers, decide each doubt, drop those of other people."""
        person = self.people[request["id"]]
        shown: IdentityAnswer = self.client.post(f"/v1/requests/{request['id']}/reveal")
        own = {i.value.lower() for i in person.identifiers}
        values = {i["ordinal"]: i["value"].strip().lower() for i in (*shown["identifiers"], *shown["beyond"])}
        others = {ordinal for ordinal, value in values.items() if value not in own}
        decisions = [
            {"doubt": doubt["id"], "decision": "drop" if others & {*doubt["about"]} else "keep"}
            for doubt in shown["doubts"]
        ]
        drop = [i["id"] for i in shown["identifiers"] if i["ordinal"] in others]
        reasons = ", ".join(sorted({d["reason"] for d in request["doubts"]}))
        kept = sum(each["decision"] == "keep" for each in decisions)
        self.console.print(
            f"{person.ref}: review ({reasons}); {kept} doubts kept, {len(decisions) - kept} dropped with"
            f" {len(drop)} identifiers of other people"
        )
        body = {"decision": "continue", "doubts_version": shown["doubts_version"], "decisions": decisions, "drop": drop}
        self.client.post(f"/v1/requests/{request['id']}/review", body)

    def look_after(self) -> None:
        """Check that all records of the erased people are gone and all others are unchanged."""
        lines = compare(self.before, self.records.look())
        show_records(lines, len(self.chosen))
        write_csv(lines, self.output / RECORDS)
        if left := sum(line.theirs_after for line in lines) or self.records.residue():
            raise DemoFailed(f"{left} records of erased people are left")
        if changed := [f"{line.system}: {line.kind}" for line in lines if line.changed]:
            raise DemoFailed(f"records of people who were not to be erased have changed: {', '.join(changed)}")
        self.console.print("the systems hold nothing of the erased people any more")
        self.console.print("all records of everybody else are there, unchanged")

    def export(self, config: Path) -> None:
        """Certificates, a report and the audit log, verified by the single file that an auditor gets."""
        self.console.print("taking the evidence out and verifying it")
        certificates = self.output / CERTIFICATES
        certificates.mkdir()
        for request_id, person in self.people.items():
            # Kept as it came: the signature covers these very bytes.
            certificate = self.client.text(f"/v1/requests/{request_id}/certificate").encode("utf-8")
            (certificates / f"{person.ref}.json").write_bytes(certificate)
            (certificates / f"{person.ref}.pdf").write_bytes(print_certificate(certificate))
        log, report = self.output / LOG, self.output / REPORT
        period = f"{self.submitted_on}..{datetime.now(UTC).date()}"
        self._expunge("audit", "report", "request-log", "--period", period, "--out", str(report), config=config)
        self._expunge("audit", "export", "--out", str(log), config=config)
        (self.output / VERIFIER).write_bytes(Path(verify_audit.__file__).read_bytes())
        write_verify_script(self.output)
        self._run("sh", str(self.output / VERIFY))
        self.console.print(f"audit log, report and {len(self.people)} certificates verified by {VERIFIER}")

    def _expunge(self, *arguments: str, config: Path) -> None:
        self._run(*python("-m", "service.cli.main", *arguments, "--config", str(config)))

    def _run(self, *command: str) -> None:
        done = subprocess.run(list(command), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DemoFailed(f"{' '.join(command[1:4])} failed: {(done.stderr or done.stdout).strip()[-400:]}")
