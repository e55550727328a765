"""Calls of a batch, and the result of each call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from service.api import micro_batching as gathering
from service.api.micro_batching import MAX_BATCH, MicroBatcher, Unfinished
from service.requests.intake.submit import RetryIndividually


class Desk:
    """Serves groups, each only once it is let; answers an item with itself, or with what `results` says."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.results: dict[str, Any] = {}
        self.raises: dict[str, BaseException] = {}
        self.held: set[str] = set()
        self.let = threading.Event()

    def serve(self, items: Sequence[str]) -> list[Any]:
        self.groups.append(list(items))
        if self.held & set(items):
            assert self.let.wait(20)
        for item in items:
            if item in self.raises:
                raise self.raises[item]
        return [self.answer(item, is_alone=len(items) == 1) for item in items]

    def answer(self, item: str, *, is_alone: bool) -> Any:
        result = self.results.get(item, item)
        return item if isinstance(result, RetryIndividually) and is_alone else result


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


def run(scene: Callable[[Desk, MicroBatcher[str, Any]], Awaitable[None]]) -> Desk:
    desk = Desk()

    async def play() -> None:
        async with asyncio.timeout(30):
            await scene(desk, MicroBatcher(desk.serve))

    asyncio.run(play())
    return desk


async def behind_one(desk: Desk, gathering: MicroBatcher[str, Any], *items: str) -> list[Any]:
    """Return the results of calls that arrive while `first` runs."""
    desk.held.add("first")
    first = asyncio.create_task(gathering.ask("first"))
    await until(lambda: bool(desk.groups))
    tasks = [asyncio.create_task(gathering.ask(item)) for item in items]
    await until(lambda: len(gathering._waiting) == len(items))
    desk.let.set()
    assert await first == "first"
    return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(autouse=True)
def nobody_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_PATIENCE_SECONDS", 60.0)


def test_calls_that_arrive_meanwhile_run_as_one_batch_in_order() -> None:
    async def scene(desk: Desk, gathering: MicroBatcher[str, Any]) -> None:
        assert await behind_one(desk, gathering, "a", "b", "c") == ["a", "b", "c"]

    assert run(scene).groups == [["first"], ["a", "b", "c"]]


def test_a_group_has_a_largest_size() -> None:
    items = [str(n) for n in range(MAX_BATCH + 3)]

    async def scene(desk: Desk, gathering: MicroBatcher[str, Any]) -> None:
        assert await behind_one(desk, gathering, *items) == items

    assert [len(group) for group in run(scene).groups] == [1, MAX_BATCH, 3]


def test_an_exception_reaches_its_own_call_only() -> None:
    async def scene(desk: Desk, gathering: MicroBatcher[str, Any]) -> None:
        desk.results["b"] = own = ValueError()
        assert await behind_one(desk, gathering, "a", "b", "c") == ["a", own, "c"]

    run(scene)


def test_an_exception_of_the_batch_reaches_each_of_its_calls() -> None:
    async def scene(desk: Desk, gathering: MicroBatcher[str, Any]) -> None:
        desk.raises["b"] = error = ValueError()
        assert await behind_one(desk, gathering, "a", "b") == [error, error]
        assert await gathering.ask("later") == "later"

    run(scene)


def test_a_call_to_retry_individually_runs_alone() -> None:
    async def scene(desk: Desk, gathering: MicroBatcher[str, Any]) -> None:
        desk.results |= {"b": RetryIndividually(), "c": RetryIndividually()}
        assert await behind_one(desk, gathering, "a", "b", "c") == ["a", "b", "c"]

    groups = run(scene).groups
    assert groups[:2] == [["first"], ["a", "b", "c"]]
    assert sorted(groups[2:]) == [["b"], ["c"]]


def test_a_call_that_runs_alone_delays_no_other_call() -> None:
    async def scene(desk: Desk, gathering: MicroBatcher[str, Any]) -> None:
        desk.results |= {"b": RetryIndividually(), "c": RetryIndividually()}
        desk.held.add("first")
        first = asyncio.create_task(gathering.ask("first"))
        await until(lambda: bool(desk.groups))
        tasks = {item: asyncio.create_task(gathering.ask(item)) for item in "abc"}
        await until(lambda: len(gathering._waiting) == 3)
        desk.let.set()
        await asyncio.gather(first, tasks["a"])
        desk.let.clear()
        desk.held.add("b")
        second = await gathering.ask("d")
        assert (await tasks["c"], second) == ("c", "d")
        desk.let.set()
        assert await tasks["b"] == "b"

    run(scene)


def test_a_disconnected_call_is_skipped_and_the_others_run() -> None:
    async def scene(desk: Desk, gathering: MicroBatcher[str, Any]) -> None:
        desk.held.add("first")
        first = asyncio.create_task(gathering.ask("first"))
        await until(lambda: bool(desk.groups))
        gone, stays = (asyncio.create_task(gathering.ask(item)) for item in ("gone", "stays"))
        await until(lambda: len(gathering._waiting) == 2)
        gone.cancel()
        first.cancel()
        await asyncio.gather(gone, first, return_exceptions=True)
        desk.let.set()
        assert await stays == "stays"

    assert run(scene).groups == [["first"], ["stays"]]


class Ends(BaseException):
    """The exception with which a thread ends."""


def test_no_call_waits_after_its_thread_has_ended() -> None:
    async def scene(desk: Desk, gathering: MicroBatcher[str, Any]) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        desk.raises["b"] = Ends()
        heard = await behind_one(desk, gathering, "a", "b")
        assert [type(each) for each in heard] == [Unfinished, Unfinished]
        assert await gathering.ask("later") == "later"

    run(scene)


def test_a_wrong_number_of_results_fails_every_call() -> None:
    async def scene(desk: Desk, gathering: MicroBatcher[str, Any]) -> None:
        gathering._serve = lambda items: list(items)[:1]
        heard = await asyncio.gather(*(gathering.ask(i) for i in "abc"), return_exceptions=True)
        assert [type(each) for each in heard] == [str, ValueError, ValueError]

    run(scene)


def test_a_group_that_waits_for_something_is_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_PATIENCE_SECONDS", 0.01)

    async def scene(desk: Desk, gathering: MicroBatcher[str, Any]) -> None:
        desk.held = {"stuck"}
        stuck = asyncio.create_task(gathering.ask("stuck"))
        assert await asyncio.gather(*(gathering.ask(i) for i in "ab")) == ["a", "b"]
        assert await gathering.ask("c") == "c"
        desk.let.set()
        assert await stuck == "stuck"
        assert (gathering._in_time, gathering._late) == (0, 0)

    run(scene)


def test_only_so_many_groups_are_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_PATIENCE_SECONDS", 0.001)

    async def scene(desk: Desk, gathering: MicroBatcher[str, Any]) -> None:
        desk.held = {"0", "1", "2", "3"}
        stuck = []
        for item in sorted(desk.held):
            stuck.append(asyncio.create_task(gathering.ask(item)))
            await until(lambda: gathering._late == len(stuck) == len(desk.groups))
        waits = asyncio.create_task(gathering.ask("waits"))
        await until(lambda: len(gathering._waiting) == 1)
        assert len(desk.groups) == 4
        desk.let.set()
        assert await asyncio.gather(*stuck, waits) == ["0", "1", "2", "3", "waits"]

    run(scene)
