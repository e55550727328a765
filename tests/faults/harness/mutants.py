"""Mechanisms that can be switched off in a process, for showing that the fault tests can fail."""

from __future__ import annotations

from typing import Any


def install(name: str) -> None:
    """Switch one off. Raises KeyError for an unknown name."""
    _MUTANTS[name]()


def _no_sweeper() -> None:
    from workers.tasks import control

    control.sweep_leases = lambda stores: 0


def _endless_leases() -> None:
    """Every lease and renewal is granted for years: nothing is ever taken back from a dead worker."""
    from service.execution import batches
    from service.execution import lease as lease_steps

    append, renew = lease_steps.append_with, batches.renew
    years = 9 * 365 * 86400.0

    def endless(connection: Any, entries: Any, statement: Any, values: Any) -> None:
        assert "seconds" in values
        append(connection, entries, statement, values | {"seconds": years})

    lease_steps.append_with = endless
    batches.renew = lambda connection, batch_id, fence, seconds: renew(connection, batch_id, fence, years)


def _no_fence() -> None:
    """A late answer counts as if it came in time."""
    from service.execution import record as record_answers

    record_answers._Recording.holds_fence = lambda self: True  # type: ignore[method-assign]


def _attempt_after_the_call() -> None:
    """The attempt is written when its answer is recorded."""
    from service.execution import lease as lease_steps
    from service.execution import record as record_answers

    write, real = lease_steps.begin_attempts, record_answers.end_attempts
    pending: list[Any] = []
    lease_steps.begin_attempts = lambda connection, *begun: pending.append(begun)

    def write_and_end(connection: Any, fence: int, steps: Any, *args: Any, **named: Any) -> None:
        ids = {step.step_id for step in steps}
        for begun in [each for each in pending if ids & each[3].keys()]:
            pending.remove(begun)
            write(connection, *begun)
        real(connection, fence, steps, *args, **named)

    record_answers.end_attempts = write_and_end


def _token_forgotten() -> None:
    """What a process before us saved isn't given to the connector."""
    from service.execution.heartbeat import HeldLease

    HeldLease.resume_token = property(lambda self: None)  # type: ignore[assignment,misc]


def _no_rate_gate() -> None:
    """Whoever wants to call may call."""
    from service.execution.systems.rate_limiter import RateGate
    from service.execution.systems.rate_windows import Permits

    RateGate.take = lambda self, system, limits, wanted=1: Permits(wanted, 0.0)  # type: ignore[method-assign]
    RateGate.room = lambda self, system, limits, needed, horizon_seconds: Permits(needed, 0.0)  # type: ignore[method-assign]


def _no_reject_on_worker_lost() -> None:
    """Not a safety mechanism, only a shorter way to recovery: for measuring its effect."""
    from workers.app import app

    app.conf.task_reject_on_worker_lost = False


_MUTANTS = {
    "no_sweeper": _no_sweeper,
    "endless_leases": _endless_leases,
    "no_fence": _no_fence,
    "attempt_after_the_call": _attempt_after_the_call,
    "token_forgotten": _token_forgotten,
    "no_rate_gate": _no_rate_gate,
    "no_reject_on_worker_lost": _no_reject_on_worker_lost,
}
