"""Where records are now, by id alone: there, in the recycle bin, or gone. Independent of how they were found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum

from connectors.salesforce.expansion import LINK, VERSION, Key
from connectors.salesforce.org import Subanswer
from connectors.salesforce.reading import Reader
from connectors.salesforce.schema import Schema
from connectors.salesforce.soql import by_id, selects


class State(StrEnum):
    """`BINNED`: deleted, but still shown by queryAll: in the bin, or purged and not yet cleared away."""

    THERE = "there"
    BINNED = "binned"
    GONE = "gone"


class Look:
    """One look at records by their ids: one statement per object and about 5,000 ids.

    A ContentDocumentLink can't be asked for by its own id; it goes with its file or its record, which are asked for.
    So does a file's version with the file: it can't be deleted otherwise.
    `later`: records of which objects are asked for after the others. `only_live`: the recycle bin isn't looked into.
    """

    def __init__(
        self, keys: Iterable[Key], schema: Schema, *, later: Iterable[str] = (), only_live: bool = False
    ) -> None:
        by_object: dict[str, list[str]] = defaultdict(list)
        last = frozenset(later)
        for name, record_id in sorted(set(keys), key=lambda k: (k[0] in last, k)):
            if name not in (LINK, VERSION):
                by_object[name].append(record_id)
        self._asked = {(name, record_id) for name, ids in by_object.items() for record_id in ids}
        self._texts: list[tuple[str, str]] = []
        self.early = 0
        for name, ids in by_object.items():
            tells = schema.objects[name].has("IsDeleted")
            columns = ["Id", *(["IsDeleted"] if tells else [])]
            also = "IsDeleted = false" if tells and only_live else ""
            self._texts += [(name, text) for text in selects(columns, name, [("Id", list(map(by_id, ids)))], also)]
            self.early += len(self._texts) - self.early if name not in last else 0

    @property
    def statements(self) -> list[str]:
        """What is asked, in order: the first `early` of them may be asked before the later objects are deleted."""
        return [text for _, text in self._texts]

    def states(self, reader: Reader, given: Sequence[Subanswer] = ()) -> dict[Key, State]:
        """The state of each record. `given`: answers that the first statements have got already."""
        found = dict.fromkeys(self._asked, State.GONE)
        for (name, _), rows in zip(self._texts, reader.run(self.statements, given), strict=True):
            for row in rows:
                key = (name, str(row["Id"]))
                if key in found:
                    found[key] = State.BINNED if row.get("IsDeleted") is True else State.THERE
        return found
