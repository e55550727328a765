"""Jobs of one pass: one at a time, opened once, waited for a little, read to the last row.

Decides when a job is worth its calls and how often it is looked at; bulk.py words the calls. A job that takes longer
than this pass waits is left in the resume token, and the next pass goes on from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from connectors.base.errors import TemporarilyUnavailable
from connectors.salesforce.deletion.bulk import JOB_FAILED, MAX_IDS, HardDelete
from connectors.salesforce.deletion.dependents import Key
from connectors.salesforce.deletion.progress import OpenJob, Progress
from connectors.salesforce.deletion.writing import Ask, Entry, Verdict
from connectors.salesforce.org.org import Org
from connectors.salesforce.org.schema import Schema
from connectors.salesforce.policy import SalesforcePolicy

_LOOKS = (1, 2)  # times `poll_every` before each look of this pass: most jobs take seconds, and each look is a call
_LONGEST_WAIT = timedelta(seconds=20)  # a connector sleeps no longer than a request may take


@dataclass
class JobsRun:
    """What came of it. `goes_on`: a job is still running. `unused`: rows that must go by other calls."""

    verdicts: dict[Key, Verdict]
    unused: list[Entry]
    goes_on: bool = False


class JobDeletion:
    """Deletes by jobs, as far as that is allowed."""

    def __init__(
        self,
        org: Org,
        schema: Schema,
        policy: SalesforcePolicy,
        progress: Progress,
        save: Callable[[], None],
        ask: Ask,
        poll_every: timedelta,
    ) -> None:
        self._jobs = HardDelete(org)
        self._schema = schema
        self._policy = policy
        self._progress = progress
        self._save = save
        self._ask = ask
        self._poll_every = min(poll_every, _LONGEST_WAIT)
        self._is_permitted = True
        self.deleted: set[Key] = set()  # past the recycle bin; those that were refused among them

    def suits(self, name: str, count: int) -> bool:
        """True if so many records of this object go by jobs."""
        wanted = self._policy.purge == "hard_delete" or (
            self._policy.purge == "auto" and count >= self._policy.bulk_from
        )
        return wanted and self._is_permitted and self._schema.objects[name].deletable

    def run(self, name: str, entries: Sequence[Entry]) -> JobsRun:
        """Delete these, job after job, until all are done or one takes too long."""
        verdicts: dict[Key, Verdict] = {}
        for start in range(0, len(entries), MAX_IDS):
            some = entries[start : start + MAX_IDS]
            allowed = {owners: self._ask(owners) for _, owners in some}
            verdicts |= {key: Verdict.STOPPED for key, owners in some if not allowed[owners]}
            ids = [key[1] for key, owners in some if allowed[owners]]
            if not ids:
                continue
            job = self._jobs.open(name, ids, self._keep)
            if job is None:
                self._is_permitted = False
                self._keep(None)
                return JobsRun(verdicts, list(entries[start:]))
            self.deleted |= {(name, i) for i in ids}
            ended = None
            for times in _LOOKS:
                time.sleep((self._poll_every * times).total_seconds())
                if (ended := self.look()) is not None:
                    break
            if ended is None:
                return JobsRun(verdicts, [], goes_on=True)
            verdicts |= ended
        return JobsRun(verdicts, [])

    def look(self) -> dict[Key, Verdict] | None:
        """Look at the open job once: None while it runs, else what failed.

        One that was intended and never answered is looked for among the org's; not found: it was never opened.
        """
        job = self._progress.job
        if job is None:
            return {}
        if job.id is None:
            job.id = self._jobs.find(job)
        try:
            verdicts = self._jobs.verdicts(job) if job.id is not None else {}
        except TemporarilyUnavailable as error:
            if error.code == JOB_FAILED:
                # It is over. The next pass looks at what it did and goes on with another one, not with this.
                self._keep(None)
            raise
        if verdicts is None:
            self._keep(job)
            return None
        self._keep(None)
        return {(job.object, record_id): verdict for record_id, verdict in verdicts.items()}

    def _keep(self, job: OpenJob | None) -> None:
        self._progress.job = job
        self._save()
