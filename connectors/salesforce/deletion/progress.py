"""The resume token: what this batch has begun and couldn't find again by searching. Decides its form only.

Once a root is gone nothing leads to what hung on it, so every id is saved before the first deletion.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from connectors.base.values import Left
from connectors.salesforce.deletion.dependents import Key

_VERSION = 1


@dataclass
class PersonProgress:
    """One person: what is to be deleted by call and along with that, what was changed and stays, what is purged."""

    explicit: set[Key] = field(default_factory=set, repr=False)
    along: set[Key] = field(default_factory=set, repr=False)
    changed: set[Key] = field(default_factory=set, repr=False)
    purged: set[Key] = field(default_factory=set, repr=False)
    told: set[Key] = field(default_factory=set, repr=False)  # erased, and counted, under another version of the plan
    before: dict[str, int] = field(default_factory=dict)  # the counts when this batch began
    kept: dict[Key, str] = field(default_factory=dict, repr=False)
    refusals: int = 0
    all_explicit: bool = False

    @property
    def has_begun(self) -> bool:
        """True if an effect on this person may have happened."""
        return bool(self.explicit or self.changed)

    @property
    def all_ids(self) -> set[Key]:
        """Whatever must be gone in the end."""
        return self.explicit | self.along

    def counts(self, but: Collection[Key] = ()) -> dict[str, int]:
        """Records per object, but for those that are still there."""
        return dict(sorted(Counter(name for name, _ in (self.all_ids | self.changed) - self.told - set(but)).items()))

    def left(self) -> tuple[Left, ...]:
        """What stays on purpose."""
        return tuple(Left(name, record_id, reason) for (name, record_id), reason in sorted(self.kept.items()))


@dataclass
class OpenJob:
    """A bulk job that was intended (`id` None) or opened, and not yet seen to end."""

    object: str
    ids: tuple[str, ...] = field(repr=False)
    intended_at: str
    id: str | None = None


@dataclass
class Progress:
    """All people of the batch, and the job that is open."""

    people: dict[str, PersonProgress] = field(default_factory=dict)
    job: OpenJob | None = None
    is_resumed: bool = field(default=False, compare=False)

    def of(self, ref: str) -> PersonProgress:
        """The person's progress, empty at first."""
        return self.people.setdefault(ref, PersonProgress())

    def dump(self) -> bytes:
        """The token: vendor ids, no other personal data; the engine seals it. Compressed: many people have many."""
        people = {
            ref: {
                "explicit": _grouped(p.explicit),
                "along": _grouped(p.along),
                "changed": _grouped(p.changed),
                "purged": _grouped(p.purged),
                "told": _grouped(p.told),
                "before": p.before,
                "kept": [[*key, reason] for key, reason in sorted(p.kept.items())],
                "refusals": p.refusals,
                "all_explicit": p.all_explicit,
            }
            for ref, p in self.people.items()
            if p.has_begun or p.kept or p.refusals
        }
        job = self.job and {
            "object": self.job.object,
            "ids": list(self.job.ids),
            "at": self.job.intended_at,
            "id": self.job.id,
        }
        return zlib.compress(json.dumps({"v": _VERSION, "people": people, "job": job}).encode(), 1)

    @classmethod
    def parse(cls, dumped: bytes) -> Progress:
        """Return a saved progress. Raises ValueError, KeyError, TypeError or zlib.error for another form."""
        token = json.loads(zlib.decompress(dumped))
        if token["v"] != _VERSION:
            raise ValueError("another version's token")
        people = {
            ref: PersonProgress(
                explicit=_flat(p["explicit"]),
                along=_flat(p["along"]),
                changed=_flat(p["changed"]),
                purged=_flat(p["purged"]),
                told=_flat(p["told"]),
                before={str(name): int(n) for name, n in p["before"].items()},
                kept={(name, i): reason for name, i, reason in p["kept"]},
                refusals=int(p["refusals"]),
                all_explicit=bool(p["all_explicit"]),
            )
            for ref, p in token["people"].items()
        }
        job = token["job"]
        return cls(people, job and OpenJob(job["object"], tuple(job["ids"]), job["at"], job["id"]), is_resumed=True)


def _grouped(keys: Iterable[Key]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, record_id in sorted(keys):
        found.setdefault(name, []).append(record_id)
    return found


def _flat(grouped: dict[str, list[str]]) -> set[Key]:
    return {(name, i) for name, ids in grouped.items() for i in ids}
