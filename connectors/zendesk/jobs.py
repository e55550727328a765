"""Deletion jobs for many people at once: opened once the ids are saved, polled by the ids they work on.

Decides who waits for which job. Zendesk's job answer names no key of ours, so after a lost answer a second job may be
opened for the same ids; deleting what is deleted already fails for that id alone and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from connectors.base.interface import Lease
from connectors.zendesk.api import ZendeskApi, chunks
from connectors.zendesk.progress import OpenJob, Progress


@dataclass(frozen=True, slots=True)
class Deletion:
    """One way to delete many: the call and the object whose ids it takes."""

    path: str
    object: str
    is_purge: bool = False


SOFT_DELETE_TICKETS = Deletion("/api/v2/tickets/destroy_many", "ticket")
PURGE_TICKETS = Deletion("/api/v2/deleted_tickets/destroy_many", "ticket", is_purge=True)
SOFT_DELETE_USERS = Deletion("/api/v2/users/destroy_many", "user")


@dataclass
class Settled:
    """People for whom a job still runs, and those whose job failed as a whole, with what it should have deleted."""

    waiting: set[str] = field(default_factory=set)
    failed: dict[str, tuple[str, set[str]]] = field(default_factory=dict, repr=False)


class Jobs:
    """The jobs of one batch."""

    def __init__(self, api: ZendeskApi, lease: Lease, progress: Progress) -> None:
        self._api = api
        self._lease = lease
        self._progress = progress
        self._saved = lease.resume_token

    def save(self) -> None:
        """Store the progress durably if it changed."""
        if self._saved is None and self._progress.is_empty:
            return
        token = self._progress.dump()
        if token != self._saved:
            self._lease.save(token)
            self._saved = token

    def open(self, deletion: Deletion, targets: Mapping[str, Sequence[str]]) -> set[str]:
        """Delete each person's ids, 100 a job; returns the people for whom the engine said stop.

        The ids must stand in the progress already: it is saved before the first job.
        """
        self.save()
        stopped: set[str] = set()
        pairs = {i: ref for ref, ids in targets.items() for i in ids}
        for part in chunks(list(pairs)):
            stopped |= {ref for ref in dict.fromkeys(pairs[i] for i in part) if not self._lease.may_proceed(ref)}
            ids = [i for i in part if pairs[i] not in stopped]
            if ids:
                job = self._api.open_job(deletion.path, ids)
                self._progress.jobs.append(OpenJob(job.id, deletion.object, deletion.is_purge, frozenset(ids)))
                self.save()
        return stopped

    def settle(self) -> Settled:
        """Ask how the open jobs are; those that ended, and those unknown to the vendor, are forgotten.

        What a job reports about an id is not taken as proof; the caller looks whether the record is there.
        """
        settled = Settled()
        if not self._progress.jobs:
            return settled
        known = self._api.show_jobs([job.id for job in self._progress.jobs])
        jobs, self._progress.jobs = self._progress.jobs, []
        for job in jobs:
            status = known.get(job.id)
            if status is None:
                continue
            for ref, person in self._progress.people.items():
                if not (ids := person.ids(job.object) & job.ids):
                    continue
                if status.is_running:
                    settled.waiting.add(ref)
                elif status.status != "completed":
                    settled.failed[ref] = (job.object, ids)
                elif job.is_purge:
                    person.purged |= ids
            if status.is_running:
                self._progress.jobs.append(job)
        return settled
