"""Erasure in stages.

Suspended tickets, then tickets (softly, then for good), then users (likewise), the root last.

A soft-deleted ticket names its requester nowhere any more, so its id is kept in the resume token. Source: Support API
2.0.0; support.zendesk.com 4408821737498 for "no user with unclosed tickets" (read 2026-11-22).
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from connectors.base.errors import TemporarilyUnavailable
from connectors.base.kit.stages import Stage, StagedConnector, StagedErasure, StageState
from connectors.base.values import Answer, Record, Subject
from connectors.zendesk.account import ZendeskAccount

USER, TICKET, SUSPENDED = "user", "ticket", "suspended_ticket"
_HELD = Stage("suspended_tickets", SUSPENDED, ends=True)
_SOFT_TICKETS, _PURGE_TICKETS = Stage("tickets", TICKET), Stage("deleted_tickets", TICKET, ends=True)
_SOFT_USERS, _PURGE_USERS = Stage("users", USER), Stage("deleted_users", USER, records_per_call=1, ends=True)
_CLOCK_SKEW = timedelta(hours=1)


class ZendeskErasure(StagedConnector):
    """The stages of one account."""

    stages = (_HELD, _SOFT_TICKETS, _PURGE_TICKETS, _SOFT_USERS, _PURGE_USERS)
    account: ZendeskAccount
    retains_tickets: bool

    @abstractmethod
    def requested(self, user_ids: Collection[str]) -> set[str]:
        """Return tickets that the index knows by these requesters."""

    def send(self, stage: Stage, record_ids: Sequence[str]) -> str | None:
        """Delete users for good one by one, everything else by `destroy_many`."""
        if stage is not _PURGE_USERS:
            return self.account.destroy(f"{stage.name}/destroy_many", record_ids)
        return self.account.purge_user(record_ids[0])

    def poll_jobs(self, jobs: Collection[str]) -> Mapping[str, StageState]:
        """Ask for the jobs. A job's report about an id is no proof; the stages look for the record."""
        return self.account.jobs(jobs)

    def erase_in_stages(self, attempt: StagedErasure) -> None:
        """Run the stages. This look and the resume token say which records are due in each."""
        held = self._held(attempt)
        people = attempt.people()
        self.requested({i for subject in people for i in subject.record_ids(USER)})
        known = {s.ref: self._known_tickets(attempt, s) for s in people}
        requesters = self.account.requesters({i for ids in known.values() for i in ids})
        live = {
            s.ref: {i for i in known[s.ref] if requesters.get(i) in s.record_ids(USER)} for s in people
        }  # A ticket that changed hands is another person's.
        unseen = {ref: ids - set(requesters) for ref, ids in known.items()}
        attempt.erase(_HELD, held)
        if self.retains_tickets:
            self._retain(attempt, live)
        self._soft_delete(attempt, _SOFT_TICKETS, live)
        self._purge_tickets(attempt, live, unseen)
        users = {s.ref: {r.id for r in attempt.looks[s.ref].known if r.object == USER} for s in attempt.people()}
        active = {
            s.ref: {i for i in users[s.ref] if attempt.looks[s.ref].rows[Record(USER, i)]["active"]}
            for s in attempt.people()
        }
        self._soft_delete(attempt, _SOFT_USERS, active)
        attempt.erase(_PURGE_USERS, users)

    def _held(self, attempt: StagedErasure) -> dict[str, set[str]]:
        """Answer for staff and for shared suspended tickets; return the suspended tickets of the others.

        A suspended ticket is a person's by the plan, or by its author, a planned user.
        """
        held: dict[str, set[str]] = {}
        for subject in attempt.people():
            rows, planned = attempt.looks[subject.ref].rows, self.planned(subject)
            staff = [record for record, row in rows.items() if row.get("is_staff")]
            if staff:
                attempt.end(subject, Answer.ambiguous("staff_account", left=self.left(staff, "staff_account")))
                continue
            own = (r for r, row in rows.items() if r in planned or row.get("author_id") in subject.record_ids(USER))
            held[subject.ref] = {record.id for record in own if record.object == SUSPENDED}
        owners = Counter(i for ids in held.values() for i in ids)
        for subject in attempt.people():
            shared = [Record(SUSPENDED, i) for i in held[subject.ref] if owners[i] > 1]
            if shared:
                attempt.end(subject, Answer.ambiguous("shared_record", left=self.left(shared, "shared_record")))
        return held

    def _known_tickets(self, attempt: StagedErasure, subject: Subject) -> set[str]:
        """Return every ticket that was ever this person's, as far as index, plan and resume token know."""
        indexed = self.requested(subject.record_ids(USER))
        return {*indexed, *subject.record_ids(TICKET), *attempt.noted(subject, TICKET)}

    def _retain(self, attempt: StagedErasure, live: Mapping[str, set[str]]) -> None:
        for subject in attempt.people():
            if live[subject.ref]:
                rows = attempt.looks[subject.ref].rows
                kept = [Record(TICKET, i) for i in live[subject.ref]]
                kept += [record for record, row in rows.items() if record.object == USER and row["active"]]
                counts = attempt.progress.of(subject).counts(subject)
                retained = Answer.retained("tickets_retained", left=self.left(kept, "retained"), records=counts)
                attempt.end(subject, attempt.partial(subject, kept, "retained") or retained)

    def _soft_delete(self, attempt: StagedErasure, stage: Stage, targets: Mapping[str, set[str]]) -> None:
        """Soft-delete, then look in the database whether the records are still there."""
        ended = attempt.erase(stage, targets)
        ids = {i for ids in ended.values() for i in ids}
        there: Collection[str] = ()
        if ids:
            there = self.account.requesters(ids) if stage is _SOFT_TICKETS else self.account.active_users(ids)
        self._refuse(attempt, stage, ended, there)

    def _purge_tickets(
        self, attempt: StagedErasure, live: Mapping[str, set[str]], unseen: Mapping[str, set[str]]
    ) -> None:
        """Purge what was soft-deleted, by this batch or by another hand; then look into the bin.

        The end of a job is no proof: a ticket that is still in the bin is purged again next time.
        """
        people = {s.ref: s for s in attempt.people()}
        foreign = any(unseen[ref] - attempt.noted(s, TICKET) for ref, s in people.items())
        binned = self.account.binned_tickets(None)[0] if foreign else set[str]()
        due: dict[str, set[str]] = {}
        for ref, subject in people.items():
            noted = attempt.noted(subject, TICKET) | (unseen[ref] & binned)
            if self.requested(subject.record_ids(USER)) & unseen[ref] - noted:
                # The index shows tickets that neither the database nor the bin does: their user must stay for now.
                wait = self.delay("confirm_after").total_seconds()
                attempt.end(subject, TemporarilyUnavailable("tickets_not_visible", retry_after_seconds=wait))
            purged = {i for i in noted if f"{TICKET}/{i}" in attempt.progress.of(subject).done}
            due[ref] = noted & (live[ref] | unseen[ref]) - purged
        attempt.erase(_PURGE_TICKETS, due)
        noted_by = {s.ref: attempt.noted(s, TICKET) for s in attempt.people()}
        if any(noted_by.values()):
            in_bin, _ = self.account.binned_tickets(attempt.began_at - _CLOCK_SKEW)
            self._refuse(attempt, _PURGE_TICKETS, noted_by, in_bin)

    def _refuse(
        self, attempt: StagedErasure, stage: Stage, ended: Mapping[str, set[str]], there: Collection[str]
    ) -> None:
        wait = self.delay("confirm_after").total_seconds()
        for subject in attempt.people():
            attempt.refuse(subject, stage.object, ended.get(subject.ref, set()) & set(there), wait)
