"""The effects of one pass, and how many calls they take. Decides nothing: it counts the calls that will be made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from connectors.salesforce.deletion.bulk import MAX_IDS as MAX_JOB_IDS
from connectors.salesforce.deletion.hard_deletion import JobDeletion
from connectors.salesforce.deletion.planning import Change
from connectors.salesforce.deletion.purging import MAX_IDS as MAX_PURGED_IDS
from connectors.salesforce.deletion.states import StateQuery
from connectors.salesforce.deletion.writing import Entry, Writer
from connectors.salesforce.org.schema import Schema

_CALLS_A_JOB = 2  # opened with its rows, looked at once; another for each look more, and for the rows that failed


@dataclass(frozen=True)
class Effects:
    """Changes first, then dependents in order; roots follow when those are gone. `look`: the ids to look for."""

    changes: tuple[Change, ...] = field(repr=False)
    dependents: tuple[Entry, ...] = field(repr=False)
    look: StateQuery = field(repr=False)


class CallCount:
    """Counts the calls that effects take."""

    def __init__(self, writer: Writer, jobs: JobDeletion, schema: Schema) -> None:
        self._writer = writer
        self._jobs = jobs
        self._schema = schema

    def of(self, effects: Effects, roots: Sequence[Entry], *, purges: bool) -> dict[str, int]:
        """Return the number of calls by their purpose."""
        first, room = self._deleting(effects.dependents, effects.changes)
        second, room_after = self._deleting(roots, ())
        binned = [
            key
            for entries in (effects.dependents, roots)
            for key, _ in entries
            if self._schema.objects[key[0]].has_bin and key[0] not in {*first.by_job, *second.by_job}
        ]
        return {
            "delete": first.calls + second.calls,
            "jobs": first.jobs + second.jobs,
            "check": effects.look.calls_after(room, room_after),
            "purge": -(-len(binned) // MAX_PURGED_IDS) if purges else 0,
        }

    def _deleting(self, entries: Sequence[Entry], changes: Sequence[Change]) -> tuple[_Deleting, int]:
        by_object: dict[str, list[Entry]] = {}
        for entry in entries:
            by_object.setdefault(entry[0][0], []).append(entry)
        found = _Deleting()
        waiting: list[Entry] = []
        for name, some in by_object.items():
            if not self._jobs.suits(name, len(some)):
                waiting += some
                continue
            found.calls += self._writer.calls_for(waiting, changes)[0]
            waiting, changes = [], ()
            found.jobs += _CALLS_A_JOB * -(-len(some) // MAX_JOB_IDS)
            found.by_job.add(name)
        calls, room = self._writer.calls_for(waiting, changes)
        found.calls += calls
        return found, room


@dataclass
class _Deleting:
    calls: int = 0
    jobs: int = 0
    by_job: set[str] = field(default_factory=set)
