"""The transition of a step after a connector's answer, error or search.

Decides what earns `absent` and `erased_verified`, what is repeated and what needs a person. Doesn't decide when an
error is tried again (the retry policy does) and changes no row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from connectors.base.errors import ConnectorError, RequestRefused
from connectors.base.transitions.next_step import accepted, left_counts, next_step, not_done, withdrawn_step
from connectors.base.transitions.opt_outs import after_opt_out, after_read_opt_out
from connectors.base.transitions.states import (
    EARLIER_SYSTEM,
    EFFECT_PHASES,
    LASTING_EFFECT_PHASES,
    LEGAL_HOLD,
    LOOK_PHASES,
    WITHDRAWN,
    Phase,
    Retry,
    StepFacts,
    StepState,
    SystemRules,
    Transition,
)
from connectors.base.values import Answer, AnswerKind, Located

# How often a system is looked at that an earlier one may still feed. The earlier one's end brings the look forward.
_LOOK_WHILE_FED = timedelta(minutes=15)
UNADDRESSABLE = "not_addressable"
_SHORTEST_POLL = timedelta(seconds=1)
_OWES_A_LOOK = frozenset({AnswerKind.ERASED, AnswerKind.ALREADY_ABSENT, AnswerKind.RETAINED})


def first_phase(rules: SystemRules, *, found: bool) -> Phase:
    """The phase of a step whose plan was just frozen.

    Nothing is erased if a search found nothing. Where the vendor offers no look, a search proves nothing, and where
    the connector doesn't search first, nothing is known.
    """
    if rules.suppresses:
        return Phase.SUPPRESS
    return Phase.ERASE if rules.may_have_something(found=found) else Phase.CONFIRM


def after_result(
    facts: StepFacts,
    result: Answer | Located | ConnectorError,
    rules: SystemRules,
    now: datetime,
    *,
    retry: Retry | None = None,
    has_records: bool = False,
) -> Transition:
    """Return the transition that a result of the step's own phase causes.

    `retry`: the retry policy's answer for an error; without one the step parks. `has_records`: the plan or an earlier
    search holds records of this system.
    """
    if isinstance(result, ConnectorError):
        refused = isinstance(result, RequestRefused) and result.code == UNADDRESSABLE
        if refused and facts.phase is Phase.LOCATE:
            return after_unaddressable_search(facts, rules)
        policy = retry or Retry(reason=result.code)
        return after_error(facts, result, policy, look_at=now + rules.confirm_after)
    if isinstance(result, Located):
        return after_locate(facts, result, rules, now)
    if facts.phase is Phase.OPT_OUT:
        return after_opt_out(facts, result, rules, now)
    if facts.phase is Phase.READ_OPT_OUT:
        return after_read_opt_out(facts, result, rules, now)
    if facts.phase is Phase.SUPPRESS:
        return after_suppress(facts, result, rules, now, found=rules.may_have_something(found=has_records))
    if facts.phase is Phase.CONFIRM:
        return after_confirm(facts, result, rules, now)
    return after_erase(facts, result, rules, now)


def after_error(
    facts: StepFacts, error: ConnectorError, retry: Retry, *, look_at: datetime | None = None
) -> Transition:
    """The step is tried again or parks, as the retry policy said.

    An error in `erase` or `opt_out` may have had an effect.

    `look_at`: before then no look may count, since the vendor takes its time.
    """
    touched = facts.effect_possible or facts.phase in LASTING_EFFECT_PHASES
    if facts.withdrawn and facts.phase not in LOOK_PHASES - {Phase.LOCATE}:
        later = retry.due_at if retry.due_at is None or look_at is None else max(retry.due_at, look_at)
        return withdrawn_step(facts, touched, later)
    if facts.held and facts.phase in EFFECT_PHASES:
        return next_step(facts, StepState.PARKED, reason=LEGAL_HOLD, effect_possible=touched)
    if retry.due_at is None:
        return next_step(facts, StepState.PARKED, reason=retry.reason or error.code, effect_possible=touched)
    consecutive_attempts = facts.consecutive_attempts if retry.is_attempt else max(facts.consecutive_attempts - 1, 0)
    return next_step(
        facts, StepState.DUE, due_at=retry.due_at, consecutive_attempts=consecutive_attempts, effect_possible=touched
    )


def after_locate(
    facts: StepFacts, found: Located, rules: SystemRules, now: datetime, *, adds_to_plan: bool = False
) -> Transition:
    """The step waits for its plan after a search, or goes on.

    It waits for the first plan, for the next version if the search adds to the frozen one, or for the approval of the
    frozen one.
    """
    if facts.withdrawn:
        return withdrawn_step(facts, facts.effect_possible, now)
    if not facts.frozen or adds_to_plan or facts.awaiting_approval:
        return next_step(facts, StepState.WAITING)
    phase = Phase.CONFIRM if found.is_empty and rules.can_confirm else Phase.ERASE
    if facts.plan_rounds == 0:
        phase = first_phase(rules, found=not found.is_empty)
    if facts.held and phase is not Phase.CONFIRM:
        return next_step(facts, StepState.PARKED, phase=phase, reason=LEGAL_HOLD)
    return next_step(facts, StepState.DUE, phase=phase, due_at=now)


def after_unaddressable_search(facts: StepFacts, rules: SystemRules) -> Transition:
    """The step isn't absent, because the system understands none of the identifiers."""
    if facts.withdrawn:
        return withdrawn_step(facts, facts.effect_possible, None)
    return not_done(facts, Answer.not_addressable(), rules, facts.effect_possible)


