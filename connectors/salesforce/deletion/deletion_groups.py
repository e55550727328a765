"""Divide deletions into queues that may run at the same time: no two queues share an Account.

Salesforce locks an Account together with its children. Decides queues only: the calls of one queue run in sequence, in
the given order. No queue costs an extra call.
Source: "Record Locking Cheat Sheet", UNABLE_TO_LOCK_ROW after about 10 s (read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

MAX_QUEUES = 4  # of the 25 long calls that an org allows at once; others need theirs
_T = TypeVar("_T")


class Groups:
    """Groups of people and Accounts: people who share an Account or a record are in one group."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def connect(self, names: Iterable[str]) -> None:
        """Put these names, and the groups that they belong to, into one group."""
        first: str | None = None
        for name in names:
            top = self.of(name)
            if first is None:
                first = top
            elif top != first:
                self._above[top] = first

    def of(self, name: str) -> str:
        """Return the group's name."""
        path: list[str] = []
        while (above := self._above.get(name)) is not None:
            path.append(name)
            name = above
        for each in path:
            self._above[each] = name
        return name


def in_queues(
    items: Sequence[_T], group_of: Callable[[_T], str], calls_of: Callable[[Sequence[_T]], int]
) -> list[list[_T]]:
    """Return as many queues as need no more calls than one queue; the order within a group is kept."""
    most = calls_of(items)
    groups: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        groups.setdefault(group_of(item), []).append(place)
    for number in range(min(MAX_QUEUES, most, len(groups)), 1, -1):
        queues: list[list[int]] = [[] for _ in range(number)]
        for places in sorted(groups.values(), key=len, reverse=True):
            min(queues, key=len).extend(places)
        shared = [[items[place] for place in sorted(queue)] for queue in queues]
        if sum(map(calls_of, shared)) <= most:
            return shared
    return [list(items)]
