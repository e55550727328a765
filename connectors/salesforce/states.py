"""Where records are now, by id alone: there, in the recycle bin, or gone. Independent of how they were found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum

from connectors.salesforce.expansion import LINK, VERSION, Key
from connectors.salesforce.org import Subanswer
from connectors.salesforce.reading import Reader
from connectors.salesforce.schema import Schema
from connectors.salesforce.soql import selects


class State(StrEnum):
    """`BINNED`: deleted, but still shown by queryAll: in the bin, or purged and not yet cleared away."""

    THERE = "there"
    BINNED = "binned"
    GONE = "gone"


class Look:
    """One look at records by their ids: one statement per object and 4,500 ids.

    A ContentDocumentLink can't be asked for by its own id; it goes with its file or its record, which are asked for.
    So does a file's version with the file: it can't be deleted otherwise.
    """

    def __init__(self, keys: Iterable[Key], schema: Schema) -> None:
        by_object: dict[str, list[str]] = defaultdict(list)
        for name, record_id in sorted(set(keys)):
            if name not in (LINK, VERSION):
                by_object[name].append(record_id)
        self._found = {(name, record_id): State.GONE for name, ids in by_object.items() for record_id in ids}
        self._texts: list[tuple[str, str]] = []
        for name, ids in by_object.items():
            columns = ["Id", *(["IsDeleted"] if schema.objects[name].has("IsDeleted") else [])]
            self._texts += [(name, text) for text in selects(columns, name, [("Id", ids)])]

    @property
    def statements(self) -> list[str]:
        """What is asked, in order."""
        return [text for _, text in self._texts]

    def states(self, reader: Reader, given: Sequence[Subanswer] = ()) -> dict[Key, State]:
        """The state of each record. `given`: answers that the first statements have got already."""
        for (name, _), rows in zip(self._texts, reader.run(self.statements, given), strict=True):
            for row in rows:
                key = (name, str(row["Id"]))
                if key in self._found:
                    self._found[key] = State.BINNED if row.get("IsDeleted") is True else State.THERE
        return self._found
