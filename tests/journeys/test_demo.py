"""The first command of the README, on a small company: it ends well, and leaves evidence that verifies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.supervise import python

pytestmark = pytest.mark.journey


@pytest.mark.timeout(200)
def test_the_demo_ends_well_and_leaves_verifiable_evidence(tmp_path: Path) -> None:
    output = tmp_path / "demo-output"
    command = python("-m", "service.cli.main", "demo", "--people", "100", "--erase", "2", "--output", str(output))

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert {p.name for p in output.iterdir()} == {"audit.jsonl", "audit.pub", "verify_audit.py", "certificates"}
    assert len(list((output / "certificates").iterdir())) == 3
    assert "hold nothing of the erased people any more" in done.stdout
    verified = subprocess.run(
        [sys.executable, str(output / "verify_audit.py"), str(output / "audit.jsonl")], capture_output=True, check=False
    )
    assert verified.returncode == 0
