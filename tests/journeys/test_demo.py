"""The first command of the README, on a small company: it ends well, and leaves evidence that verifies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
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


@pytest.mark.timeout(200)
def test_a_demo_that_is_told_to_end_leaves_nothing_running(tmp_path: Path) -> None:
    # Not below pytest's own directory: it is 0700, and as root the servers' account must get through.
    place = Path(tempfile.mkdtemp(prefix="expunge-"))
    place.chmod(0o711)
    command = python("-m", "service.cli.main", "demo", "--people", "100", "--output", str(tmp_path / "out"))
    environment = dict(os.environ) | {"TMPDIR": str(place)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("submitted"):
            break
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 6

    process.terminate()

    assert process.wait(timeout=90) == 128 + signal.SIGTERM
    assert [p for p in started if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert list(place.iterdir()) == []
    place.rmdir()
