"""Mechanisms of the product switched off, one at a time: the machine must notice each of them.

A mutant replaces one function where the product looks it up. What it takes away stands in its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, delete

from connectors.base.transitions import results as outcomes
from connectors.base.transitions.results import is_worth_a_look, looks_at_once
from connectors.base.transitions.states import Phase, StepFacts, StepState, SystemRules, Transition
from connectors.base.values import Answer, AnswerKind
from service import system_rules
from service.domain.execution import decide as step_rule
from service.execution import expire_leases as sweep_leases
from service.execution import heartbeat, run_batch
from service.execution import lease as guard_lease
from service.execution import lease as lease_steps
from service.execution import record as record_answers
from service.execution.lease import LeasedBatch
from service.requests.identity import resolve as settle_identity
from service.requests.identity import review as review_request
from service.requests.planning import freeze as freezing
from service.requests.steps import store as step_store
from service.store.execute import execute
from service.store.tables.requests import SuppressionRow
from service.system_rules import rules_of
from tests.properties.engine.machine import Focus
from tests.properties.engine.moods import Mood

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
    renew = heartbeat.renew_lease
    patch.setattr(heartbeat, "renew_lease", lambda *args: renew(*args) and frozenset())


def approval_ignored_at_freeze(patch: pytest.MonkeyPatch) -> None:
    """However far a plan reaches, nobody is asked."""
    patch.setattr(freezing, "needs_approval", lambda *given, **named: ())


def kept_by_one_person(patch: pytest.MonkeyPatch) -> None:
    """A reviewer goes on with two customers in one cluster, and no second person is asked."""
    patch.setattr(settle_identity, "reasons_of", lambda doubts: frozenset())
    patch.setattr(review_request, "second_person_for", lambda decided, dropped: frozenset())


def approval_ignored_at_lease(patch: pytest.MonkeyPatch) -> None:
    """A step that is searched late goes on without waiting for its plan's approval, and the lease doesn't ask for it.

    Both: while the rule of searches stands, no step comes to the lease unapproved; else the lease stops it.
    """
    rule = step_rule.after_locate

    def after_locate(facts: StepFacts, *given: Any, **named: Any) -> Transition:
        return rule(replace(facts, awaiting_approval=False), *given, **named)

    patch.setattr(step_rule, "after_locate", after_locate)
    stopped = guard_lease._stopped
    patch.setattr(guard_lease, "_stopped", lambda connection, steps: (stopped(connection, steps)[0], set()))


def confirm_skipped(patch: pytest.MonkeyPatch) -> None:
    """What the vendor calls erased is called verified."""
    rule = outcomes.after_erase

    def after_erase(facts: StepFacts, answer: Answer, rules: SystemRules, now: Any) -> Transition:
        move = rule(facts, answer, rules, now)
        if answer.kind is AnswerKind.ERASED and rules.can_confirm:
            return replace(move, state=StepState.ERASED_VERIFIED, due_at=None)
        return move

    patch.setattr(outcomes, "after_erase", after_erase)


def delay_ignored(patch: pytest.MonkeyPatch) -> None:
    """A look counts at once, while the vendor's search still hides what it has."""

    def rules_of(settings: Any, system: str) -> SystemRules:
        return replace(system_rules.rules_of(settings, system), confirm_after=timedelta(0))

    patch.setattr(record_answers, "rules_of", rules_of)
    patch.setattr(guard_lease, "rules_of", rules_of)


def attempt_after_call(patch: pytest.MonkeyPatch) -> None:
    """Nothing is on record when the vendor is called."""
    patch.setattr(lease_steps, "begin_attempts", lambda *args: None)


def token_forgotten(patch: pytest.MonkeyPatch) -> None:
    """The connector's token is not stored."""
    patch.setattr(heartbeat, "save_resume_token", lambda *args: None)


def nobody_asked_to_look(patch: pytest.MonkeyPatch) -> None:
    """When a step has moved, nobody looks whether the request is done."""
    patch.setattr(record_answers, "ask_to_look", lambda *given: None)


def parked_without_entry(patch: pytest.MonkeyPatch) -> None:
    """Parking changes the row and logs nothing."""
    logged = step_store.append_with

    def append_with(connection: Any, entries: Any, statement: Any, values: Any) -> Any:
        if all(entry.event == "step_parked" for entry in entries):
            return execute(connection, statement, values)
        return logged(connection, entries, statement, values)

    patch.setattr(step_store, "append_with", append_with)


def suppression_forgotten(patch: pytest.MonkeyPatch) -> None:
    """The frozen identifiers don't go on the list."""
    put_into_plan = freezing.plan_identifiers

    def plan_identifiers(connection: Connection, versions: Mapping[UUID, int], scopes: Any, now: Any) -> Any:
        planned, _ = put_into_plan(connection, versions, scopes, now)
        connection.execute(delete(SuppressionRow).where(SuppressionRow.request_id.in_(versions)))
        return planned, Counter()

    patch.setattr(freezing, "plan_identifiers", plan_identifiers)


