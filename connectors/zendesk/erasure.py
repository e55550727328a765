"""One pass of `erase` over a batch: suspended tickets, then tickets (twice), then users (twice), the root last.

Every stage is decided by a fresh look plus the saved progress, so a pass may die anywhere and the next one goes on.
Decides order and answers; matching is in matching.py, the calls in api.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from connectors.base.errors import ConnectorError, TemporarilyUnavailable
from connectors.base.interface import Lease
from connectors.base.toolkit.counting import unreported
from connectors.base.values import Answer, Batch, Left, Subject
from connectors.zendesk.api import ZendeskApi, chunks
from connectors.zendesk.jobs import PURGE_TICKETS, SOFT_DELETE_TICKETS, SOFT_DELETE_USERS, Deletion, Jobs
from connectors.zendesk.look import SUSPENDED_TICKET, TICKET, USER, AccountReader, Snapshot
from connectors.zendesk.progress import PersonProgress, Progress

MAX_BIN_PAGES = 10  # the list of deleted tickets takes 10 calls a minute
PATIENCE_WITH_REFUSALS = 3
_CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True)
class Rules:
    """What the system's configuration says about erasing."""

    retain_tickets: bool
    poll_every: timedelta
    search_lag: timedelta


@dataclass
class _Person:
    subject: Subject
    progress: PersonProgress
    snapshot: Snapshot
    planned: set[str] = field(repr=False)
    tickets: set[str] = field(default_factory=set, repr=False)  # live ones
    unseen: set[str] = field(default_factory=set, repr=False)  # not live: in the bin, or gone, or hidden from us

    @property
    def known_tickets(self) -> set[str]:
        """Every ticket id that was ever this person's, as far as search, plan and progress know."""
        return {*self.snapshot.tickets, *self.subject.record_ids(TICKET), *self.progress.tickets}

    @property
    def suspended(self) -> set[str]:
        """Suspended tickets that are planned, or hang on a planned user."""
        frozen = self.subject.record_ids(SUSPENDED_TICKET)
        return {i for i, ticket in self.snapshot.suspended.items() if i in frozen or ticket.author_id in self.planned}


