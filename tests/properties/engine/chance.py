"""What an act chooses from, all of it from one seed: acts are what Hypothesis draws, repeats and leaves out.

Were each choice a draw of its own, every fifth would be the first of its list and every sixth one of the next few
(measured): Hypothesis likes what is simple, and most runs would be of nobody who dies.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import timedelta
from random import Random
from typing import TypeVar

from connectors.base.transitions.states import Phase
from tests.properties.engine.moods import MOODS, Mood, PassMood

Chosen = TypeVar("Chosen")

MOMENTS = tuple(timedelta(seconds=s) for s in (1, 12, 26, 31, 65, 240, 1000, 4000)) + tuple(
    timedelta(days=d) for d in (1, 8, 40)
)
_MOST_BOUNDARIES = 12


class Chance:
    """The choices of one act, in the machine's words."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)

    def one(self, choices: Sequence[Chosen]) -> Chosen:
        """One of these."""
        return self._random.choice(choices)

    def number(self, least: int, most: int) -> int:
        """A whole number."""
        return self._random.randint(least, most)

    def once_in(self, times: int) -> bool:
        """True once in so many times."""
        return self.number(0, times - 1) == times - 1

    def some(self, choices: Sequence[Chosen], most: int) -> list[Chosen]:
        """A few of these, each at most once."""
        return self._random.sample(choices, self.number(0, min(most, len(choices))))

    def moment(self) -> timedelta:
        """A span between a second and forty days."""
        return self.one(MOMENTS)

    def mood(self, phase: Phase, moods: Container[Mood]) -> Mood:
        """How a vendor is towards one person: honest every other time, else in one of these moods."""
        possible = [m for m in MOODS[phase] if m in moods]
        return self.one(possible) if possible and self.once_in(2) else Mood.HONEST

    def pass_mood(self) -> PassMood:
        """How a system is towards a whole pass: mostly well."""
        return self.one(list(PassMood)) if self.once_in(8) else PassMood.WELL

    def death(self) -> int | None:
        """After how many beginnings and ends of transactions the process dies, if it does."""
        return self.number(0, _MOST_BOUNDARIES) if self.once_in(6) else None
