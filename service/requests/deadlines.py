"""Take the one extension that the law allows, while the first period still runs.

Decides when that is possible. The notice to the requester, with the reasons, is the privacy team's to send, within the
first period (Regulation (EU) 2016/679 Art. 12(3), not read again; 11 CCR § 7021(b), a copy read 2026-11-22): afterwards
an extension is refused.
"""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from service.domain.audit.schema import instant_text
from service.domain.errors import WrongState
from service.domain.requests.deadlines import REGIMES, extended_respond_by
from service.domain.requests.states import UNFINISHED
from service.requests.locking import request_change
from service.requests.steps.schedule import write_deadline
from service.settings import Settings
from service.store.audit_log.record_change import change_rows
from service.store.locking import database_now, lock_request, lock_steps
from service.store.stores import Stores


class ExtensionReason(StrEnum):
    """Why more time is needed: the first two are those of Art. 12(3)."""

    COMPLEXITY = "complexity"
    NUMBER_OF_REQUESTS = "number_of_requests"
    OTHER_NECESSITY = "other_necessity"


def extend_request(
    stores: Stores, settings: Settings, request_id: UUID, *, reason: ExtensionReason, actor: str
) -> None:
    """Move `respond_by` to the extended end, counted from receipt. Raises NotFound, WrongState."""
    with stores.engine.begin() as connection:
        row = lock_request(connection, request_id)
        now = database_now(connection)
        if row.state not in UNFINISHED:
            raise WrongState("the request has ended already")
        if row.extended_at is not None:
            raise WrongState("the request was extended already")
        if now > row.respond_by:
            raise WrongState("the first period is over: an extension had to be notified within it")
        respond_by = extended_respond_by(REGIMES[row.regime], row.received_at, settings.service.zone)
        lock_steps(connection, [request_id])
        write_deadline(connection, request_id, respond_by)
        change = request_change(row, "request_extended", respond_by=instant_text(respond_by), reason=reason.value)
        extended = "respond_by = :by, extended_at = :now, extension_reason = :reason"
        values = {"by": respond_by, "now": now, "reason": reason}
        change_rows(connection, "request", extended, values, [change], actor=actor, at=now)
