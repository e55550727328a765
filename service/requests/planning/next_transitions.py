"""See what follows for requests whose steps moved: one reading for many, from the rows as they are.

Decides that nothing follows for most of them, so that nobody locks or reads more of these. Locks nothing and changes
nothing: whoever acts on it locks the requests and sees again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from service.domain.execution.states import EARLIER_SYSTEM, Phase, StepState
from service.domain.requests.states import WITHDRAWN_STATES, Duty, Progress, RequestState
from service.store.arrays import listed
from service.store.execute import run

_HAS_ENDED = "ended_at IS NOT NULL"
_FINISHED = sorted({RequestState.FULFILLED, *WITHDRAWN_STATES, RequestState.EXPIRED})
_IS_FINISHED = "r.state IN ({})".format(", ".join(f"'{state}'" for state in _FINISHED))
BUSY = f"NOT {_HAS_ENDED} AND phase <> '{Phase.CONFIRM}'"
"""A step that hasn't had its effect yet: later systems wait for it."""
WAITS_FOR_EARLIER = (
    f"(state = '{StepState.DUE}' AND waits_for_order OR state = '{StepState.ACCEPTED}' AND reason = '{EARLIER_SYSTEM}')"
)
# Parked searches don't hold up the others: their step stays in the plan and goes on when a human acted.
_SEARCHES = f"phase = '{Phase.LOCATE}' AND NOT located AND NOT {_HAS_ENDED} AND state <> '{StepState.PARKED}'"
# Accepted as a whole: the vendor will do it and only a look is owed. While one job of several runs, the next hasn't
# even begun.
_IS_TOLD = (
    f"{_HAS_ENDED} OR state = '{StepState.ACCEPTED}' AND phase = '{Phase.CONFIRM}'"
    f" AND reason IS DISTINCT FROM '{EARLIER_SYSTEM}'"
)
_SEE = (
    "SELECT r.id, a.freezes, c.goes_on, c.answers, d.frees, d.seals, b.is_planned AND s.leased AS looks_later"  # noqa: S608
    " FROM requests r"
    # One probe of an index for each request, however many steps are in the table.
    f" CROSS JOIN LATERAL (SELECT count(*) AS steps, coalesce(bool_or(state = '{StepState.LEASED}'), false) AS leased,"
    f" coalesce(bool_or({_SEARCHES}), false) AS searching, coalesce(bool_and({_HAS_ENDED}), true) AS all_ended,"
    f" coalesce(bool_and({_IS_TOLD}), true) AS all_told, min(position) FILTER (WHERE {BUSY}) AS first_busy,"
    f" min(position) FILTER (WHERE {WAITS_FOR_EARLIER} AND due_at > (SELECT clock_timestamp())) AS first_waiting"
    " FROM steps WHERE request_id = r.id) AS s"
    f" CROSS JOIN LATERAL (SELECT {_IS_FINISHED} AS is_finished, coalesce(r.duty = '{Duty.FREEZE}'"
    " AND (r.due_at <= (SELECT clock_timestamp()) OR NOT s.searching), false) AS freezes) AS a"
    " CROSS JOIN LATERAL (SELECT NOT a.freezes AND (r.plan_version > 0 OR a.is_finished) AS is_planned) AS b"
    " CROSS JOIN LATERAL (SELECT"
    " b.is_planned AND coalesce(s.first_waiting <= coalesce(s.first_busy, s.first_waiting), false) AS goes_on,"
    f" b.is_planned AND r.state = '{RequestState.IN_PROGRESS}' AND s.steps > 0 AND s.all_told"
    f" AND coalesce(r.reason IN ('{Progress.ERASING}', '{Progress.LOCATING}'), false) AS answers) AS c"
    " CROSS JOIN LATERAL (SELECT"
    " (b.is_planned AND a.is_finished OR c.answers) AND EXISTS (SELECT 1 FROM requests l WHERE l.linked_to = r.id"
    f" AND l.state = '{RequestState.IN_PROGRESS}' AND l.reason = '{Progress.LINKED}') AS frees,"
    " (b.is_planned AND a.is_finished OR c.answers) AND r.duty IS NULL AND r.sealed_at IS NULL AND s.all_ended"
    " AS seals) AS d"
    " WHERE r.id = ANY(CAST(:ids AS uuid[]))"
    " AND (a.freezes OR c.goes_on OR c.answers OR d.frees OR d.seals OR b.is_planned AND s.leased)"
    " ORDER BY r.id"
)


@dataclass(frozen=True)
class Following:
    """What follows for one request; at least one of these, or it `looks_later`.

    `freezes`: its searches have answered, or patience is over. `goes_on`: a later system needn't wait any more.
    `answers`: every step has ended or is accepted. `frees`: others are linked to it, and it ends. `seals`: its sealing
    can be planned. `looks_later`: a step is leased, whose recorder may have left the asking to a step that has ended
    since (ask_to_look): nobody else may ask again.
    """

    id: UUID
    freezes: bool
    goes_on: bool
    answers: bool
    frees: bool
    seals: bool
    looks_later: bool

    @property
    def is_something(self) -> bool:
        """True if there is anything to do now."""
        return self.freezes or self.goes_on or self.answers or self.frees or self.seals


def see_what_follows(connection: Connection, request_ids: Iterable[UUID]) -> list[Following]:
    """Those of these requests for which something follows, or that must be looked at later."""
    return [Following(*row) for row in run(connection, _SEE, {"ids": listed(request_ids)}).all()]
