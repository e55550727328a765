"""The Celery application with one mechanism switched off, for showing that the fault tests can fail."""

from __future__ import annotations

import os

from sqlalchemy import TextClause

from service.use_cases import hold_lease, lease_steps
from workers.tasks import control

MUTANT = os.environ["EXPUNGE_TEST_MUTANT"]

if MUTANT == "no_sweeper":
    control.sweep_leases = lambda stores: 0
elif MUTANT == "endless_leases":
    # Every lease and renewal is granted for years: nothing is ever taken back from a dead worker.
    def _endless(module: object) -> None:
        real = module.text  # type: ignore[attr-defined]

        def text(statement: str) -> TextClause:
            clause: TextClause = real(statement.replace("make_interval(secs => :lease)", "interval '9 years'"))
            return clause

        module.text = text  # type: ignore[attr-defined]

    _endless(lease_steps)
    _endless(hold_lease)
elif MUTANT != "no_reject_on_worker_lost":
    raise SystemExit(f"unknown mutant {MUTANT}")

from workers.app import app  # noqa: E402 - after the mutation

if MUTANT == "no_reject_on_worker_lost":
    # Not a safety mechanism here, only a shorter way to recovery: for measuring its effect.
    app.conf.task_reject_on_worker_lost = False

__all__ = ["app"]
