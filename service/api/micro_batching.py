"""Whoever comes while nobody is at work is served at once; those who come meanwhile are served together after it.

Decides who goes together, and who hears what: a result or an exception reaches the one whose it is. Nobody waits for
others to come: a service with nothing to do answers as soon as without this. What is done for a group is not decided
here. Lives on one event loop, whose thread it never holds; groups are served on other threads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from starlette.concurrency import run_in_threadpool

from service.requests.intake.submit import Alone

_Asked = TypeVar("_Asked")
_Answered = TypeVar("_Answered")
_Member: TypeAlias = tuple[_Asked, asyncio.Future[_Answered]]
_Serve: TypeAlias = Callable[[Sequence[_Asked]], Sequence[_Answered | Exception | Alone]]

MOST_TOGETHER = 64
# A group that takes longer waits for something (a lock, a connection); those behind it needn't wait for that as well.
_PATIENCE_SECONDS = 0.1
_MOST_GROUPS = 4


class Unfinished(Exception):  # noqa: N818 - says what is true
    """Whoever served this ended before the answer: nobody knows what was done."""


class Gathering(Generic[_Asked, _Answered]):
    """Serves what is asked by `serve`, which answers a group in its order: a result, an exception, or Alone.

    Who is answered Alone is served once more, in a group of one, which is never answered so. What `serve` raises, the
    whole group hears.
    """

    def __init__(self, serve: _Serve[_Asked, _Answered]) -> None:
        self._serve = serve
        self._waiting: deque[_Member[_Asked, _Answered]] = deque()
        self._in_time = 0
        self._late = 0
        # The loop itself keeps only weak references to tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, asked: _Asked) -> _Answered:
        """The answer, from a serving that began after this was asked. Raises what is this one's own."""
        answer: asyncio.Future[_Answered] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        self._next_group()
        return await answer

    def _next_group(self) -> None:
        while self._waiting and not self._in_time and self._late < _MOST_GROUPS:
            members: list[_Member[_Asked, _Answered]] = []
            while self._waiting and len(members) < MOST_TOGETHER:
                asked, answer = self._waiting.popleft()
                if not answer.done():  # Whoever went away isn't served any more.
                    members.append((asked, answer))
            if members:
                self._in_time += 1
                self._begin(self._serve_in_turn(members))

    def _begin(self, serving: Coroutine[Any, Any, None]) -> None:
        # A task of its own: the one who came first may go away, and the others still want their answers.
        task = asyncio.get_running_loop().create_task(serving)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_in_turn(self, members: list[_Member[_Asked, _Answered]]) -> None:
        is_late = False

        def overtake() -> None:
            nonlocal is_late
            is_late = True
            self._in_time -= 1
            self._late += 1
            self._next_group()

        timer = asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, overtake)
        try:
            await self._serve_members(members)
        finally:
            timer.cancel()
            if is_late:
                self._late -= 1
            else:
                self._in_time -= 1
            self._next_group()

    async def _serve_members(self, members: list[_Member[_Asked, _Answered]]) -> None:
        try:
            results = await run_in_threadpool(self._serve, [asked for asked, _ in members])
            served = list(zip(members, results, strict=True))
        except Exception as error:  # noqa: BLE001 - handed on to those whose it is, and reported there
            _fail(members, error)
            return
        except BaseException:
            _fail(members, Unfinished())
            raise
        for (asked, answer), result in served:
            if isinstance(result, Alone):
                self._begin(self._serve_members([(asked, answer)]))
            elif answer.done():  # Whoever went away doesn't hear it.
                continue
            elif isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)


def _fail(members: Sequence[_Member[Any, Any]], error: Exception) -> None:
    for _, answer in members:
        if not answer.done():
            answer.set_exception(error)
