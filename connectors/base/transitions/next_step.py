"""Build a step's next state from its present one: the forms that several rules share.

Decides which facts stay, and where a withdrawn step goes. Doesn't decide which answer leads to which state.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from connectors.base.transitions.states import (
    WITHDRAWN,
    Phase,
    StepFacts,
    StepState,
    SystemRules,
    Transition,
    look_after,
)
from connectors.base.values import Answer, AnswerKind


def not_done(facts: StepFacts, answer: Answer, rules: SystemRules, touched: bool) -> Transition:
    """Nothing was done: only a person or the system's policy may end such a step."""
    if answer.kind is AnswerKind.NOT_ADDRESSABLE and rules.accept_not_addressable and not touched:
        return next_step(facts, StepState.NOT_ADDRESSABLE, reason=answer.reason)
    reason = answer.kind.value if answer.kind is AnswerKind.NOT_ADDRESSABLE else f"ambiguous:{answer.reason}"
    return next_step(facts, StepState.PARKED, reason=reason, effect_possible=touched, remaining=left_counts(answer))


def accepted(facts: StepFacts, answer: Answer, phase: Phase, earliest: datetime, touched: bool) -> Transition:
    return next_step(
        facts,
        StepState.ACCEPTED,
        phase=phase,
        due_at=max(answer.look_again_at or earliest, earliest),
        effect_possible=touched,
        erased=answer.records,
        remaining=left_counts(answer),
    )


def withdrawn_step(
    facts: StepFacts, touched: bool, look_at: datetime | None, erased: Mapping[str, int] | None = None
) -> Transition:
    """A withdrawn request: a step without an effect ends here, and a possible effect is still verified."""
    if not touched:
        return next_step(facts, StepState.RETAINED, reason=WITHDRAWN)
    state, reason = (StepState.PARKED, WITHDRAWN) if look_at is None else (StepState.DUE, None)
    phase = look_after(facts.phase)
    return next_step(facts, state, phase=phase, due_at=look_at, reason=reason, effect_possible=True, erased=erased)


def left_counts(answer: Answer) -> dict[str, int]:
    counts: dict[str, int] = {}
    for left in answer.left:
        name = f"{left.object}:{left.reason}"
        counts[name] = counts.get(name, 0) + 1
    return counts


def next_step(
    facts: StepFacts,
    state: StepState,
    *,
    phase: Phase | None = None,
    due_at: datetime | None = None,
    reason: str | None = None,
    consecutive_attempts: int = 0,
    plan_rounds: int | None = None,
    effect_possible: bool | None = None,
    erased: Mapping[str, int] | None = None,
    remaining: Mapping[str, int] | None = None,
    retained: str | None = None,
) -> Transition:
    return Transition(
        state=state,
        phase=phase or facts.phase,
        due_at=due_at,
        reason=reason,
        consecutive_attempts=consecutive_attempts,
        plan_rounds=facts.plan_rounds if plan_rounds is None else plan_rounds,
        effect_possible=facts.effect_possible if effect_possible is None else effect_possible,
        erased=dict(erased or {}),
        remaining=dict(remaining or {}),
        retained=retained or facts.retained,
    )
