"""When a call that failed for several people alike is repeated in halves."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.transitions.states import Phase
from connectors.base.values import Located
from service.domain.execution.bisect import (
    REPEATED,
    SharedFailure,
    halves,
    may_split,
    select_group,
    who_shares_an_error,
)

REFUSED = RequestRefused("refused", status=400)
FAILURE = SharedFailure(
    Phase.LOCATE, REFUSED, people=2, consecutive_attempts=1, has_token=False, family=0, root_people=64, answered=False
)
LOOKS = (Phase.LOCATE, Phase.CONFIRM)
EFFECTS = (Phase.SUPPRESS, Phase.ERASE)


@pytest.mark.parametrize("phase", LOOKS)
@pytest.mark.parametrize(
    "error", [REFUSED, AnswerNotUnderstood("bad_json"), AnswerNotUnderstood("x", effect_unknown=True)]
)
def test_a_look_may_always_be_repeated(phase: Phase, error: ConnectorError) -> None:
    assert may_split(replace(FAILURE, phase=phase, error=error, has_token=True))
    assert not may_split(replace(FAILURE, phase=phase, error=error, people=1))


@pytest.mark.parametrize("phase", EFFECTS)
def test_an_effect_is_repeated_only_if_nothing_was_done(phase: Phase) -> None:
    effect = replace(FAILURE, phase=phase)
    assert may_split(effect)
    assert not may_split(replace(effect, has_token=True))
    for error in (
        RequestRefused("refused", effect_unknown=True),
        AnswerNotUnderstood("bad_json"),
        AnswerNotUnderstood("bad_json", effect_unknown=True),
        TemporarilyUnavailable("timeout"),
    ):
        assert not may_split(replace(effect, error=error, consecutive_attempts=99, answered=True, family=4))


def test_a_break_down_is_a_persons_only_if_it_repeats_itself() -> None:
    slow = replace(FAILURE, error=TemporarilyUnavailable("timeout", effect_unknown=True))
    assert not may_split(replace(slow, consecutive_attempts=REPEATED - 1))
    assert may_split(replace(slow, consecutive_attempts=REPEATED))
    # In a part of a batch that failed so often, once is enough.
    assert may_split(replace(slow, family=2))
    for error in (
        TemporarilyUnavailable("rate_limited", status=429),
        TemporarilyUnavailable("vendor_unavailable", status=503),
        TemporarilyUnavailable("no_connection"),
        CredentialsRefused("unauthorized", status=401),
    ):
        assert not may_split(replace(slow, error=error, consecutive_attempts=99))
    assert may_split(
        replace(slow, error=TemporarilyUnavailable("vendor_unavailable", status=500), consecutive_attempts=REPEATED)
    )


def test_without_any_answer_a_failure_is_the_systems() -> None:
    # 64 people: the one to blame is alone after 6 times, however unlucky the order.
    assert may_split(replace(FAILURE, family=14))
    assert not may_split(replace(FAILURE, family=16))
    assert may_split(replace(FAILURE, family=16, answered=True))


def test_only_the_same_error_of_one_call_is_shared() -> None:
    alike = RequestRefused("refused", status=400)
    results = {"a": REFUSED, "b": alike, "c": REFUSED, "d": Located(), "e": REFUSED}
    assert who_shares_an_error(results) == [(REFUSED, ["a", "c", "e"])]


def test_halves_hold_everybody_once() -> None:
    for size in range(2, 9):
        first, second = halves(range(size))
        assert [*first, *second] == list(range(size))
        assert 0 <= len(first) - len(second) <= 1


@pytest.mark.parametrize("people", [1, 2, 3, 7, 50, 100, 2000])
@pytest.mark.parametrize("where", [0.0, 0.4, 0.99])
def test_a_person_who_crashes_workers_is_isolated_quickly(people: int, where: float) -> None:
    deadly = int(people * where)
    deaths = dict.fromkeys(range(people), 0)
    killed, answered = 0, 0
    while len(deaths) > 1 or deaths[deadly] < REPEATED:
        going = select_group(deaths, suspects=sum(count >= REPEATED for count in deaths.values()))
        assert going <= deaths.keys()
        if deadly in going:
            killed += 1
            deaths |= {person: deaths[person] + 1 for person in going}
        else:
            answered += 1
            deaths = {person: count for person, count in deaths.items() if person not in going}
    halvings = math.ceil(math.log2(people)) if people > 1 else 0
    assert REPEATED <= killed <= REPEATED + halvings
    assert answered <= 4 * (halvings + 1)


def test_the_healthy_never_travel_with_a_suspect() -> None:
    deaths = {"a": REPEATED, "b": 0, "c": REPEATED - 1, "d": REPEATED + 3}
    assert select_group(deaths, suspects=2) == {"b", "c"}
    assert select_group({"a": REPEATED, "d": REPEATED + 3}, suspects=2) == {"a"}
    assert select_group({"d": REPEATED + 40}, suspects=1) == {"d"}
    assert select_group({}, suspects=0) == frozenset()
