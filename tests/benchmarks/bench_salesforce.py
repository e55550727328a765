"""How many calls Salesforce takes to erase 1, 10, 100 and 1,000 people for good, on the stand-in of the org.

    python -m tests.benchmarks.bench_salesforce [--out bench.json]

A whole run: locate, erase, confirm; token and schema in a cache that another process has filled. Each person has 60
related records, of which 18 must be deleted by a call of their own. The yardstick is the target of issue 5. The
thousand go by bulk jobs, for which the org needs a permission; the hundred don't. BENCH_SCALE below 1 leaves the
thousand out. Beside the calls stand the residue and the changed bystanders, which the stand-in's ground truth counts.
Nothing is asserted here; tests/integration/connectors/test_salesforce/test_connector_calls.py does.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from connectors.base.runner import Outcome
from tests.benchmarks.results import tell
from tests.integration.connectors.test_salesforce.connecting import Served, serving
from tests.integration.connectors.test_salesforce.world import ORDINARY_MARKS, ordinary_world

TARGETS = {1: 15, 10: 16, 100: 26, 1_000: 55}


def bench_calls(people: int) -> dict[str, Any]:
    """One world of so many people, erased once."""
    permissions = {"bulk_hard_delete": people >= 1_000}
    with serving(ordinary_world(people), permissions=permissions) as org, tempfile.TemporaryDirectory() as place:
        policy = {"cache_directory": str(Path(place) / "cache")}
        org.connect(policy).check_credentials()
        before = org.sandbox.snapshot(org.world.people)
        org.sandbox.journal.clear()
        begin = time.perf_counter()
        done = org.erase_with(org.connect(policy), *org.world.people, wait=3_600)
        seconds = time.perf_counter() - begin
        ended = Counter(line.outcome for line in done.lines.values())
        return {
            "name": f"salesforce.calls_{people}",
            "value": done.calls,
            "unit": "calls",
            "yardstick": TARGETS[people],
            "yardstick_is": "target of issue 5",
            "ratio": round(done.calls / TARGETS[people], 4),
            "seconds": round(seconds, 1),
            "erased_verified": ended[Outcome.ERASED_VERIFIED],
            "residue": len(org.sandbox.residue(ORDINARY_MARKS)),
            "bystanders_changed": len(org.sandbox.changed_bystanders(before)),
            "by_kind": dict(sorted(_kinds(org).items())),
        }


def _kinds(org: Served) -> Counter[str]:
    kinds = {"/composite": "composite", "/Soap/u": "empty_recycle_bin", "/jobs/ingest": "bulk_job", "/token": "token"}
    paths = (str(call["path"]) for call in org.sandbox.journal)
    return Counter(next((kind for part, kind in kinds.items() if part in path), "other") for path in paths)


def main() -> None:
    """Run all and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file that the results are added to")
    out = parser.parse_args().out
    few = float(os.environ.get("BENCH_SCALE", "1")) < 1
    tell([bench_calls(people) for people in TARGETS if people < 1_000 or not few], out)


if __name__ == "__main__":
    main()
