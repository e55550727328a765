"""`make setup` says which step runs, and nothing when nothing is to do; `make coverage` fails where a test fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Takes the place of Python, pip and uv: the test is about the Makefile's own words, not about an installation.
_STAND_IN = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p .venv/bin && cp "$0" .venv/bin/python && cp "$0" .venv/bin/uv
fi
case "$*" in *"$FAILING"*) exit 1;; esac
case "$*" in *--compile-bytecode*) [ "$UV_COMPILE_BYTECODE_TIMEOUT" -ge 300 ] || exit 1;; esac
exit 0
"""


def run_setup(place: Path, failing: str = "nothing at all") -> subprocess.CompletedProcess[str]:
    python = place / "python"
    python.write_text(_STAND_IN)
    python.chmod(0o755)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        if not (place / name).exists():
            shutil.copy2(ROOT / name, place / name)
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "FAILING": failing}
    command = ["make", "--no-print-directory", "setup", f"PYTHON={python}"]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def test_setup_names_each_step_before_it_runs(tmp_path: Path) -> None:
    done = run_setup(tmp_path)

    assert done.returncode == 0, done.stderr
    steps = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert steps == ["setup 1/4", "setup 2/4", "setup 3/4", "setup 4/4", "setup"]


def test_a_second_setup_prints_nothing(tmp_path: Path) -> None:
    run_setup(tmp_path)

    done = run_setup(tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("failing", "last"), [("-m pip install", "setup 2/4"), ("compileall", "setup 4/4")])
def test_a_setup_that_fails_ends_at_the_step_it_named(tmp_path: Path, failing: str, last: str) -> None:
    done = run_setup(tmp_path, failing)

    assert done.returncode != 0
    assert done.stdout.splitlines()[-1].startswith(last)
    assert run_setup(tmp_path).returncode == 0


# Takes the place of coverage: a run writes data, and ends as FAILING says; every later call needs the run's data.
_COVERAGE = """#!/bin/sh
echo "$1" >> calls
case "$1" in
    run) echo measured > "$COVERAGE_PLACE/data"; exit "$FAILING";;
    *) [ -f "$COVERAGE_PLACE/data" ];;
esac
"""


def run_coverage(place: Path, tests_end_with: int) -> subprocess.CompletedProcess[str]:
    run_setup(place)
    coverage = place / ".venv" / "bin" / "coverage"
    coverage.write_text(_COVERAGE)
    coverage.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "FAILING": str(tests_end_with)}
    command = ["make", "--no-print-directory", "coverage", f"PYTHON={place / 'python'}"]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def test_coverage_fails_after_its_report_if_a_test_fails(tmp_path: Path) -> None:
    done = run_coverage(tmp_path, tests_end_with=1)

    assert done.returncode != 0
    assert (tmp_path / "calls").read_text().split() == ["run", "combine", "json", "report"]
    assert done.stdout.splitlines()[-1] == "coverage: some tests failed"


def test_a_second_run_of_coverage_keeps_the_data_of_the_first(tmp_path: Path) -> None:
    runs = [run_coverage(tmp_path, tests_end_with=0) for _ in range(2)]

    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    places = [run.stdout.splitlines()[-1].removeprefix("coverage: data and coverage.json are in ") for run in runs]
    assert places[0] != places[1]
    assert [(tmp_path / place / "data").read_text() for place in places] == ["measured\n", "measured\n"]
