"""The first command of the README, on a small company: it ends well, and leaves evidence that verifies."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest

from service.cli.running.supervise import python

pytestmark = pytest.mark.journey
OUTPUT = {
    "audit.jsonl",
    "audit.pub",
    "certificates",
    "records.csv",
    "report.html",
    "report.html.manifest",
    "verify.sh",
    "verify_audit.py",
}


@pytest.mark.slow(seconds=47)
@pytest.mark.timeout(200)
def test_the_demo_ends_well_and_leaves_verifiable_evidence(tmp_path: Path) -> None:
    output = tmp_path / "demo-output"
    command = python("-m", "service.cli.main", "demo", "--people", "100", "--erase", "2", "--output", str(output))

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert {p.name for p in output.iterdir()} == OUTPUT
    certificates = sorted(path.suffix for path in (output / "certificates").iterdir())
    assert certificates == [".json"] * 3 + [".pdf"] * 3
    assert all(path.read_bytes().startswith(b"%PDF-") for path in (output / "certificates").glob("*.pdf"))
    assert "<h1>" in (output / "report.html").read_text(encoding="utf-8")
    assert "hold nothing of the erased people any more" in done.stdout
    with (output / "records.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["system"] for row in rows} == {"warehouse", "support", "support-eu", "mailing", "crm"}
    assert {row["whose"] for row in rows} == {"erased people", "everybody else"}
    theirs = [row for row in rows if row["whose"] == "erased people"]
    assert sum(int(row["before"]) for row in theirs) > 100
    assert sum(int(row["after"]) for row in theirs) == 0
    assert all(row["before"] == row["after"] for row in rows if row["whose"] == "everybody else")
    _verify_as_told(done.stdout, output)


def _verify_as_told(stdout: str, output: Path) -> None:
    """The printed command, copied into a shell; then again with one byte of the evidence changed."""
    printed = stdout.partition("verify it yourself:\n")[2].splitlines()[0]
    verified = subprocess.run(printed, shell=True, capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.count("VERIFIED") == 5  # the log, the report, three certificates
    report = output / "report.html"
    report.write_text(report.read_text(encoding="utf-8").replace("erasure", "erasurf", 1), encoding="utf-8")
    assert subprocess.run(printed, shell=True, capture_output=True, check=False).returncode == 1


@pytest.mark.slow(seconds=25)
@pytest.mark.timeout(200)
@pytest.mark.parametrize("told", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGINT])
def test_an_interrupted_demo_leaves_nothing_running_and_the_earlier_output(
    tmp_path: Path, told: signal.Signals
) -> None:
    # Not below pytest's own directory: it is 0700, and as root the servers' account must get through.
    place = Path(tempfile.mkdtemp(prefix="expunge-"))
    place.chmod(0o711)
    output = tmp_path / "out"
    output.mkdir()
    (output / "audit.jsonl").write_text("earlier")
    command = python("-m", "service.cli.main", "demo", "--people", "100", "--output", str(output))
    environment = dict(os.environ) | {"TMPDIR": str(place)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("submitted"):
            break
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 6

    process.send_signal(told)

    rest = process.stdout.read()
    assert process.wait(timeout=90) == 128 + told
    assert f"{output} is as it was before" in rest
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (output / "audit.jsonl").read_text() == "earlier"
    assert [p for p in started if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    # A Celery worker that had to be killed, on a loaded machine, leaves an empty directory of its process pool.
    left = [path for path in place.iterdir() if not (path.name.startswith("pymp-") and not list(path.iterdir()))]
    assert left == []
    shutil.rmtree(place)
