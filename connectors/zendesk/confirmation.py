"""`confirm_absence`: a look by every identifier and every frozen id, after the index has caught up.

Decides what counts as absent. Users are looked for in the search, by id, among the deleted ones; tickets in the search
by requester, by id, and in the bin; last the vendor's own record of a permanent deletion is asked whether it is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from connectors.base.errors import AnswerNotUnderstood, ConnectorError
from connectors.base.toolkit.concurrently import for_each_person
from connectors.base.values import Answer, Batch, Left, Subject
from connectors.zendesk.api import ZendeskApi
from connectors.zendesk.erasure import MAX_BIN_PAGES
from connectors.zendesk.look import SUSPENDED_TICKET, TICKET, USER, AccountReader, Snapshot

_REQUESTED, _STARTED, _COMPLETE = "request_deletion", "started", "complete"


class Confirmation:
    """One look at a batch."""

    def __init__(
        self,
        api: ZendeskApi,
        look: AccountReader,
        *,
        retain_tickets: bool,
        search_lag: timedelta,
        purge_after: timedelta,
        at_most: int = 1,
    ) -> None:
        """`at_most`: people whose records at the vendor are asked for together."""
        self._api = api
        self._at_most = at_most
        self._look = look
        self._retain_tickets = retain_tickets
        self._search_lag = search_lag
        self._purge_after = purge_after
        self._live_tickets: set[str] = set()
        self._requesters: dict[str, str] = {}
        self._binned: set[str] = set()
        self._bin_seen_whole = True

    def run(self, batch: Batch) -> dict[str, Answer | ConnectorError]:
        """An answer for each person."""
        snapshots = self._look.for_people(batch.subjects)
        frozen_tickets: set[str] = set()
        indexed: set[str] = set()
        seen = [
            (subject, snapshot)
            for subject in batch.subjects
            if isinstance(snapshot := snapshots[subject.ref], Snapshot)
        ]
        self._look.add_tickets([(snapshot, {*subject.record_ids(USER), *snapshot.users}) for subject, snapshot in seen])
        for subject, snapshot in seen:
            frozen_tickets |= set(subject.record_ids(TICKET))
            indexed |= set(snapshot.tickets)
        shown = self._api.show_tickets(sorted(frozen_tickets | indexed, key=int))
        self._requesters = {ticket.id: ticket.requester_id for ticket in shown.values()}
        if frozen_tickets:
            self._binned, self._bin_seen_whole = self._api.binned_tickets(since=None, max_pages=MAX_BIN_PAGES)
        return for_each_person(batch.subjects, lambda s: self._answer(s, snapshots[s.ref]), at_most=self._at_most)

    def _answer(self, subject: Subject, snapshot: Snapshot | ConnectorError) -> Answer:
        if isinstance(snapshot, ConnectorError):
            raise snapshot
        users = set(subject.record_ids(USER))
        tickets = {*subject.record_ids(TICKET), *snapshot.tickets}
        live = {i for i in tickets if self._requesters.get(i) in users | snapshot.users}
        left = self._left(subject, snapshot, live)
        new = snapshot.without(users, set(subject.record_ids(SUSPENDED_TICKET)))
        if new.users or new.suspended:
            new.tickets = {i: t for i, t in snapshot.tickets.items() if t.requester_id in new.users}
            return Answer.partial(left, found=self._look.located(subject, new))
        if left and self._retain_tickets and live and all(entry.object in (USER, TICKET) for entry in left):
            return Answer.retained("tickets_retained", left=left)
        if left:
            return Answer.partial(left)
        if snapshot.tickets:
            # Shown by the search, unknown to the database: the index is late, so nothing is proven yet.
            return Answer.accepted(datetime.now(UTC) + self._search_lag)
        return self._vendors_record(subject)

    def _left(self, subject: Subject, snapshot: Snapshot, live_tickets: set[str]) -> tuple[Left, ...]:
        users, suspended = set(subject.record_ids(USER)), set(subject.record_ids(SUSPENDED_TICKET))
        staff = {user.id for user in snapshot.live.values() if user.is_staff}
        return (
            *_entries(USER, users & staff, "staff_account"),
            *_entries(USER, users & set(snapshot.live) - staff, "still_there"),
            *_entries(USER, users & set(snapshot.soft_deleted), "soft_deleted"),
            *_entries(TICKET, live_tickets, "still_there"),
            *_entries(TICKET, self._binned & set(subject.record_ids(TICKET)), "soft_deleted"),
            *_entries(SUSPENDED_TICKET, suspended & set(snapshot.suspended), "still_there"),
        )

    def _vendors_record(self, subject: Subject) -> Answer:
        pending = any(self._is_pending(user_id) for user_id in subject.record_ids(USER))
        if pending:
            return Answer.accepted(datetime.now(UTC) + max(self._purge_after, timedelta(seconds=1)))
        return Answer.already_absent(not_covered=() if self._bin_seen_whole else ("older_deleted_tickets",))

    def _is_pending(self, user_id: str) -> bool:
        """True while an application has started, or not yet taken up, the deletion that was requested.

        Actions are those of the specification's example; another one is not understood and never counts as done.
        """
        rows = self._api.compliance_rows(user_id)
        if not rows:
            return False
        if any(action not in (_REQUESTED, _STARTED, _COMPLETE) for _, action in rows):
            raise AnswerNotUnderstood("compliance_action")
        complete = {application for application, action in rows if action == _COMPLETE}
        started = {application for application, action in rows if action == _STARTED}
        return not complete or bool(started - complete)


def _entries(object_name: str, ids: Iterable[str], reason: str) -> tuple[Left, ...]:
    return tuple(Left(object_name, i, reason) for i in sorted(ids, key=int))
