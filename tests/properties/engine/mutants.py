"""Mechanisms of the product switched off, one at a time: the machine must notice each of them.

A mutant replaces one function where the product looks it up. What it takes away stands in its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from connectors.base.values import Answer, AnswerKind
from service.domain.outcomes import Next, StepFacts, StepState, SystemRules
from service.use_cases import freeze_plan as freezing
from service.use_cases import (
    guard_lease,
    lease_steps,
    move_steps,
    place_answers,
    record_answers,
    sweep_leases,
    system_rules,
)
from service.use_cases.lease_steps import LeasedBatch
from workers import held_lease

Mutant = Callable[[pytest.MonkeyPatch], None]


def fence_off(patch: pytest.MonkeyPatch) -> None:
    """Whoever comes late writes all the same."""
    patch.setattr(record_answers._Recording, "holds_fence", lambda self: True)


def sweeper_off(patch: pytest.MonkeyPatch) -> None:
    """Nobody comes back for what a dead process had leased."""
    patch.setattr(sweep_leases, "_free_expired", lambda connection, limit: 0)


def hold_ignored_at_lease(patch: pytest.MonkeyPatch) -> None:
    """The last look before a call doesn't ask for holds."""
    patch.setattr(guard_lease, "held_requests", lambda connection, ids: set())


def hold_ignored_at_renewal(patch: pytest.MonkeyPatch) -> None:
    """A renewal brings no holds and no withdrawals."""
    renew = held_lease.renew_lease
    patch.setattr(held_lease, "renew_lease", lambda *args: renew(*args) and frozenset())


def approval_ignored_at_freeze(patch: pytest.MonkeyPatch) -> None:
    """However far a plan reaches, nobody is asked."""
    patch.setattr(freezing, "needs_approval", lambda radius, rules: ())


def approval_ignored_at_lease(patch: pytest.MonkeyPatch) -> None:
    """A step whose plan grew goes on under the old approval."""
    stopped = guard_lease._stopped
    patch.setattr(guard_lease, "_stopped", lambda connection, steps: (stopped(connection, steps)[0], set()))


def confirm_skipped(patch: pytest.MonkeyPatch) -> None:
    """What the vendor calls erased is called verified."""
    rule = place_answers.after_erase

    def after_erase(facts: StepFacts, answer: Answer, rules: SystemRules, now: Any) -> Next:
        move = rule(facts, answer, rules, now)
        if answer.kind is AnswerKind.ERASED and rules.can_confirm:
            return replace(move, state=StepState.ERASED_VERIFIED, due_at=None)
        return move

    patch.setattr(place_answers, "after_erase", after_erase)


def delay_ignored(patch: pytest.MonkeyPatch) -> None:
    """A look counts at once, while the vendor's search still hides what it has."""

    def rules_of(settings: Any, system: str) -> SystemRules:
        return replace(system_rules.rules_of(settings, system), confirm_after=timedelta(0))

    patch.setattr(record_answers, "rules_of", rules_of)
    patch.setattr(guard_lease, "rules_of", rules_of)


def attempt_after_call(patch: pytest.MonkeyPatch) -> None:
    """Nothing is on record when the vendor is called."""
    patch.setattr(lease_steps, "_write_attempts", lambda *args: None)


def token_forgotten(patch: pytest.MonkeyPatch) -> None:
    """The connector's token is not stored."""
    patch.setattr(held_lease, "save_resume_token", lambda *args: None)


def nobody_asked_to_look(patch: pytest.MonkeyPatch) -> None:
    """When a step has moved, nobody looks whether the request is done."""
    patch.setattr(record_answers, "ask_to_look", lambda connection, moves: None)


def parked_without_entry(patch: pytest.MonkeyPatch) -> None:
    """Parking changes the row and logs nothing."""
    patch.setattr(move_steps, "log_changes", lambda *args, **named: {})


def suppression_forgotten(patch: pytest.MonkeyPatch) -> None:
    """The frozen identifiers don't go on the list."""
    written = freezing._PLAN_IDENTIFIERS.text
    without = written.replace(" FROM planned ON CONFLICT", " FROM planned WHERE false ON CONFLICT")
    assert without != written
    patch.setattr(freezing, "_PLAN_IDENTIFIERS", text(without))


def belief_from_the_first_effect(patch: pytest.MonkeyPatch) -> None:
    """A process that slept believes in its lease as if it had just got it."""
    begin = held_lease.HeldLease.__init__

    def begin_late(self: held_lease.HeldLease, stores: Any, settings: Any, leased: LeasedBatch) -> None:
        begin(self, stores, settings, replace(leased, asked_at=held_lease.time.monotonic()))

    patch.setattr(held_lease.HeldLease, "__init__", begin_late)


_STOPPING = frozenset({"begin_pass", "go_on", "wait", "kill"})
_LATE = frozenset({"begin_pass", "go_on", "wait", "deliver_again"})
_HOLDING = frozenset({"hold", "lift", "resolve", "begin_pass", "go_on"})
_APPROVING = frozenset({"approve", "come_again", "resolve"})
MUTANTS: dict[str, tuple[Mutant, frozenset[str]]] = {
    mutant.__name__: (mutant, focus)
    for mutant, focus in (
        (fence_off, _LATE),
        (sweeper_off, _STOPPING),
        (belief_from_the_first_effect, _STOPPING),
        (hold_ignored_at_lease, _HOLDING),
        (hold_ignored_at_renewal, _HOLDING | {"renew", "wait"}),
        (approval_ignored_at_freeze, _APPROVING),
        (approval_ignored_at_lease, _APPROVING),
        (confirm_skipped, frozenset({"resolve"})),
        (delay_ignored, frozenset({"resolve"})),
        (attempt_after_call, _STOPPING),
        (token_forgotten, _STOPPING),
        (nobody_asked_to_look, frozenset({"resolve"})),
        (parked_without_entry, frozenset({"configure"})),
        (suppression_forgotten, frozenset({"resolve"})),
    )
}
"""Each with the acts, beside the needed ones, that are likeliest to show it: so that few runs suffice."""
