"""Which deletions may run at the same time: never two under one Account, which Salesforce locks with its children.

Decides lanes only: what is in one lane runs one call after the other, in the given order. No lane costs an extra call.
Source: "Record Locking Cheat Sheet", UNABLE_TO_LOCK_ROW after about 10 s (read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

MOST_LANES = 4  # of the 25 long calls that an org allows at once; others need theirs
_T = TypeVar("_T")


class Groups:
    """People and Accounts that hang together: whoever shares an Account or a record is in one group."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def tie(self, names: Iterable[str]) -> None:
        """These belong to one group from now on."""
        first: str | None = None
        for name in names:
            top = self.of(name)
            if first is None:
                first = top
            elif top != first:
                self._above[top] = first

    def of(self, name: str) -> str:
        """The group's name."""
        path: list[str] = []
        while (above := self._above.get(name)) is not None:
            path.append(name)
            name = above
        for each in path:
            self._above[each] = name
        return name


def in_lanes(
    items: Sequence[_T], group_of: Callable[[_T], str], calls_of: Callable[[Sequence[_T]], int]
) -> list[list[_T]]:
    """As many lanes as there are without more calls than one lane would need; the order within a group is kept."""
    most = calls_of(items)
    groups: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        groups.setdefault(group_of(item), []).append(place)
    for number in range(min(MOST_LANES, most, len(groups)), 1, -1):
        lanes: list[list[int]] = [[] for _ in range(number)]
        for places in sorted(groups.values(), key=len, reverse=True):
            min(lanes, key=len).extend(places)
        shared = [[items[place] for place in sorted(lane)] for lane in lanes]
        if sum(map(calls_of, shared)) <= most:
            return shared
    return [list(items)]