class ErasurePass:
    """One pass; build it anew for each."""

    def __init__(self, api: ZendeskApi, look: AccountReader, rules: Rules, batch: Batch, lease: Lease) -> None:
        self._api = api
        self._look = look
        self._rules = rules
        self._batch = batch
        self._lease = lease
        self._progress = Progress.load(lease.resume_token)
        self._jobs = Jobs(api, lease, self._progress)
        self._people: dict[str, _Person] = {}
        self.answers: dict[str, Answer | ConnectorError] = {}

    def run(self) -> dict[str, Answer | ConnectorError]:
        """Carry every person as far as the vendor's jobs allow, and answer for each."""
        self._settle_jobs()
        stages: tuple[Callable[[], None], ...] = (
            self._look_at_people,
            self._look_at_tickets,
            self._delete_suspended,
            self._keep_retained,
            self._delete_tickets,
            self._purge_tickets,
            self._check_bin,
            self._delete_users,
            self._purge_users,
            self._conclude,
        )
        for stage in stages:
            if len(self.answers) < len(self._batch.subjects):
                stage()
        self._jobs.save()
        return self.answers

    def _settle_jobs(self) -> None:
        """Answer those whose job still runs or failed; the vendor's failures are counted, not only waited for."""
        settled, mine = self._jobs.settle(), {s.ref for s in self._batch.subjects}
        for ref, (object_name, ids) in settled.failed.items():
            if ref in mine - set(self.answers):
                self._refuse(ref, object_name, ids)
        for ref in settled.waiting:
            if ref in mine - set(self.answers):
                self._end(ref, self._accepted())

    def _accepted(self) -> Answer:
        return Answer.accepted(datetime.now(UTC) + self._rules.poll_every, resumes=True)

    def _end(self, ref: str, answer: Answer | ConnectorError) -> None:
        self.answers[ref] = answer
        self._people.pop(ref, None)

    def _look_at_people(self) -> None:
        subjects = [s for s in self._batch.subjects if s.ref not in self.answers]
        begun = {s.ref: self._progress.of(s.ref).users for s in subjects}
        for ref, snapshot in self._look.for_people(subjects, begun).items():
            subject = next(s for s in subjects if s.ref == ref)
            if isinstance(snapshot, ConnectorError):
                self._end(ref, snapshot)
            elif snapshot.has_staff:
                staff = (u.id for u in (*snapshot.live.values(), *snapshot.soft_deleted.values()) if u.is_staff)
                self._end(ref, Answer.ambiguous("staff_account", left=_left(USER, staff, "staff_account")))
            else:
                planned = {*subject.record_ids(USER), *begun[ref]}
                progress = self._progress.of(ref)
                if not progress.has_begun:
                    progress.before = dict(subject.already_reported)
                self._people[ref] = _Person(subject, progress, snapshot, planned)
        self._set_shared_aside()

    def _set_shared_aside(self) -> None:
        """A record that the plans of two people hold is nobody's in particular: a human decides."""
        owners: dict[tuple[str, str], list[str]] = {}
        for ref, person in self._people.items():
            for record in (*((USER, i) for i in person.planned), *((SUSPENDED_TICKET, i) for i in person.suspended)):
                owners.setdefault(record, []).append(ref)
        for (object_name, record_id), refs in owners.items():
            for ref in refs if len(refs) > 1 else ():
                self._end(ref, Answer.ambiguous("shared_record", left=_left(object_name, [record_id], "shared_record")))

    def _look_at_tickets(self) -> None:
        """Live tickets, from the database since the index may be late; one that changed hands is somebody else's."""
        self._look.add_tickets([(person.snapshot, person.planned) for person in self._people.values()])
        live = self._api.show_tickets(sorted({i for p in self._people.values() for i in p.known_tickets}, key=int))
        for person in self._people.values():
            known = person.known_tickets
            person.tickets = {i for i in known if i in live and live[i].requester_id in person.planned}
            person.unseen = known - set(live)

    def _delete_suspended(self) -> None:
        pairs = {i: ref for ref, person in self._people.items() for i in sorted(person.suspended, key=int)}
        for i, ref in pairs.items():
            self._people[ref].progress.suspended.add(i)
        self._jobs.save()
        for part in chunks(list(pairs)):
            for ref in dict.fromkeys(pairs[i] for i in part):
                if ref in self._people and not self._lease.may_proceed(ref):
                    self._end(ref, TemporarilyUnavailable("stopped"))
            ids = [i for i in part if pairs[i] in self._people]
            if ids:
                self._api.delete_suspended(ids)

    def _keep_retained(self) -> None:
        if not self._rules.retain_tickets:
            return
        for ref, person in list(self._people.items()):
            if person.tickets:
                left = _left(TICKET, person.tickets, "retained") + _left(USER, person.snapshot.live, "retained")
                counts = self._unreported(ref, TICKET, person.tickets)
                retained = Answer.retained("tickets_retained", left=left, records=counts)
                self._end(ref, self._new(person, left, counts) or retained)

    def _delete_tickets(self) -> None:
        targets = {ref: person.tickets for ref, person in self._people.items() if person.tickets}
        for ref, ids in targets.items():
            self._people[ref].progress.tickets |= ids
        self._run_jobs(SOFT_DELETE_TICKETS, targets)
        owners = {ref: ids for ref, ids in targets.items() if ref in self._people}
        live = self._api.show_tickets(sorted({i for ids in owners.values() for i in ids}, key=int))
        for ref, ids in owners.items():
            self._refuse(ref, TICKET, ids & set(live))

    def _purge_tickets(self) -> None:
        """Permanently delete what was soft-deleted: by us, or by somebody else since the plan was frozen."""
        is_foreign = any(p.unseen - p.progress.tickets for p in self._people.values())
        binned = self._bin(since=None) if is_foreign else set()
        targets: dict[str, set[str]] = {}
        for ref, person in list(self._people.items()):
            person.progress.tickets |= person.unseen & binned
            if set(person.snapshot.tickets) & person.unseen - person.progress.tickets:
                # The search shows tickets that neither the database nor the bin does: their user must stay for now.
                wait = self._rules.search_lag.total_seconds()
                self._end(ref, TemporarilyUnavailable("tickets_not_visible", retry_after_seconds=wait))
            elif due := person.progress.tickets & (person.tickets | person.unseen) - person.progress.purged:
                targets[ref] = due
        self._run_jobs(PURGE_TICKETS, targets)

    def _check_bin(self) -> None:
        """The end of a job is no proof: a ticket that is still in the bin is purged again next time."""
        owners = {ref: person.progress.tickets for ref, person in self._people.items() if person.progress.tickets}
        if not owners:
            return
        binned = self._bin(since=self._progress.started_at - _CLOCK_SKEW)
        for ref, ids in owners.items():
            self._people[ref].progress.purged -= binned
            self._refuse(ref, TICKET, ids & binned)

    def _delete_users(self) -> None:
        targets: dict[str, set[str]] = {}
        for ref, person in self._people.items():
            person.progress.users |= person.planned & person.snapshot.users
            if due := person.planned & set(person.snapshot.live):
                targets[ref] = due
        self._run_jobs(SOFT_DELETE_USERS, targets)
        owners = {ref: ids for ref, ids in targets.items() if ref in self._people}
        if not owners:
            return
        users = self._api.show_users(sorted({i for ids in owners.values() for i in ids}, key=int))
        for ref, ids in owners.items():
            self._refuse(ref, USER, {i for i in ids if i in users and users[i].active})

    def _purge_users(self) -> None:
        """One call per user; once the vendor's limit is reached, the others wait as well."""
        self._jobs.save()
        limited: TemporarilyUnavailable | None = None
        for ref, person in list(self._people.items()):
            for user_id in sorted(person.progress.users, key=int):
                if limited is None and not self._lease.may_proceed(ref):
                    self._end(ref, TemporarilyUnavailable("stopped"))
                    break
                try:
                    if limited is None:
                        self._api.purge_user(user_id)
                except TemporarilyUnavailable as error:
                    limited = error
                if limited is not None:
                    self._end(ref, limited)
                    break

    def _conclude(self) -> None:
        for ref, person in list(self._people.items()):
            counts = self._unreported(ref)
            done = Answer.erased(counts) if person.progress.has_begun else Answer.already_absent()
            self._end(ref, self._new(person, (), counts) or done)

    def _new(self, person: _Person, left: tuple[Left, ...], counts: Mapping[str, int]) -> Answer | None:
        """The answer for a person with roots that the plan doesn't hold: they were not touched."""
        new = person.snapshot.without(person.planned, person.suspended)
        if not new.users and not new.suspended:
            return None
        self._look.add_tickets([(new, new.users)])
        left += _left(USER, new.users, "not_in_plan") + _left(SUSPENDED_TICKET, new.suspended, "not_in_plan")
        return Answer.partial(left, records=counts, found=self._look.located(person.subject, new))

    def _run_jobs(self, deletion: Deletion, targets: Mapping[str, set[str]]) -> None:
        """Open jobs and look once whether they are done; people whose job still runs are answered."""
        if not targets:
            return
        for ref in self._jobs.open(deletion, {ref: sorted(ids, key=int) for ref, ids in targets.items()}):
            self._end(ref, TemporarilyUnavailable("stopped"))
        self._settle_jobs()

    def _refuse(self, ref: str, object_name: str, ids: set[str]) -> None:
        """The vendor's job ended and these are still there: try again later, and after some times say so."""
        if not ids:
            return
        progress = self._progress.of(ref)
        progress.refusals += 1
        if progress.refusals < PATIENCE_WITH_REFUSALS:
            wait = self._rules.search_lag.total_seconds()
            self._end(ref, TemporarilyUnavailable(f"{object_name}_not_deleted", retry_after_seconds=wait))
        else:
            left = _left(object_name, ids, "refused_by_vendor")
            records = self._unreported(ref, object_name, ids)
            self._end(ref, Answer.partial(left, records=records, reason="refused_by_vendor"))

    def _unreported(self, ref: str, object_left: str = "", left: Collection[str] = ()) -> dict[str, int]:
        """What was erased and not told before, but for what is still there."""
        progress, subject = self._progress.of(ref), next(s for s in self._batch.subjects if s.ref == ref)
        return unreported(progress.counts(object_left, left), progress.before, subject.already_reported)

    def _bin(self, since: datetime | None) -> set[str]:
        return self._api.binned_tickets(since=since, max_pages=MAX_BIN_PAGES)[0]


def _left(object_name: str, ids: Iterable[str], reason: str) -> tuple[Left, ...]:
    return tuple(Left(object_name, i, reason) for i in sorted(ids, key=int))