def after_suppress(facts: StepFacts, answer: Answer, rules: SystemRules, now: datetime, *, found: bool) -> Transition:
    """Return the erasure or look that follows a suppression, or the suppression again if it resumes.

    A suppression that resumes isn't in force yet: the connector is called again with its token before anything is
    erased, because the vendor could re-create the person meanwhile.
    """
    if facts.withdrawn:
        return withdrawn_step(facts, facts.effect_possible, now)
    if facts.held:
        return next_step(facts, StepState.PARKED, reason=LEGAL_HOLD)
    if answer.kind is AnswerKind.ACCEPTED and answer.resumes:
        earliest = now + min(rules.poll_every, _SHORTEST_POLL)
        return next_step(facts, StepState.ACCEPTED, due_at=max(answer.look_again_at or earliest, earliest))
    return next_step(facts, StepState.DUE, phase=Phase.ERASE if found else Phase.CONFIRM, due_at=now)


def after_erase(facts: StepFacts, answer: Answer, rules: SystemRules, now: datetime) -> Transition:
    """The erasing call answered. Whatever it says, a look of its own has the last word."""
    kind = answer.kind
    no_effect = kind in (AnswerKind.ALREADY_ABSENT, AnswerKind.NOT_ADDRESSABLE, AnswerKind.AMBIGUOUS) or (
        kind in (AnswerKind.PARTIAL, AnswerKind.RETAINED) and not answer.records
    )
    touched = facts.effect_possible or not no_effect
    look_at = now + rules.confirm_after
    if kind is AnswerKind.ERASED and not rules.can_confirm:
        return next_step(facts, StepState.ERASED_UNVERIFIED, effect_possible=True, erased=answer.records)
    if kind in _OWES_A_LOOK:
        return next_step(
            facts,
            StepState.DUE,
            phase=Phase.CONFIRM,
            due_at=look_at,
            effect_possible=touched,
            erased=answer.records,
            remaining=left_counts(answer),
            retained=(answer.reason or "policy") if kind is AnswerKind.RETAINED else None,
        )
    if kind is AnswerKind.ACCEPTED:
        if answer.resumes and facts.held and not facts.withdrawn:
            return next_step(facts, StepState.PARKED, reason=LEGAL_HOLD, effect_possible=touched, erased=answer.records)
        phase = Phase.ERASE if answer.resumes and not facts.withdrawn else Phase.CONFIRM
        earliest = now + (rules.poll_every if phase is Phase.CONFIRM else min(rules.poll_every, _SHORTEST_POLL))
        return accepted(facts, answer, phase, max(earliest, look_at) if facts.withdrawn else earliest, touched)
    if facts.withdrawn:
        return withdrawn_step(facts, touched, look_at, answer.records)
    if facts.held:
        return next_step(facts, StepState.PARKED, reason=LEGAL_HOLD, effect_possible=touched, erased=answer.records)
    if kind is AnswerKind.PARTIAL:
        return _partial(facts, answer, rules, now, touched)
    return not_done(facts, answer, rules, touched)


def looks_at_once(rules: SystemRules) -> bool:
    """True if a look may follow the erasing call at once: the vendor offers one and needs no delay."""
    return rules.can_confirm and not rules.confirm_after


def is_worth_a_look(answer: Answer) -> bool:
    """True if the erasing call said that nothing more is to be done, so that only a look is owed."""
    return answer.kind in _OWES_A_LOOK


