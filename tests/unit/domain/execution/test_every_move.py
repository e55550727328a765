"""Properties of the transition after any answer, for every combination of facts."""

from __future__ import annotations

from hypothesis import given

from connectors.base.errors import ConnectorError
from connectors.base.transitions.results import (
    after_error,
)
from connectors.base.transitions.states import (
    LEGAL_HOLD,
    WITHDRAWN,
    Phase,
    Retry,
    StepFacts,
    StepState,
    Transition,
)
from connectors.base.values import Answer, AnswerKind
from tests.unit.domain.execution.any_move import (
    EFFECTS,
    NOW,
    SAID_DONE,
    errors,
    facts_in,
    moves,
    retries,
)


@given(moves())
def test_an_outcome_called_done_was_verified_by_a_look(case: tuple[StepFacts, Transition, Answer]) -> None:
    facts, move, result = case
    looked = facts.phase in (Phase.CONFIRM, Phase.READ_OPT_OUT)
    looked = looked and getattr(result, "kind", None) is AnswerKind.ALREADY_ABSENT
    read_back = facts.phase is Phase.READ_OPT_OUT
    if move.state is StepState.ERASED_VERIFIED:
        assert looked
        assert not read_back
        assert facts.effect_possible
    if move.state is StepState.ABSENT:
        assert looked
        assert read_back or not facts.effect_possible
    if move.state in (StepState.ERASED_VERIFIED, StepState.ABSENT) and not read_back:
        assert not facts.must_wait
    if move.state is StepState.ERASED_UNVERIFIED:
        said_erased = facts.phase is Phase.ERASE and result.kind is AnswerKind.ERASED
        assert said_erased or (facts.phase is Phase.CONFIRM and result.reason == "no_way_to_look")
    if move.state is StepState.SUPPRESSED:
        assert read_back
        assert result.kind is AnswerKind.SUPPRESSED
    if move.state is StepState.SUPPRESSED_UNVERIFIED:
        said_done = facts.phase is Phase.OPT_OUT and (facts.effect_possible or result.kind in SAID_DONE)
        assert said_done or (read_back and result.reason == "no_way_to_look" and not facts.withdrawn)
    assert move.state is not StepState.UNRESOLVED


@given(moves())
def test_nothing_begins_under_a_hold_or_after_a_withdrawal(case: tuple[StepFacts, Transition, object]) -> None:
    facts, move, _ = case
    begins = move.state in (StepState.DUE, StepState.ACCEPTED) and move.phase in EFFECTS
    if facts.held or facts.withdrawn:
        assert not begins
    if facts.phase is Phase.LOCATE and (facts.awaiting_approval or not facts.frozen):
        assert not begins
    if move.reason == LEGAL_HOLD:
        assert move.state is StepState.PARKED  # retained under a hold is a human's word


@given(moves())
def test_every_next_state_is_whole(case: tuple[StepFacts, Transition, object]) -> None:
    facts, move, _ = case
    assert (move.due_at is not None) == (move.state in (StepState.DUE, StepState.ACCEPTED))
    if move.due_at is not None:
        assert move.due_at >= NOW
    if move.state in (StepState.PARKED, StepState.RETAINED):
        assert move.reason
    assert move.state is not StepState.LEASED
    assert move.effect_possible or not facts.effect_possible, "what may have happened is never forgotten"


@given(facts_in(*Phase), errors, retries)
def test_an_error_ends_nothing(facts: StepFacts, error: ConnectorError, retry: Retry) -> None:
    move = after_error(facts, error, retry)
    if move.has_ended:
        # Only a withdrawal ends it, and only if nothing can have happened.
        assert (facts.withdrawn, move.state, move.reason) == (True, StepState.RETAINED, WITHDRAWN)
        assert not facts.effect_possible
        assert facts.phase is not Phase.ERASE
    if facts.phase is Phase.ERASE:
        assert move.effect_possible
    if move.state is StepState.DUE and not facts.withdrawn:
        assert move.consecutive_attempts == facts.consecutive_attempts