def belief_from_the_first_effect(patch: pytest.MonkeyPatch) -> None:
    """A process that slept believes in its lease as if it had just got it."""
    begin = heartbeat.HeldLease.__init__

    def begin_late(self: heartbeat.HeldLease, stores: Any, settings: Any, leased: LeasedBatch) -> None:
        begin(self, stores, settings, replace(leased, asked_at=heartbeat.time.monotonic()))

    patch.setattr(heartbeat.HeldLease, "__init__", begin_late)


def erased_is_proof_at_once(patch: pytest.MonkeyPatch) -> None:
    """Where the look follows in the same pass, nobody looks: the erasing call's word is taken for what was seen."""

    def look_at_once(runtime: Any, connector: Any, leased: LeasedBatch, results: Any) -> dict[str, Answer]:
        if leased.phase is not Phase.ERASE or not looks_at_once(rules_of(runtime.settings, leased.system)):
            return {}
        done = [ref for ref, said in results.items() if isinstance(said, Answer) and is_worth_a_look(said)]
        return dict.fromkeys(done, Answer.already_absent())

    patch.setattr(run_batch, "verify_at_once", look_at_once)


def finds_at_once_ignored(patch: pytest.MonkeyPatch) -> None:
    """A look that follows in the same pass counts as absence, also where it found something."""
    rule = step_rule.after_look

    def after_look(facts: StepFacts, erased: Transition, look: Answer, rules: SystemRules, now: Any) -> Transition:
        blind = Answer.already_absent() if look.kind is AnswerKind.PARTIAL else look
        return rule(facts, erased, blind, rules, now)

    patch.setattr(step_rule, "after_look", after_look)


def suppression_job_forgotten(patch: pytest.MonkeyPatch) -> None:
    """The erasure begins while the vendor's suppression job still runs."""
    rule = outcomes.after_suppress

    def after_suppress(facts: StepFacts, answer: Answer, *given: Any, **named: Any) -> Transition:
        return rule(facts, replace(answer, resumes=False), *given, **named)

    patch.setattr(outcomes, "after_suppress", after_suppress)


def delay_ignored_at_once(patch: pytest.MonkeyPatch) -> None:
    """The look follows the erasing call at once where the vendor needs time, too."""
    for module in (run_batch, outcomes, system_rules):
        patch.setattr(module, "looks_at_once", lambda rules: rules.can_confirm)


_STOPPING = frozenset({"begin_pass", "go_on", "wait", "kill"})
_LATE = frozenset({"begin_pass", "go_on", "outlive_lease", "deliver_again"})
_SLEEPING = frozenset({"begin_pass", "go_on", "outlive_lease"})
_HOLDING = frozenset({"hold", "lift", "resolve", "begin_pass", "go_on"})
_APPROVING = frozenset({"approve", "come_again", "resolve"})
_RESOLVING = frozenset({"resolve"})
_AT_ONCE = frozenset({"by_records_at_once", "told_at_once"})
_WITH_DELAY = frozenset({"by_records", "by_identifiers"})
_BUSY = frozenset({Mood.BUSY, Mood.BUSY_FOR_LONG})
_LYING = frozenset({Mood.LIES, Mood.LIES_ABSENT})
MUTANTS: dict[str, tuple[Mutant, Focus]] = {
    mutant.__name__: (mutant, focus)
    for mutant, focus in (
        (fence_off, Focus(_LATE)),
        (sweeper_off, Focus(_STOPPING)),
        (belief_from_the_first_effect, Focus(_SLEEPING)),
        (hold_ignored_at_lease, Focus(_HOLDING)),
        (hold_ignored_at_renewal, Focus(frozenset({"begin_pass", "stop_somebody", "take_long", "go_on"}))),
        (approval_ignored_at_freeze, Focus(_APPROVING)),
        (kept_by_one_person, Focus(frozenset({"review"}))),
        (approval_ignored_at_lease, Focus(frozenset({"wait"}), _WITH_DELAY, _BUSY, always_approve=True)),
        (confirm_skipped, Focus(_RESOLVING, _WITH_DELAY)),
        (delay_ignored, Focus(_RESOLVING, _WITH_DELAY)),
        (erased_is_proof_at_once, Focus(_RESOLVING, _AT_ONCE)),
        (finds_at_once_ignored, Focus(_RESOLVING, _AT_ONCE, _LYING)),
        (delay_ignored_at_once, Focus(_RESOLVING, _WITH_DELAY)),
        (attempt_after_call, Focus(_STOPPING)),
        (token_forgotten, Focus(_STOPPING, moods=frozenset({Mood.JOB, Mood.LOST}))),
        (nobody_asked_to_look, Focus(_RESOLVING)),
        (parked_without_entry, Focus(frozenset({"configure", "hold"}))),
        (suppression_forgotten, Focus(_RESOLVING)),
        (suppression_job_forgotten, Focus(_RESOLVING, _WITH_DELAY, frozenset({Mood.JOB}))),
    )
}
"""Each with the acts, kinds and moods that are likeliest to show it: so that few runs suffice."""
