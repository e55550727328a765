"""Where records are now, by id alone: there, in the recycle bin, or gone. Independent of how they were found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum

from connectors.salesforce.deletion.dependents import LINK, VERSION, Key
from connectors.salesforce.org.org import Subanswer
from connectors.salesforce.org.reading import Reader, Rows, shows
from connectors.salesforce.org.schema import Schema
from connectors.salesforce.org.soql import by_id, quote, selects
from connectors.salesforce.org.statement_packing import Load, loads


class State(StrEnum):
    """`BINNED`: deleted, but still shown by queryAll: in the bin, or purged and not yet cleared away."""

    THERE = "there"
    BINNED = "binned"
    GONE = "gone"


class StateQuery:
    """The states of records by their ids: one statement per object and about 5,000 ids.

    A ContentDocumentLink can't be asked for by its own id; it goes with its file or its record, which are asked for.
    So does a file's version with the file: it can't be deleted otherwise.
    `later`: records of which objects are asked for after the others. `only_live`: the recycle bin isn't looked into,
    apart from one record of an object among `binned`, which were deleted by a call of their own just before: whoever
    sees is shown that one, so it tells an empty answer from a blind one.
    """

    def __init__(
        self,
        keys: Iterable[Key],
        schema: Schema,
        *,
        later: Iterable[str] = (),
        only_live: bool = False,
        binned: Iterable[Key] = (),
    ) -> None:
        by_object: dict[str, list[str]] = defaultdict(list)
        last = frozenset(later)
        for name, record_id in sorted(set(keys), key=lambda k: (k[0] in last, k)):
            if name not in (LINK, VERSION):
                by_object[name].append(record_id)
        self._asked = {(name, record_id) for name, ids in by_object.items() for record_id in ids}
        shown = dict(sorted(set(binned) & self._asked))
        self._texts: list[tuple[str, str]] = []
        self._sure: set[int] = set()
        self._rows: dict[int, Rows] = {}
        self._riding: list[int] = []
        self._early = 0
        for name, ids in by_object.items():
            tells = schema.objects[name].has("IsDeleted") and only_live
            columns = ["Id", *(["IsDeleted"] if schema.objects[name].has("IsDeleted") else [])]
            also = "IsDeleted = false" if tells else ""
            if tells and name in shown:
                self._sure.add(len(self._texts))
                ids.sort(key=lambda i: i != shown[name])  # into the first of its statements
                also = f"(IsDeleted = false OR Id = {quote(by_id(shown[name]))})"
            self._texts += [(name, text) for text in selects(columns, name, [("Id", list(map(by_id, ids)))], also)]
            self._early = len(self._texts) if name not in last else self._early

    def riders(self, room: int, control: str | None, *, only_early: bool) -> list[str]:
        """Return statements for the room in another call, with a proof of visibility; `answered` takes the answers.

        `control`: asked for as well where nothing else is sure to show a row; None: that call has its own proof.
        `only_early`: records that are asked for later aren't deleted yet.
        """
        self._riding = self._chosen(self._due(only_early=only_early), room, needs_proof=control is not None)
        has_proof = control is None or not self._riding or bool(self._sure & set(self._riding))
        return [*(self._texts[n][1] for n in self._riding), *([] if has_proof else [str(control)])]

    def answered(self, reader: Reader, answers: Sequence[Subanswer]) -> None:
        """Answers to the riders of one call, which count if they show that it saw; else they are asked for again."""
        riding, self._riding = self._riding[: len(answers)], []
        sure = [n in self._sure for n in riding] + [True] * (len(answers) - len(riding))
        if answers and shows(answers, sure):
            if len(answers) > len(riding):
                reader.control.is_shown(reader.whole(answers[-1:])[0])
            self._rows |= dict(zip(riding, reader.whole(answers[: len(riding)]), strict=True))

    def rode(self, rows: Sequence[Rows]) -> None:
        """Rows of the riders, from calls that saw."""
        self._rows |= dict(zip(self._riding, rows, strict=True))
        self._riding = []

    def calls_after(self, early_room: int, room: int) -> int:
        """How many calls `states` takes if riders went in so much room before."""
        early = self._chosen(self._due(only_early=True), early_room, needs_proof=True)
        due = [n for n in self._due() if n not in early]
        rest = [n for n in due if n not in self._chosen(due, room, needs_proof=True)]
        return len(self._loads(rest))

    def states(self, reader: Reader) -> dict[Key, State]:
        """The state of each record."""
        found = dict.fromkeys(self._asked, State.GONE)
        due = self._due()
        sure = [place for place, n in enumerate(due) if n in self._sure]
        # Deleted records aren't there any more: no row is the usual answer.
        rows = reader.run([self._texts[n][1] for n in due], sure, expecting=False)
        self._rows |= dict(zip(due, rows, strict=True))
        for number, (name, _) in enumerate(self._texts):
            for row in self._rows[number]:
                key = (name, str(row["Id"]))
                if key in found:
                    found[key] = State.BINNED if row.get("IsDeleted") is True else State.THERE
        return found

    def _due(self, *, only_early: bool = False) -> list[int]:
        most = self._early if only_early else len(self._texts)
        return [n for n in range(most) if n not in self._rows]

    def _loads(self, due: Sequence[int]) -> list[Load]:
        return loads(len(due), [place for place, n in enumerate(due) if n in self._sure], expecting=False)

    def _chosen(self, due: Sequence[int], room: int, *, needs_proof: bool) -> list[int]:
        """One sure statement for the proof, the others are kept for other calls as long as there is anything else."""
        sure = [n for n in due if n in self._sure]
        plain = [n for n in due if n not in self._sure]
        chosen = plain[: max(0, room - needs_proof)]
        return chosen + sure[: max(0, room - len(chosen))]
