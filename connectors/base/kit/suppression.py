"""Suppress people record by record, where the vendor can keep a record from being contacted.

Decides that no record is created in order to be suppressed, and that the lease is asked before each change. People are
suppressed one at a time, so that no other person's call is under way when the lease is lost.
"""

from __future__ import annotations

from abc import abstractmethod

from connectors.base.errors import TemporarilyUnavailable
from connectors.base.interface import Answers, Lease
from connectors.base.kit.look import KitConnector, Look, Row
from connectors.base.values import Answer, Batch, Record, Subject


class SuppressingConnector(KitConnector):
    """A connector with `Operation.SUPPRESS`: a subclass adds `needs_suppression` and `suppress_record`."""

    @abstractmethod
    def needs_suppression(self, row: Row) -> bool:
        """True if the vendor would still contact the person through this record."""

    @abstractmethod
    def suppress_record(self, record: Record) -> None:
        """Keep one record from being contacted. Raises AnswerNotUnderstood if the vendor doesn't confirm it."""

    def suppress(self, batch: Batch, lease: Lease) -> Answers:
        """Suppress every record of every person. ALREADY_ABSENT: the person has no record. Raises LeaseLost."""
        people, others = self.addressable(batch)

        def one(subject: Subject, look: Look) -> Answer:
            for record in sorted(look.rows):
                if self.needs_suppression(look.rows[record]):
                    if not lease.may_proceed(subject.ref):
                        raise TemporarilyUnavailable("stopped")
                    self.suppress_record(record)
            return Answer.suppressed() if look.rows else Answer.already_absent()

        return dict.fromkeys(others, Answer.not_addressable()) | self.after_look(people, one, at_most=1)
