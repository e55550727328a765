"""The states and reasons of a request are the Data Rights Protocol's, and no state is both open and withdrawn."""

from __future__ import annotations

from service.domain.audit.schema import is_code
from service.domain.requests.states import (
    UNFINISHED,
    WITHDRAWN_STATES,
    DenialReason,
    NextAction,
    Progress,
    RequestState,
)


def test_the_states_are_those_of_the_protocol() -> None:
    assert {state.value for state in RequestState} == {
        "open",
        "in_progress",
        "fulfilled",
        "denied",
        "revoked",
        "expired",
    }
    assert {r.value for r in DenialReason} >= {"suspected_fraud", "insuf_verification", "no_match", "claim_not_covered"}
    assert Progress.NEED_USER_VERIFICATION == "need_user_verification"


def test_an_unfinished_request_is_neither_answered_nor_withdrawn() -> None:
    assert {"open", "in_progress"} == UNFINISHED
    assert {"denied", "revoked"} == WITHDRAWN_STATES
    assert not UNFINISHED & WITHDRAWN_STATES


def test_every_word_may_stand_in_the_audit_log() -> None:
    assert all(is_code(word.value) for kind in (RequestState, Progress, DenialReason, NextAction) for word in kind)
