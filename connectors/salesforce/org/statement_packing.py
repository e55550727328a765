"""Which statements travel in one call, so that each call can show that it sees.

Pure. A statement is *sure* if whoever sees gets a row for it. Sure ones are spread over the calls; a call without one
takes a control along where there is room. Decides nothing about what an answer means.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from connectors.salesforce.org.org import MAX_HEAVY_SUBREQUESTS


@dataclass(frozen=True)
class Load:
    """One call: numbers of its statements, the sure ones last, and whether the control comes after them."""

    numbers: tuple[int, ...]
    has_control: bool


def loads(count: int, sure: Collection[int] = (), *, expecting: bool = True) -> list[Load]:
    """The calls that so many statements take.

    Where rows are expected there are as few as can be: a call without proof shows some, or is repeated under control.
    Where none are (`expecting` is False), each has its proof from the start.
    """
    marked = sorted(n for n in set(sure) if 0 <= n < count)
    calls = calls_for(count, len(marked), expecting=expecting)
    if not calls:
        return []
    last: list[list[int]] = [[] for _ in range(calls)]
    # Dealt from the last call on: the first one, whose statements show something most often, goes without.
    for place, number in enumerate(reversed(marked)):
        last[-1 - place % calls].insert(0, number)
    spare = calls * MAX_HEAVY_SUBREQUESTS - count
    bare = [n for n in range(calls) if not last[n]]
    controlled = frozenset(bare[max(0, len(bare) - spare) :])
    rest = iter(n for n in range(count) if n not in set(marked))
    found = []
    for call, some in enumerate(last):
        room = MAX_HEAVY_SUBREQUESTS - len(some) - (call in controlled)
        first = [number for _, number in zip(range(room), rest, strict=False)]
        found.append(Load((*first, *some), call in controlled))
    return [load for load in found if load.numbers]


def calls_for(count: int, sure: int, *, expecting: bool = True) -> int:
    """How many calls that are."""
    calls = -(-count // MAX_HEAVY_SUBREQUESTS)
    while not expecting and count + max(0, calls - sure) > calls * MAX_HEAVY_SUBREQUESTS:
        calls += 1
    return calls


def room_beside(count: int, sure: int) -> int:
    """How many more statements fit into the calls that so many take anyway, each call with its proof."""
    calls = calls_for(count, sure)
    return max(0, calls * MAX_HEAVY_SUBREQUESTS - count - max(0, calls - sure))
