"""Suppress people record by record, where the vendor can keep a record from being contacted.

Decides that no record is created in order to be suppressed, that only the wanted scopes are changed, that the lease is
asked before each change, and that a person is suppressed only if every record is. People are suppressed one at a time,
so that no other person's call is under way when the lease is lost.
"""

from __future__ import annotations

from abc import abstractmethod

from connectors.base.errors import TemporarilyUnavailable
from connectors.base.interface import Answers, Lease
from connectors.base.kit.look import KitConnector, Look, Row
from connectors.base.values import Answer, AnswerKind, Batch, Record, Subject


class SuppressingConnector(KitConnector):
    """A connector with `Operation.SUPPRESS` and `Operation.READ_SUPPRESSION`.

    A subclass adds `needs_suppression` and `suppress_record`.
    """

    @abstractmethod
    def needs_suppression(self, row: Row, scope: str) -> bool:
        """True if this scope isn't in force on this record.

        Raises AnswerNotUnderstood if the row doesn't show it.
        """

    @abstractmethod
    def suppress_record(self, record: Record, scopes: frozenset[str]) -> None:
        """Bring these scopes into force on one existing record.

        Raises AnswerNotUnderstood if the vendor doesn't confirm it.
        """

    def suppress(self, batch: Batch, lease: Lease) -> Answers:
        """Bring each person's wanted scopes into force on every record.

        ALREADY_ABSENT: the person has no record. Raises LeaseLost.
        """
        people, others = self.addressable(batch)

        def one(subject: Subject, look: Look) -> Answer:
            for record in sorted(look.rows):
                missing = self.missing_scopes(subject, look.rows[record])
                if missing:
                    if not lease.may_proceed(subject.ref):
                        raise TemporarilyUnavailable("stopped")
                    self.suppress_record(record, missing)
            return Answer.suppressed() if look.rows else Answer.already_absent()

        return dict.fromkeys(others, Answer.not_addressable()) | self.after_look(people, one, at_most=1)

    def read_suppression(self, batch: Batch) -> Answers:
        """Look, by every identifier, whether each person's wanted scopes are in force on every record."""
        people, others = self.addressable(batch)
        answers = self.after_look(people, self._read_from)
        return dict.fromkeys(others, Answer.not_addressable()) | answers

    def missing_scopes(self, subject: Subject, row: Row) -> frozenset[str]:
        """Return the person's wanted scopes that aren't in force on this record."""
        return frozenset(scope for scope in self.wanted_scopes(subject) if self.needs_suppression(row, scope))

    def _read_from(self, subject: Subject, look: Look) -> Answer:
        if look.rows:
            missing = any(self.missing_scopes(subject, row) for row in look.rows.values())
            return Answer.not_suppressed() if missing else Answer.suppressed()
        # A second way to look may show a record that the first didn't, and nothing says that it is suppressed.
        is_absent = self.conclude_absence(subject, look).kind is AnswerKind.ALREADY_ABSENT
        return Answer.already_absent() if is_absent else Answer.not_suppressed()
