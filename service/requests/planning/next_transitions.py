"""Read which transitions requests are due for, many at once, from the rows as they are.

Decides that most requests are due for none, so that nothing locks them or reads more of them. The conditions stand in
`sql/next_transitions.sql`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from service.store.arrays import uuid_array
from service.store.execute import execute
from service.store.sql_files import load_sql


class DueTransitions(NamedTuple):
    """The transitions that one request is due for; at least one of these is true.

    `freezes`: its searches have ended, or their time is over. `starts_later`: later systems' steps needn't wait any
    more. `answers`: every step has ended or is accepted. `frees`: others are linked to it, and it ends. `seals`: its
    sealing can be planned. `checks_later`: a step is leased, whose worker may have left the request check to a step
    that has ended since (`request_checks`), so that nothing else would check again.
    """

    id: UUID
    freezes: bool
    starts_later: bool
    answers: bool
    frees: bool
    seals: bool
    checks_later: bool

    @property
    def is_something(self) -> bool:
        """True if a transition is due now."""
        return self.freezes or self.starts_later or self.answers or self.frees or self.seals


def next_transitions(connection: Connection, request_ids: Iterable[UUID]) -> list[DueTransitions]:
    """Return the transitions that are due, for those of these requests that have any. Locks nothing.

    The transaction that carries a transition out locks the request and reads again.
    """
    return [DueTransitions._make(row) for row in execute(connection, _NEXT, {"ids": uuid_array(request_ids)}).all()]


_NEXT = load_sql(__package__, "next_transitions")
