"""The resume token: how many rows of each table this batch took from each person.

Decides its form, and which rows count as taken.

The rows themselves need no token, since they are found anew. Only the database can say whether a transaction whose
process died was committed: what it was about to take, and is there no more, was taken.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from connectors.base.errors import AnswerNotUnderstood
from connectors.base.toolkit.counting import unreported
from connectors.base.values import Subject

Counts = dict[str, dict[str, int]]


@dataclass
class Memory:
    """Rows per person and table.

    `done`: taken. `pending`: a transaction was about to take them. `before`: reported when the batch began.
    """

    done: Counts = field(default_factory=dict)
    pending: Counts = field(default_factory=dict)
    before: Counts = field(default_factory=dict)

    def about_to(self, taken: Mapping[str, Mapping[str, int]]) -> None:
        """Note the rows that the next commit takes."""
        for ref, counts in taken.items():
            self.pending.setdefault(ref, {}).update(counts)

    def settle(
        self, people: Iterable[Subject], tables: Collection[str], there: Mapping[str, Mapping[str, int]]
    ) -> None:
        """A look shows which of the rows that were about to be taken are still `there`: the others are done."""
        for subject in people:
            pending, done = self.pending.get(subject.ref, {}), self.done.setdefault(subject.ref, {})
            for table in [name for name in pending if name in tables]:
                gone = pending.pop(table) - there.get(subject.ref, {}).get(table, 0)
                if gone > 0:
                    done[table] = done.get(table, 0) + gone

    def has_taken(self, ref: str) -> bool:
        """True if this batch took a row of the person."""
        return any(self.done.get(ref, {}).values())

    def unreported(self, subject: Subject) -> dict[str, int]:
        """Return the counts of the person's next answer."""
        return unreported(self.done.get(subject.ref, {}), self.before.get(subject.ref, {}), subject.already_reported)

    def dump(self) -> bytes:
        """The token: names of tables and numbers."""
        begun = {ref for ref in {*self.done, *self.pending} if self.done.get(ref) or self.pending.get(ref)}
        parts = {"done": self.done, "pending": self.pending, "before": self.before}
        saved = {name: {r: counts for r, counts in part.items() if r in begun} for name, part in parts.items()}
        return json.dumps(saved, sort_keys=True).encode()

    @classmethod
    def load(cls, token: bytes | None) -> Memory:
        """Return the saved memory, or a new one."""
        if token is None:
            return cls()
        try:
            saved = json.loads(token)
            return cls(*(_counts(saved[name]) for name in ("done", "pending", "before")))
        except (ValueError, AttributeError, TypeError, KeyError):
            raise AnswerNotUnderstood("resume_token") from None


def _counts(saved: Mapping[str, Mapping[str, int]]) -> Counts:
    return {str(ref): {str(table): int(n) for table, n in tables.items()} for ref, tables in saved.items()}
