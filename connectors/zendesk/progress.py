"""The resume token: what this batch has begun and can't find again by searching. Decides its form only.

A soft-deleted ticket no longer names its requester anywhere, and a soft-deleted user is no longer found by search;
their ids are therefore saved before the first deletion. Everything else is looked at anew on each attempt.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from connectors.base.errors import AnswerNotUnderstood

_VERSION = 1


@dataclass
class PersonProgress:
    """One person: ids that a deletion was intended for, tickets purged so far, times that the vendor refused."""

    users: set[str] = field(default_factory=set, repr=False)
    tickets: set[str] = field(default_factory=set, repr=False)
    purged: set[str] = field(default_factory=set, repr=False)
    suspended: set[str] = field(default_factory=set, repr=False)
    before: dict[str, int] = field(default_factory=dict)  # what was counted when this batch began
    refusals: int = 0

    @property
    def has_begun(self) -> bool:
        """True if an effect on this person may have happened."""
        return bool(self.users or self.tickets or self.suspended)

    def ids(self, object_name: str) -> set[str]:
        """Ids that a deletion was intended for, of users or tickets."""
        return self.users if object_name == "user" else self.tickets

    def counts(self, object_left: str = "", left: Collection[str] = ()) -> dict[str, int]:
        """Records per object, but for those of one object that are still there."""
        ids = {"user": self.users, "ticket": self.tickets, "suspended_ticket": self.suspended}
        counts = {name: len(some - set(left) if name == object_left else some) for name, some in ids.items()}
        return {name: count for name, count in counts.items() if count}


@dataclass
class OpenJob:
    """A job that was opened and not yet seen to end, and the ids of which object (user, ticket) it works on.

    `is_purge`: when it has ended its tickets needn't be purged again.
    """

    id: str
    object: str
    is_purge: bool
    ids: frozenset[str] = field(repr=False)


@dataclass
class Progress:
    """All people of the batch, its open jobs, and when it began (which bounds the look into the ticket bin)."""

    started_at: datetime
    people: dict[str, PersonProgress] = field(default_factory=dict)
    jobs: list[OpenJob] = field(default_factory=list)

    def of(self, ref: str) -> PersonProgress:
        """The person's progress, empty at first."""
        return self.people.setdefault(ref, PersonProgress())

    @property
    def is_empty(self) -> bool:
        """True if nothing has begun."""
        return not self.jobs and not any(person.has_begun or person.refusals for person in self.people.values())

    def dump(self) -> bytes:
        """The token. It holds vendor ids, no other personal data; the engine seals it."""
        people = {
            ref: {
                "users": sorted(person.users),
                "tickets": sorted(person.tickets),
                "purged": sorted(person.purged),
                "suspended": sorted(person.suspended),
                "before": person.before,
                "refusals": person.refusals,
            }
            for ref, person in self.people.items()
            if person.has_begun or person.refusals
        }
        jobs = [
            {"id": job.id, "object": job.object, "purge": job.is_purge, "ids": sorted(job.ids)} for job in self.jobs
        ]
        token = {"v": _VERSION, "started_at": self.started_at.isoformat(), "people": people, "jobs": jobs}
        return json.dumps(token, separators=(",", ":")).encode()

    @classmethod
    def load(cls, token: bytes | None) -> Progress:
        """What was saved last, or a new start."""
        if token is None:
            return cls(datetime.now(UTC))
        try:
            return cls._parse(json.loads(token))
        except (ValueError, KeyError, TypeError):
            raise AnswerNotUnderstood("resume_token") from None

    @classmethod
    def _parse(cls, token: Any) -> Progress:
        if token["v"] != _VERSION:
            raise ValueError("another version's token")
        people = {
            ref: PersonProgress(
                set(saved["users"]),
                set(saved["tickets"]),
                set(saved["purged"]),
                set(saved["suspended"]),
                {str(name): int(n) for name, n in saved["before"].items()},
                int(saved["refusals"]),
            )
            for ref, saved in token["people"].items()
        }
        jobs = [OpenJob(job["id"], job["object"], bool(job["purge"]), frozenset(job["ids"])) for job in token["jobs"]]
        return cls(datetime.fromisoformat(token["started_at"]), people, jobs)
