"""The rule about steps is total, and its document is current."""

import itertools
from collections.abc import Iterator

import pytest

from connectors.base.transitions.states import ENDED, Phase, StepFacts, StepState, Transition
from service.domain.execution.decide import decide
from service.domain.execution.events import DecisionMade, HoldPlaced, ResultReceived, StepEvent
from tests.architecture.step_table import DOCUMENT, NOW, RULES, example_events, example_facts, render

_LOOKED = {StepState.ABSENT, StepState.ERASED_VERIFIED}


def transitions() -> Iterator[tuple[StepFacts, StepEvent, Transition]]:
    for facts, event, rules in itertools.product(example_facts(), example_events(), RULES):
        to = decide(facts, event, rules, NOW)
        if isinstance(to, Transition):
            yield facts, event, to


@pytest.fixture(scope="module")
def all_transitions() -> list[tuple[StepFacts, StepEvent, Transition]]:
    return list(transitions())


def test_the_document_is_what_the_rule_says() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == render(), "run python -m tests.architecture.step_table"


def test_every_event_has_an_example() -> None:
    assert {type(event) for event in example_events()} == set(StepEvent.__args__)


def test_an_ended_step_never_changes(all_transitions: list[tuple[StepFacts, StepEvent, Transition]]) -> None:
    assert [facts.state for facts, _, _ in all_transitions if facts.state in ENDED] == []


def test_due_times_and_reasons_belong_to_their_states(
    all_transitions: list[tuple[StepFacts, StepEvent, Transition]],
) -> None:
    for _, event, to in all_transitions:
        assert (to.due_at is not None) == (to.state in (StepState.DUE, StepState.ACCEPTED)), (event, to)
        assert to.reason is not None or to.state not in (StepState.PARKED, StepState.RETAINED), (event, to)


def test_only_a_connectors_look_earns_absence(
    all_transitions: list[tuple[StepFacts, StepEvent, Transition]],
) -> None:
    for facts, event, to in all_transitions:
        if to.state in _LOOKED:
            assert isinstance(event, ResultReceived)
            assert facts.phase is Phase.CONFIRM or event.look is not None, (facts, event)


def test_a_possible_effect_is_never_forgotten(
    all_transitions: list[tuple[StepFacts, StepEvent, Transition]],
) -> None:
    assert [1 for facts, _, to in all_transitions if facts.effect_possible and not to.effect_possible] == []


def test_a_hold_leaves_no_step_that_is_about_to_start() -> None:
    for facts in example_facts():
        if facts.state is StepState.DUE and facts.phase in (Phase.SUPPRESS, Phase.ERASE):
            to = decide(facts, HoldPlaced(), RULES[0], NOW)
            assert isinstance(to, Transition)
            assert to.state is StepState.PARKED


def test_a_held_step_goes_on_by_no_decision(
    all_transitions: list[tuple[StepFacts, StepEvent, Transition]],
) -> None:
    for facts, event, to in all_transitions:
        if isinstance(event, DecisionMade) and event.is_held and facts.reason == "legal_hold":
            assert to.state in ENDED