def after_look(facts: StepFacts, erased: Transition, look: Answer, rules: SystemRules, now: datetime) -> Transition:
    """The transition after an erasing call and a look in one lease; `erased` is the first one's.

    It counts only where a look of its own would be due by now.
    """
    if not looks_at_once(rules) or (erased.state, erased.phase) != (StepState.DUE, Phase.CONFIRM):
        return erased
    between = replace(
        facts,
        phase=Phase.CONFIRM,
        plan_rounds=erased.plan_rounds,
        effect_possible=erased.effect_possible,
        retained=erased.retained,
    )
    looked = after_confirm(between, look, rules, now)
    return replace(looked, erased=erased.erased, remaining=remaining_counts(erased.remaining, looked))


def remaining_counts(before: Mapping[str, int], to: Transition) -> dict[str, int]:
    """Return the counts that remain after a transition, by object and reason; `before`: those until then.

    A record that the erasing call kept on purpose stays named beside the findings of a look, because a look finds by
    identifiers and a kept record may have none of them left.
    """
    if to.retained is None:
        return dict(to.remaining)
    return {name: max(before.get(name, 0), to.remaining.get(name, 0)) for name in {*before, *to.remaining}}


def after_confirm(facts: StepFacts, answer: Answer, rules: SystemRules, now: datetime) -> Transition:
    """Decide about a look that answered under a credential that proved its visibility in the same pass.

    Where the connector declares that there is no way to look, no look is made, and nothing is ever called verified.
    """
    kind = answer.kind
    if not rules.can_confirm:
        return _unverified(facts)
    if kind is AnswerKind.ALREADY_ABSENT:
        if facts.must_wait:
            # An earlier system may still feed this one: the end waits, and the look is repeated.
            return next_step(facts, StepState.ACCEPTED, due_at=now + _LOOK_WHILE_FED, reason=EARLIER_SYSTEM)
        if facts.retained is not None:
            # The erasing call kept something on purpose: that nothing else is left doesn't make it erased.
            return next_step(facts, StepState.RETAINED, reason=facts.retained)
        state = StepState.ERASED_VERIFIED if facts.effect_possible else StepState.ABSENT
        return next_step(facts, state)
    if kind is AnswerKind.ACCEPTED:
        return accepted(facts, answer, Phase.CONFIRM, now + rules.poll_every, facts.effect_possible)
    if facts.withdrawn:
        return next_step(facts, StepState.RETAINED, reason=WITHDRAWN, remaining=left_counts(answer))
    if kind is AnswerKind.RETAINED:
        return next_step(facts, StepState.RETAINED, reason=answer.reason or "policy", remaining=left_counts(answer))
    if kind is AnswerKind.PARTIAL:
        if facts.held:
            return next_step(
                facts, StepState.PARKED, phase=Phase.ERASE, reason=LEGAL_HOLD, remaining=left_counts(answer)
            )
        return _partial(facts, answer, rules, now, facts.effect_possible)
    return not_done(facts, answer, rules, facts.effect_possible)


def _unverified(facts: StepFacts) -> Transition:
    if facts.withdrawn and not facts.effect_possible:
        return next_step(facts, StepState.RETAINED, reason=WITHDRAWN)
    if facts.retained is not None:
        return next_step(facts, StepState.RETAINED, reason=facts.retained)
    return next_step(facts, StepState.ERASED_UNVERIFIED)


def _partial(facts: StepFacts, answer: Answer, rules: SystemRules, now: datetime, touched: bool) -> Transition:
    """Something is left: plan what is new, erase again what is known, and stop after a few rounds."""
    reason = None
    if facts.plan_rounds >= rules.max_plan_rounds:
        reason = "found_again" if answer.found else (answer.reason or "still_there")
    elif answer.found is None and facts.phase is Phase.ERASE:
        reason = answer.reason
    if reason is not None:
        return next_step(
            facts,
            StepState.PARKED,
            reason=reason,
            effect_possible=touched,
            erased=answer.records,
            remaining=left_counts(answer),
        )
    # A person who is erased by identifiers alone has nothing to plan anew: the identifiers are sent once more.
    again = Phase.LOCATE if answer.found is not None and rules.searches_first else Phase.ERASE
    wait = timedelta(0) if facts.phase is Phase.ERASE else rules.poll_every * facts.plan_rounds
    return next_step(
        facts,
        StepState.DUE,
        phase=again,
        due_at=now + wait,
        plan_rounds=facts.plan_rounds + 1,
        effect_possible=touched,
        erased=answer.records,
        remaining=left_counts(answer),
    )
