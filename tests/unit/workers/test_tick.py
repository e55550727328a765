"""A tick's three parts: each has its turn, whatever became of those before, and an idle one costs a look."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from service.use_cases.waiting_work import WaitingWork
from workers.tasks import control


class BrokenError(Exception):
    pass


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in a process that has just looked after the log's tree."""
    done: list[str] = []
    opened = SimpleNamespace(stores=None, sequenced_at=time.monotonic())
    monkeypatch.setattr(control, "runtime", lambda: opened)
    monkeypatch.setattr(control, "dispatch_due", lambda opened: done.append("dispatch"))
    for part in ("advance", "sequence"):
        monkeypatch.setattr(control, part, lambda opened, part=part: done.append(part))
    waits(monkeypatch, requests=True, entries=True)
    return done


def waits(patch: pytest.MonkeyPatch, **what: bool) -> None:
    patch.setattr(control, "waiting_work", lambda stores: WaitingWork(**what))


def tick() -> None:
    control.tick.run()


@pytest.mark.parametrize("broken", ["dispatch", "advance", "sequence"])
def test_a_part_that_fails_keeps_no_other_from_its_turn(
    done: list[str], broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(opened: Any) -> None:
        raise BrokenError

    monkeypatch.setattr(control, {"dispatch": "dispatch_due"}.get(broken, broken), fail)
    with pytest.raises(BrokenError):
        tick()
    assert done == [part for part in ("dispatch", "advance", "sequence") if part != broken]


def test_what_nothing_waits_for_is_left_out(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    waits(monkeypatch, requests=False, entries=False)
    tick()
    assert done == ["dispatch"]
    waits(monkeypatch, requests=True, entries=False)
    tick()
    assert done == ["dispatch", "dispatch", "advance"]


def test_a_tree_that_nobody_looked_after_is_looked_after(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    waits(monkeypatch, requests=False, entries=False)
    monkeypatch.setattr(control, "_SEQUENCE_AT_LEAST_EVERY_SECONDS", 0.0)
    tick()
    assert done == ["dispatch", "sequence"]
