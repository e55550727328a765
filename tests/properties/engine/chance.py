"""What the machine draws from: places in lists, not rows, so that a failure's report stays short and can be shrunk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

from hypothesis import strategies as st

from service.domain.outcomes import Phase
from tests.properties.engine.moods import MOODS, Mood, PassMood

Chosen = TypeVar("Chosen")

MOMENTS = tuple(timedelta(seconds=s) for s in (1, 12, 26, 31, 65, 240, 1000, 4000)) + tuple(
    timedelta(days=d) for d in (1, 8, 40)
)
_MOST_BOUNDARIES = 12


class Chance:
    """Hypothesis' draws in the machine's words."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def one(self, choices: Sequence[Chosen]) -> Chosen:
        """One of these; the first is the simplest."""
        return choices[self.number(0, len(choices) - 1)]

    def number(self, least: int, most: int) -> int:
        """A whole number."""
        drawn: int = self._data.draw(st.integers(least, most))
        return drawn

    def once_in(self, times: int) -> bool:
        """True once in so many times."""
        return self.number(0, times - 1) == times - 1

    def some(self, choices: Sequence[Chosen], most: int) -> list[Chosen]:
        """A few of these, each at most once."""
        places = st.lists(st.integers(0, len(choices) - 1), max_size=most, unique=True)
        return [choices[place] for place in self._data.draw(places)] if choices else []

    def moment(self) -> timedelta:
        """A span between a second and forty days."""
        return self.one(MOMENTS)

    def mood(self, phase: Phase) -> Mood:
        """How a vendor is towards one person: honest every other time."""
        return Mood.HONEST if not self.once_in(2) else self.one(MOODS[phase])

    def pass_mood(self) -> PassMood:
        """How a system is towards a whole pass: mostly well."""
        return self.one(list(PassMood)) if self.once_in(8) else PassMood.WELL

    def death(self) -> int | None:
        """After how many beginnings and ends of transactions the process dies, if it does."""
        return self.number(0, _MOST_BOUNDARIES) if self.once_in(6) else None
