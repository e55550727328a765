"""The transition of a suppression request's step after an opt-out and after it was read back.

Decides what earns `suppressed`, what is repeated and what needs a person. An erasure's own suppression is decided in
`results.py`, because an erasure follows it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from connectors.base.transitions.next_step import accepted, next_step, not_done, withdrawn_step
from connectors.base.transitions.states import (
    LEGAL_HOLD,
    WITHDRAWN,
    Phase,
    StepFacts,
    StepState,
    SystemRules,
    Transition,
)
from connectors.base.values import Answer, AnswerKind

NO_RECORD_FOUND = "no_record_found"
_SHORTEST_POLL = timedelta(seconds=1)


def after_opt_out(facts: StepFacts, answer: Answer, rules: SystemRules, now: datetime) -> Transition:
    """The opting-out call answered. A look of its own has the last word, where the vendor offers one."""
    kind = answer.kind
    touched = facts.effect_possible or kind not in (AnswerKind.NOT_ADDRESSABLE, AnswerKind.ALREADY_ABSENT)
    look_at = now + rules.confirm_after
    if kind is AnswerKind.NOT_ADDRESSABLE and not touched:
        # Nothing can be opted out there, and no person can change that: the step ends with the connector's reason.
        return next_step(facts, StepState.NOT_ADDRESSABLE, reason=answer.reason)
    if facts.withdrawn:
        return withdrawn_step(facts, touched, look_at)
    if kind is AnswerKind.ACCEPTED and answer.resumes:
        if facts.held:
            return next_step(facts, StepState.PARKED, reason=LEGAL_HOLD, effect_possible=touched)
        earliest = now + min(rules.poll_every, _SHORTEST_POLL)
        return accepted(facts, answer, Phase.OPT_OUT, earliest, touched)
    if not rules.reads_suppression:
        if kind is AnswerKind.ALREADY_ABSENT and not touched:
            # Nothing was opted out, and no look can prove that the person isn't there.
            return next_step(facts, StepState.NOT_ADDRESSABLE, reason=NO_RECORD_FOUND)
        return next_step(facts, StepState.SUPPRESSED_UNVERIFIED, effect_possible=touched)
    due_at = max(answer.look_again_at or look_at, look_at)
    return next_step(facts, StepState.DUE, phase=Phase.READ_OPT_OUT, due_at=due_at, effect_possible=touched)


def after_read_opt_out(facts: StepFacts, answer: Answer, rules: SystemRules, now: datetime) -> Transition:
    """Decide about a read opt-out. SUPPRESSED is earned by a look only.

    A vendor that shows the person without the opt-out is called again, and after a few rounds a person must know.
    """
    kind = answer.kind
    if not rules.reads_suppression:
        if facts.withdrawn:
            # The last call may have failed, and no look can say what came of it: nothing is claimed.
            return next_step(facts, StepState.RETAINED, reason=WITHDRAWN)
        return next_step(facts, StepState.SUPPRESSED_UNVERIFIED)
    if kind is AnswerKind.SUPPRESSED:
        return next_step(facts, StepState.SUPPRESSED)
    if kind is AnswerKind.ALREADY_ABSENT:
        return next_step(facts, StepState.ABSENT)
    if kind is AnswerKind.ACCEPTED:
        return accepted(facts, answer, Phase.READ_OPT_OUT, now + rules.poll_every, facts.effect_possible)
    if facts.withdrawn:
        return next_step(facts, StepState.RETAINED, reason=WITHDRAWN)
    if kind is not AnswerKind.NOT_SUPPRESSED:
        return not_done(facts, answer, rules, facts.effect_possible)
    if facts.held:
        return next_step(facts, StepState.PARKED, phase=Phase.OPT_OUT, reason=LEGAL_HOLD)
    if facts.plan_rounds >= rules.max_plan_rounds:
        return next_step(facts, StepState.PARKED, reason=kind.value)
    wait = rules.poll_every * facts.plan_rounds
    rounds = facts.plan_rounds + 1
    return next_step(facts, StepState.DUE, phase=Phase.OPT_OUT, due_at=now + wait, plan_rounds=rounds)
