"""A tick's parts: each has its turn, whatever became of the one before, and an idle one costs a look."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from workers.tasks import control


class BrokenError(Exception):
    pass


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done."""
    done: list[str] = []
    opened = SimpleNamespace(stores=None, settings=SimpleNamespace(engine=SimpleNamespace(tick_seconds=1.0)))
    monkeypatch.setattr(control, "runtime", lambda: opened)
    monkeypatch.setattr(control, "dispatch_due", lambda opened: done.append("dispatch"))
    monkeypatch.setattr(control, "advance", lambda opened: done.append("advance"))
    waits(monkeypatch, requests=True)
    return done


class Clock:
    """Time that passes only by sleeping, and by 10 ms for each reading."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        self.now += 0.01
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.mark.parametrize(("every", "looks"), [(0.2, 5), (0.4, 3), (1.0, 1), (30.0, 1)])
def test_one_message_serves_the_looks_of_a_second(
    done: list[str], every: float, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(control, "time", clock)
    control.runtime().settings.engine.tick_seconds = every
    waits(monkeypatch, requests=False)
    tick()
    assert done == ["dispatch"] * looks
    assert clock.slept == [every] * (looks - 1)


def waits(patch: pytest.MonkeyPatch, *, requests: bool) -> None:
    patch.setattr(control, "requests_wait", lambda stores: requests)


def tick() -> None:
    control.tick.run()


@pytest.mark.parametrize("broken", ["dispatch", "advance"])
def test_a_part_that_fails_keeps_no_other_from_its_turn(
    done: list[str], broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(opened: Any) -> None:
        raise BrokenError

    monkeypatch.setattr(control, {"dispatch": "dispatch_due"}.get(broken, broken), fail)
    with pytest.raises(BrokenError):
        tick()
    assert done == [part for part in ("dispatch", "advance") if part != broken]


def test_what_nothing_waits_for_is_left_out(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    waits(monkeypatch, requests=False)
    tick()
    assert done == ["dispatch"]
    waits(monkeypatch, requests=True)
    tick()
    assert done == ["dispatch", "dispatch", "advance"]
