"""Find records and identifiers that belong to two people of one run; no identity graph is asked.

A root record or an identifier of two people of the run is ambiguous for both of them, and nothing is done to either.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from connectors.base.interface import Declaration, ErasesBy
from connectors.base.values import Identifier, Located, Record, Subject


class Sharing:
    """Remembers which person of the run owns which identifier and was found by which root record."""

    def __init__(self, subjects: Iterable[Subject]) -> None:
        self._roots: dict[Record, set[str]] = defaultdict(set)
        self._owners: dict[tuple[str, str], set[str]] = defaultdict(set)
        for subject in subjects:
            for identifier in subject.identifiers:
                self._owners[_normal(identifier)].add(subject.ref)

    def note(self, ref: str, found: Located) -> frozenset[str]:
        """Remember what was found for one person; the others of the run whose it may be as well."""
        others: set[str] = set()
        for record in found.records:
            self._roots[record].add(ref)
            others |= self._roots[record]
        for carried in found.identifiers:
            others |= self._owners.get(_normal(carried), set())
        return frozenset(others - {ref})

    def ambiguous(self, found: Mapping[str, tuple[Subject, Located | None]], declared: Declaration) -> frozenset[str]:
        """Everybody of the run who shares something with somebody else of it. `None`: nobody has looked."""
        shared: set[str] = set()
        for ref, (subject, located) in found.items():
            others = set(self.note(ref, located or Located()))
            if located is None or (declared.erases_by is ErasesBy.IDENTIFIERS and not located.is_empty):
                # The vendor would be told the identifier and would erase whatever it stands on.
                for identifier in subject.identifiers:
                    if identifier.kind in declared.identifier_kinds:
                        others |= self._owners[_normal(identifier)] - {ref}
            shared |= others | {ref} if others else set()
        return frozenset(shared)


def _normal(identifier: Identifier) -> tuple[str, str]:
    value = identifier.value.strip()
    return identifier.kind, value.casefold() if identifier.kind == "email" else value
