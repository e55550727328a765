"""Micro-batching: a call runs at once; calls that arrive meanwhile run as one batch afterwards.

Decides which calls share a batch, and hands each call its own result or exception. No call waits for others to arrive,
so that an idle service answers as fast as without batches. Runs on one event loop and never blocks its thread; batches
are executed on other threads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Generic, TypeAlias, TypeVar

from starlette.concurrency import run_in_threadpool

from service.requests.intake.submit import RetryIndividually

_Asked = TypeVar("_Asked")
_Answered = TypeVar("_Answered")
_Member: TypeAlias = tuple[_Asked, asyncio.Future[_Answered]]
_Serve: TypeAlias = Callable[[Sequence[_Asked]], Sequence[_Answered | Exception]]

MAX_BATCH = 64
# A batch that takes longer waits for a lock or a connection. The calls after it needn't wait for that, too.
_PATIENCE_SECONDS = 0.1
_MOST_GROUPS = 4


class Unfinished(Exception):  # noqa: N818 - says what is true
    """The batch was ended before its results: it isn't known which of its calls had an effect."""


class MicroBatcher(Generic[_Asked, _Answered]):
    """Executes calls in batches.

    `serve` executes a batch and returns a result or an exception for each call. A call with the exception
    RetryIndividually is executed once more in a batch of one, for which `serve` never returns that. An exception that
    `serve` raises is raised for every call of the batch.
    """

    def __init__(self, serve: _Serve[_Asked, _Answered]) -> None:
        self._serve = serve
        self._waiting: deque[_Member[_Asked, _Answered]] = deque()
        self._in_time = 0
        self._late = 0
        # The loop itself keeps only weak references to tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, asked: _Asked) -> _Answered:
        """Return the result of a batch that began after this call. Raises the call's own exception."""
        answer: asyncio.Future[_Answered] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        self._next_group()
        return await answer

    def _next_group(self) -> None:
        while self._waiting and not self._in_time and self._late < _MOST_GROUPS:
            members: list[_Member[_Asked, _Answered]] = []
            while self._waiting and len(members) < MAX_BATCH:
                asked, answer = self._waiting.popleft()
                if not answer.done():  # The caller has disconnected.
                    members.append((asked, answer))
            if members:
                self._in_time += 1
                self._begin(self._serve_in_turn(members))

    def _begin(self, serving: Coroutine[object, object, None]) -> None:
        # A task of its own: if the first caller disconnects, the others' calls must go on.
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
        except Exception as error:  # noqa: BLE001 - raised for each call of the batch, and reported there
            _fail(members, error)
            return
        except BaseException:
            _fail(members, Unfinished())
            raise
        for (asked, answer), result in served:
            if isinstance(result, RetryIndividually):
                self._begin(self._serve_members([(asked, answer)]))
            elif answer.done():  # The caller has disconnected.
                continue
            elif isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)


def _fail(members: Sequence[_Member[_Asked, _Answered]], error: Exception) -> None:
    for _, answer in members:
        if not answer.done():
            answer.set_exception(error)
