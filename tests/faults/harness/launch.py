"""`python -m tests.faults.harness.launch MODULE ARGUMENTS`: run a process of the service with a test's changes.

What is done stands in the environment; a process without any of it is the product as it is. The clock is changed before
anything else is imported, as everything takes its clock on import.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

SKEW = "EXPUNGE_TEST_SKEW_SECONDS"
FAILPOINTS = "EXPUNGE_TEST_FAILPOINTS"
STOPS = "EXPUNGE_TEST_STOPS"
DUPLICATES = "EXPUNGE_TEST_DUPLICATES"
MUTANT = "EXPUNGE_TEST_MUTANT"


def main() -> None:
    """Change the process, then be the module."""
    if SKEW in os.environ:
        from tests.faults.harness import skewed_clock

        skewed_clock.install(float(os.environ[SKEW]))
    if FAILPOINTS in os.environ:
        from tests.faults.harness import failpoints

        failpoints.install(Path(os.environ[FAILPOINTS]), os.environ[failpoints.ROLE])
    if STOPS in os.environ:
        from tests.faults.harness import failpoints

        failpoints.install_stops(Path(os.environ[STOPS]))
    if DUPLICATES in os.environ:
        from tests.faults.harness import duplicates

        duplicates.install(int(os.environ[DUPLICATES]))
    if MUTANT in os.environ:
        from tests.faults.harness import mutants

        mutants.install(os.environ[MUTANT])
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
