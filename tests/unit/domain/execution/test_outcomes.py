"""The transition of a step after an answer, for every combination of facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given

from connectors.base.errors import TemporarilyUnavailable
from connectors.base.transitions.results import (
    after_confirm,
    after_erase,
    after_error,
    after_locate,
    after_look,
    after_suppress,
    after_unaddressable_search,
    first_phase,
    looks_at_once,
    remaining_counts,
)
from connectors.base.transitions.states import (
    EARLIER_SYSTEM,
    LEGAL_HOLD,
    WITHDRAWN,
    Membership,
    Phase,
    Retry,
    StepFacts,
    StepState,
    SystemRules,
    Transition,
)
from connectors.base.values import Answer, Left, Located
from service.domain.execution.decide import decide
from service.domain.execution.events import ResultReceived
from tests.unit.domain.execution.any_move import (
    LEFT,
    NOW,
    SOMETHING,
    confirm_answers,
    erase_answers,
    facts_in,
    rules_strategy,
)


def step(phase: Phase, **more: object) -> StepFacts:
    given_facts = {"consecutive_attempts": 0, "plan_rounds": 0, "effect_possible": False, "frozen": True} | more
    return StepFacts(phase=phase, **given_facts)  # type: ignore[arg-type]


RULES = SystemRules(
    can_confirm=True,
    suppresses=False,
    erases_by_identifiers=False,
    accept_not_addressable=False,
    confirm_after=timedelta(minutes=5),
    poll_every=timedelta(seconds=5),
    max_plan_rounds=2,
)


def test_a_search_waits_for_its_plan_and_for_the_approval() -> None:
    for facts, adds in (
        (step(Phase.LOCATE, frozen=False), False),
        (step(Phase.LOCATE), True),
        (step(Phase.LOCATE, awaiting_approval=True), False),
    ):
        move = after_locate(facts, SOMETHING, RULES, NOW, adds_to_plan=adds)
        assert (move.state, move.phase) == (StepState.WAITING, Phase.LOCATE)
    assert after_locate(step(Phase.LOCATE), SOMETHING, RULES, NOW).phase is Phase.ERASE
    assert after_locate(step(Phase.LOCATE), Located(), RULES, NOW).phase is Phase.CONFIRM


def test_a_step_without_search_begins_with_its_effect() -> None:
    unsearched = replace(RULES, erases_by_identifiers=True, searches_first=False)
    assert first_phase(unsearched, found=False) is Phase.ERASE
    assert first_phase(replace(unsearched, suppresses=True), found=False) is Phase.SUPPRESS
    for facts, after in ((step(Phase.ERASE), after_erase), (step(Phase.CONFIRM), after_confirm)):
        again = after(facts, Answer.partial(LEFT, found=SOMETHING), unsearched, NOW)
        assert (again.phase, again.state, again.plan_rounds) == (Phase.ERASE, StepState.DUE, 1)
        over = after(replace(facts, plan_rounds=2), Answer.partial(LEFT, found=SOMETHING), unsearched, NOW)
        assert (over.state, over.reason) == (StepState.PARKED, "found_again")
    told = after_erase(step(Phase.ERASE), Answer.already_absent(), unsearched, NOW)
    assert told.phase is Phase.CONFIRM, "absent is only who was looked for"
    assert after_confirm(step(Phase.CONFIRM), Answer.already_absent(), unsearched, NOW).state is StepState.ABSENT


def test_suppression_goes_first_where_it_is_declared() -> None:
    suppressing = SystemRules(True, True, False, False, timedelta(0), timedelta(0))
    assert first_phase(suppressing, found=False) is Phase.SUPPRESS
    assert after_locate(step(Phase.LOCATE), SOMETHING, suppressing, NOW).phase is Phase.SUPPRESS
    assert after_locate(step(Phase.LOCATE, plan_rounds=1), SOMETHING, suppressing, NOW).phase is Phase.ERASE
    after = after_suppress(step(Phase.SUPPRESS), Answer.suppressed(), suppressing, NOW, found=False)
    assert after.phase is Phase.CONFIRM, "nobody is asked to erase what no search found"


def test_a_suppression_job_is_resumed_before_anything_is_erased() -> None:
    job = Answer.accepted(NOW + timedelta(minutes=3), resumes=True, jobs=["job-1"])
    waits = after_suppress(step(Phase.SUPPRESS, consecutive_attempts=2), job, RULES, NOW, found=True)
    assert (waits.state, waits.phase, waits.due_at) == (StepState.ACCEPTED, Phase.SUPPRESS, job.look_again_at)
    at_once = after_suppress(
        step(Phase.SUPPRESS), Answer.accepted(NOW - timedelta(days=1), resumes=True), RULES, NOW, found=True
    )
    assert at_once.due_at == NOW + timedelta(seconds=1)
    in_force_later = after_suppress(step(Phase.SUPPRESS), Answer.accepted(NOW), RULES, NOW, found=True)
    assert (in_force_later.state, in_force_later.phase) == (StepState.DUE, Phase.ERASE)
    held = after_suppress(step(Phase.SUPPRESS, held=True), job, RULES, NOW, found=True)
    assert (held.state, held.phase, held.reason) == (StepState.PARKED, Phase.SUPPRESS, LEGAL_HOLD)
    kept = decide(step(Phase.SUPPRESS), ResultReceived(job, has_records=True), RULES, NOW)
    assert isinstance(kept, Transition)
    assert kept.membership is Membership.STAYS, "the batch key and the resume token are needed again"


def test_a_look_comes_after_the_vendors_delay() -> None:
    for answer in (Answer.erased({"user": 1}), Answer.already_absent(), Answer.retained("tax_law")):
        move = after_erase(step(Phase.ERASE), answer, RULES, NOW)
        assert (move.phase, move.due_at) == (Phase.CONFIRM, NOW + RULES.confirm_after)
    withdrawn = step(Phase.ERASE, withdrawn=True)
    look_at = NOW + RULES.confirm_after
    stopped = after_error(withdrawn, TemporarilyUnavailable("stopped"), Retry(due_at=NOW), look_at=look_at)
    assert (stopped.phase, stopped.due_at) == (Phase.CONFIRM, look_at)


def test_a_job_is_asked_for_later_and_never_at_once_again() -> None:
    move = after_erase(step(Phase.ERASE), Answer.accepted(NOW - timedelta(days=1), resumes=True), RULES, NOW)
    assert (move.state, move.phase) == (StepState.ACCEPTED, Phase.ERASE)
    assert move.due_at == NOW + timedelta(seconds=1)
    week = Answer.accepted(NOW + timedelta(days=7))
    assert after_erase(step(Phase.ERASE), week, RULES, NOW).due_at == NOW + timedelta(days=7)


def test_an_end_waits_for_an_earlier_system() -> None:
    move = after_confirm(step(Phase.CONFIRM, must_wait=True), Answer.already_absent(), RULES, NOW)
    assert (move.state, move.reason) == (StepState.ACCEPTED, EARLIER_SYSTEM)
    assert move.due_at is not None
    assert move.due_at > NOW + timedelta(minutes=1), "what waits for another system isn't asked every few seconds"


def test_rounds_end_with_a_human() -> None:
    again = after_confirm(step(Phase.CONFIRM, plan_rounds=1), Answer.partial(LEFT, found=SOMETHING), RULES, NOW)
    assert (again.state, again.phase, again.plan_rounds) == (StepState.DUE, Phase.LOCATE, 2)
    over = after_confirm(step(Phase.CONFIRM, plan_rounds=2), Answer.partial(LEFT, found=SOMETHING), RULES, NOW)
    assert (over.state, over.reason) == (StepState.PARKED, "found_again")
    stuck = after_confirm(step(Phase.CONFIRM, plan_rounds=2), Answer.partial(LEFT), RULES, NOW)
    assert (stuck.state, stuck.reason, stuck.remaining) == (StepState.PARKED, "still_there", {"user:still_there": 1})
    counted = after_erase(step(Phase.ERASE, plan_rounds=2), Answer.partial(LEFT, records={"ticket": 2}), RULES, NOW)
    assert counted.erased == {"ticket": 2}, "what was erased counts, also where a human must go on"


@pytest.mark.parametrize(("accepts", "touched"), [(True, False), (True, True), (False, False)])
def test_an_unaddressable_person_is_no_success(accepts: bool, touched: bool) -> None:
    rules = SystemRules(True, False, False, accepts, timedelta(0), timedelta(0))
    move = after_unaddressable_search(step(Phase.LOCATE, effect_possible=touched), rules)
    if accepts and not touched:
        assert (move.state, move.reason) == (StepState.NOT_ADDRESSABLE, "no_usable_identifier")
    else:
        assert (move.state, move.reason) == (StepState.PARKED, "not_addressable")
    assert after_unaddressable_search(step(Phase.LOCATE, withdrawn=True), rules).reason == WITHDRAWN


def test_a_retained_record_never_ends_as_erased() -> None:
    """The erasing call kept a contract; the look finds nothing else: the step is retained, not erased."""
    rules = SystemRules(
        can_confirm=True,
        suppresses=False,
        erases_by_identifiers=False,
        accept_not_addressable=False,
        confirm_after=timedelta(0),
        poll_every=timedelta(seconds=1),
    )
    facts = StepFacts(phase=Phase.ERASE, consecutive_attempts=1, plan_rounds=0, effect_possible=False, frozen=True)
    kept = after_erase(facts, Answer.retained("contract", records={"user": 1}), rules, NOW)
    assert (kept.state, kept.phase, kept.retained) == (StepState.DUE, Phase.CONFIRM, "contract")

    look = StepFacts(Phase.CONFIRM, 1, 0, effect_possible=True, frozen=True, retained=kept.retained)
    end = after_confirm(look, Answer.already_absent(), rules, NOW)
    erased = after_confirm(replace(look, retained=None), Answer.already_absent(), rules, NOW)

    assert (end.state, end.reason) == (StepState.RETAINED, "contract")
    assert erased.state is StepState.ERASED_VERIFIED


def test_without_a_look_a_step_ends_as_unverified() -> None:
    blind = replace(RULES, can_confirm=False, suppresses=False)
    assert first_phase(blind, found=False) is Phase.ERASE
    facts = StepFacts(Phase.LOCATE, consecutive_attempts=1, plan_rounds=1, effect_possible=False, frozen=True)
    assert after_locate(facts, Located(), blind, NOW).phase is Phase.ERASE
    erasing = replace(facts, phase=Phase.ERASE)
    gone = after_erase(erasing, Answer.already_absent(), blind, NOW)
    assert (gone.state, gone.phase) == (StepState.DUE, Phase.CONFIRM)
    looking = replace(facts, phase=Phase.CONFIRM)
    for touched in (False, True):
        end = after_confirm(replace(looking, effect_possible=touched), Answer.erased({}), blind, NOW)
        assert end.state is StepState.ERASED_UNVERIFIED
    # Not even an answer that says so: nobody looked.
    assert after_confirm(looking, Answer.already_absent(), blind, NOW).state is StepState.ERASED_UNVERIFIED
    kept = after_confirm(replace(looking, retained="tax_law"), Answer.erased({}), blind, NOW)
    assert (kept.state, kept.reason) == (StepState.RETAINED, "tax_law")
    withdrawn = after_confirm(replace(looking, withdrawn=True), Answer.erased({}), blind, NOW)
    assert (withdrawn.state, withdrawn.reason) == (StepState.RETAINED, WITHDRAWN)


AT_ONCE = replace(RULES, confirm_after=timedelta(0))


@given(facts_in(Phase.ERASE), erase_answers, confirm_answers, rules_strategy)
def test_a_look_in_the_same_pass_decides_as_a_separate_one(
    facts: StepFacts, answer: Answer, look: Answer, rules: SystemRules
) -> None:
    erased = after_erase(facts, answer, rules, NOW)
    both = after_look(facts, erased, look, rules, NOW)
    is_owed = (erased.state, erased.phase, erased.due_at) == (StepState.DUE, Phase.CONFIRM, NOW)
    if not (is_owed and looks_at_once(rules)):
        assert both == erased, "a look that isn't due yet counts for nothing"
        return
    between = replace(
        facts,
        phase=Phase.CONFIRM,
        consecutive_attempts=erased.consecutive_attempts,
        plan_rounds=erased.plan_rounds,
        effect_possible=erased.effect_possible,
        retained=erased.retained,
    )
    alone = after_confirm(between, look, rules, NOW)
    assert replace(both, erased={}, remaining={}, consecutive_attempts=0) == replace(
        alone, erased={}, remaining={}, consecutive_attempts=0
    )
    assert both.erased == erased.erased, "what the erasing call told is told once"
    assert both.remaining == remaining_counts(erased.remaining, alone)


def test_a_retained_record_stays_named_after_the_look() -> None:
    facts = step(Phase.ERASE)
    kept = after_erase(facts, Answer.retained("tax_law", left=LEFT, records={"user": 1}), AT_ONCE, NOW)
    both = after_look(facts, kept, Answer.already_absent(), AT_ONCE, NOW)
    assert (both.state, both.reason, both.remaining) == (StepState.RETAINED, "tax_law", {"user:still_there": 1})
    assert both.erased == {"user": 1}


def test_a_look_adds_to_the_retained_records() -> None:
    """The kept record lost its identifiers, so that the look finds another one only: both are named."""
    kept = after_erase(step(Phase.ERASE), Answer.retained("tax_law", left=LEFT), AT_ONCE, NOW)
    found = Answer.retained("policy", left=(*LEFT, Left("order", "9", "activated")))
    for look in (found, Answer.retained("policy", left=(Left("order", "9", "activated"),))):
        both = after_look(step(Phase.ERASE), kept, look, AT_ONCE, NOW)
        assert both.state is StepState.RETAINED
        assert both.remaining == {"user:still_there": 1, "order:activated": 1}
    erased = after_confirm(step(Phase.CONFIRM), Answer.partial(LEFT), AT_ONCE, NOW)
    assert remaining_counts({"order:activated": 2}, erased) == {"user:still_there": 1}, (
        "kept without a purpose: the look counts"
    )
