"""The demo's story: submit, watch, review, export, verify, look for residue.

Decides what is done in which order and what counts as a good end. Everything goes through the API and the commands that
users have; only the last look, for residue, asks the stand-ins themselves.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.live import Live

from connectors.base.sandbox.sample_world import SamplePerson
from service.cli import verify_audit
from service.cli.demo.client import DemoClient
from service.cli.demo.view import progress_table
from service.cli.demo.world import MAILING, ORG, SUPPORT_ACCOUNTS, DemoWorld
from service.cli.supervise import python

_GOOD_ENDS = {"erased_verified", "absent"}
_LONGEST_SECONDS = 90.0


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
    people: dict[str, SamplePerson] = field(default_factory=dict)

    def submit(self, ordinary: int) -> None:
        """Erasures of ordinary people, and of one whose cluster is three people by mistake."""
        chosen = [*self.demo.world.ordinary[:ordinary], self.demo.world.over_merged[0]]
        for person in chosen:
            at = datetime.now(UTC).isoformat()
            receipt = self.client.post(
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
        self.console.print(f"submitted {len(chosen)} erasures")

    def watch(self) -> None:
        """Show progress until every request is answered; do the review on the way."""
        systems = [s["name"] for s in self.client.get("/v1/systems")["systems"]]
        labels = {request_id: person.ref for request_id, person in self.people.items()}
        until = time.monotonic() + _LONGEST_SECONDS
        with Live(console=self.console, refresh_per_second=4) as live:
            shown: dict[str, Any] = {}
            while True:
                for request_id in self.people:
                    if shown.get(request_id, {}).get("state") != "fulfilled":
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
        for request in shown.values():
            for step in request["steps"]:
                if step["state"] not in _GOOD_ENDS:
                    raise DemoFailed(f"{step['system']}: {step['state']}")

    def _review(self, request: Any) -> None:
        """What a reviewer does: look at the identifiers, drop those that are somebody else's, go on."""
        person = self.people[request["id"]]
        shown = self.client.post(f"/v1/requests/{request['id']}/reveal")
        own = {i.value.lower() for i in person.identifiers}
        others = [i["id"] for i in shown["identifiers"] if i["value"].strip().lower() not in own]
        reasons = ", ".join(sorted({d["reason"] for d in request["doubts"]}))
        self.console.print(f"{person.ref}: review ({reasons}); dropping {len(others)} identifiers of other people")
        self.client.post(f"/v1/requests/{request['id']}/review", {"decision": "continue", "drop": others})

    def export(self, config: Path) -> None:
        """Certificates and the audit log, verified by the single file that an auditor gets."""
        certificates = self.output / "certificates"
        certificates.mkdir()
        for request_id, person in self.people.items():
            # Kept as it came: the signature covers these very bytes.
            certificate = self.client.text(f"/v1/requests/{request_id}/certificate")
            (certificates / f"{person.ref}.json").write_text(certificate, encoding="utf-8")
        log = self.output / "audit.jsonl"
        self._run(*python("-m", "service.cli.main", "audit", "export", "--config", str(config), "--out", str(log)))
        verifier = self.output / "verify_audit.py"
        verifier.write_bytes(Path(verify_audit.__file__).read_bytes())
        self._run(*python(str(verifier), str(log)))
        for path in sorted(certificates.iterdir()):
            self._run(*python(str(verifier), "--certificate", str(path), "--key", str(self.output / "audit.pub")))
        self.console.print(f"audit log and {len(self.people)} certificates verified by {verifier.name}")

    def look_for_residue(self) -> None:
        """Ask the stand-ins what they still hold of the erased."""
        values = sorted({value for person in self.people.values() for value in person.residue_values})
        left = 0
        for mount in (*SUPPORT_ACCOUNTS, MAILING, ORG):
            response = httpx.post(
                f"http://127.0.0.1:{self.sandbox_port}/{mount}/__sandbox__/residue",
                json=values,
                headers={"x-sandbox-token": self.demo.control_token},
                timeout=60.0,
                trust_env=False,
            )
            response.raise_for_status()
            left += len(response.json())
        if left:
            raise DemoFailed(f"{left} records of erased people are left in the stand-ins")
        self.console.print("the stand-ins hold nothing of the erased people any more")

    def _run(self, *command: str) -> None:
        done = subprocess.run(list(command), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DemoFailed(f"{Path(command[1]).name} failed: {(done.stderr or done.stdout).strip()[-400:]}")
