"""Calls of one batch: concurrent where waiting is worth it, else in sequence, with an answer for every person."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from connectors.base.errors import LeaseLost, RequestRefused
from connectors.base.toolkit.concurrently import concurrently, for_each_person
from connectors.base.values import Identifier, Subject

PEOPLE = [Subject(f"s{n}", (Identifier("email", f"p{n}@example.test"),), ()) for n in range(12)]


class Together:
    """Remembers how many acted at the same time, and in which threads."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.most = 0
        self.threads: set[str] = set()
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self, _: Any) -> str:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.threads.add(threading.current_thread().name)
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1
        return "done"


def test_people_who_are_waited_for_go_together_and_never_more_than_allowed() -> None:
    act = Together(0.02)
    answers = for_each_person(PEOPLE, act, at_most=4)
    assert answers == {person.ref: "done" for person in PEOPLE}
    assert 1 < act.most <= 4


def test_people_who_are_answered_at_once_go_one_by_one_in_the_callers_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine makes everybody wait: what counts as waiting is set beyond that.
    monkeypatch.setattr("connectors.base.toolkit.concurrently._WORTH_A_THREAD_SECONDS", 5.0)
    act = Together(0.0)
    assert len(for_each_person(PEOPLE, act, at_most=4)) == len(PEOPLE)
    assert act.threads == {threading.current_thread().name}


def test_nobody_waits_for_the_first_to_be_done() -> None:
    """The others begin while the first is under way, as soon as it lasts."""
    together = threading.Barrier(4)

    def act(_: Any) -> str:
        together.wait(5)
        return "done"

    assert len(for_each_person(PEOPLE, act, at_most=4)) == len(PEOPLE)


def test_who_is_slow_later_has_company_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.base.toolkit.concurrently._WORTH_A_THREAD_SECONDS", 0.05)
    act = Together(0.0)
    slow = threading.Event()

    def later(number: int) -> str:
        act.seconds = 0.0 if number < 3 else 0.2
        if number >= 3:
            slow.set()
        return act(number)

    assert len(concurrently(range(12), later, at_most=3)) == 12
    assert slow.is_set()
    assert act.most == 3


def test_without_a_thread_to_be_had_the_caller_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    act = Together(0.005)
    monkeypatch.setattr(threading.Thread, "start", refused)
    assert len(for_each_person(PEOPLE, act, at_most=4)) == len(PEOPLE)
    assert act.threads == {threading.current_thread().name}


def test_nobody_is_left_under_way() -> None:
    """Whoever raises is heard when those beside them have ended, and nobody begins after that."""
    begun: list[int] = []
    ended: list[int] = []

    def act(number: int) -> None:
        begun.append(number)
        time.sleep(0.05)
        if number == 5:
            raise LeaseLost
        ended.append(number)

    with pytest.raises(LeaseLost):
        concurrently(range(100), act, at_most=4)
    count = len(begun)
    assert sorted([*ended, 5]) == sorted(begun)
    time.sleep(0.1)
    assert len(begun) == count


def test_one_at_a_time_means_it() -> None:
    act = Together(0.005)
    for_each_person(PEOPLE, act, at_most=1)
    assert act.most == 1


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_an_error_is_the_answer_of_its_person_alone(seconds: float) -> None:
    def act(person: Subject) -> str:
        time.sleep(seconds)
        if person.ref == "s7":
            raise RequestRefused("refused")
        return "done"

    answers = for_each_person(PEOPLE, act, at_most=3)
    assert isinstance(answers.pop("s7"), RequestRefused)
    assert set(answers.values()) == {"done"}
    assert len(answers) == len(PEOPLE) - 1


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_a_lost_lease_stops_those_who_have_not_begun(seconds: float) -> None:
    begun: list[int] = []

    def act(number: int) -> None:
        begun.append(number)
        time.sleep(seconds)
        if number == 4:
            raise LeaseLost

    with pytest.raises(LeaseLost):
        concurrently(range(200), act, at_most=2)
    assert len(begun) < 10


def test_nobody_is_nobody() -> None:
    assert for_each_person([], Together(0.0), at_most=3) == {}
