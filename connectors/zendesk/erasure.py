"""Erasure in stages.

Suspended tickets, then tickets (softly, then for good), then users (likewise), the root last.

A soft-deleted ticket names its requester nowhere any more, so its id is kept in the resume token. Source: Support API
2.0.0; support.zendesk.com 4408821737498 for "no user with unclosed tickets" (read 2026-11-22).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from connectors.base.errors import TemporarilyUnavailable
from connectors.base.kit.stages import Stage, StagedConnector, StagedErasure, StageState
from connectors.base.values import Answer, Record
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

    def still_there(self, stage: Stage, record_ids: Collection[str], began_at: datetime) -> Collection[str]:
        """Look in the database after a soft deletion, and in the bin after tickets were deleted for good."""
        if stage is _SOFT_TICKETS:
            return self.account.requesters(record_ids)
        if stage is _SOFT_USERS:
            return self.account.active_users(record_ids)
        return self.account.binned_tickets(began_at - _CLOCK_SKEW)[0] if stage is _PURGE_TICKETS else ()

    def erase_in_stages(self, attempt: StagedErasure) -> None:
        """Run the stages. This look and the resume token say which records are due in each."""
        people = {subject.ref: subject for subject in attempt.people()}
        users = {ref: attempt.known(subject, USER) for ref, subject in people.items()}
        indexed = {ref: self.requested(subject.record_ids(USER)) for ref, subject in people.items()}
        known = {ref: {*indexed[ref], *s.record_ids(TICKET), *attempt.noted(s, TICKET)} for ref, s in people.items()}
        requesters = self.account.requesters({i for ids in known.values() for i in ids})
        # A ticket that changed hands is another person's.
        live = {ref: {i for i in known[ref] if requesters.get(i) in s.record_ids(USER)} for ref, s in people.items()}
        unseen = {ref: ids - set(requesters) for ref, ids in known.items()}
        attempt.erase(_HELD, {ref: attempt.known(subject, SUSPENDED) for ref, subject in people.items()})
        if self.retains_tickets:
            self._retain(attempt, live)
        attempt.erase(_SOFT_TICKETS, live)
        attempt.erase(_PURGE_TICKETS, self._soft_deleted(attempt, indexed, live, unseen))
        attempt.erase(
            _SOFT_USERS, {ref: {i for i in ids if self._is_active(attempt, ref, i)} for ref, ids in users.items()}
        )
        attempt.erase(_PURGE_USERS, users)

    def _is_active(self, attempt: StagedErasure, ref: str, user_id: str) -> bool:
        return bool(attempt.looks[ref].rows[Record(USER, user_id)]["active"])

    def _retain(self, attempt: StagedErasure, live: Mapping[str, set[str]]) -> None:
        for subject in attempt.people():
            if live[subject.ref]:
                kept = [Record(TICKET, i) for i in live[subject.ref]]
                users = attempt.known(subject, USER)
                kept += [Record(USER, i) for i in users if self._is_active(attempt, subject.ref, i)]
                counts = attempt.progress.of(subject).counts(subject)
                retained = Answer.retained("tickets_retained", left=self.left(kept, "retained"), records=counts)
                attempt.end(subject, attempt.partial(subject, kept, "retained") or retained)

    def _soft_deleted(
        self,
        attempt: StagedErasure,
        indexed: Mapping[str, set[str]],
        live: Mapping[str, set[str]],
        unseen: Mapping[str, set[str]],
    ) -> dict[str, set[str]]:
        """Return tickets that were soft-deleted by this batch, or by another hand since the plan was frozen.

        Answers for people whose tickets are shown by the index, but neither by the database nor by the bin: their user
        must stay for now.
        """
        people = {subject.ref: subject for subject in attempt.people()}
        noted = {ref: attempt.noted(subject, TICKET) for ref, subject in people.items()}
        is_foreign = any(unseen[ref] - noted[ref] for ref in people)
        binned = self.account.binned_tickets(None)[0] if is_foreign else set[str]()
        for ref, subject in people.items():
            noted[ref] |= unseen[ref] & binned
            if indexed[ref] & unseen[ref] - noted[ref]:
                wait = self.delay("confirm_after").total_seconds()
                attempt.end(subject, TemporarilyUnavailable("tickets_not_visible", retry_after_seconds=wait))
        return {ref: ids & (live[ref] | unseen[ref]) for ref, ids in noted.items()}
