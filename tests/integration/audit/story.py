"""Writes the audit entries of whole requests as the service would, with any times: for exports and reports.

Every entry goes through AuditEntry, so nothing is told here that the service couldn't log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from sqlalchemy import Engine

from service.domain.audit.entry import AuditEntry
from service.domain.audit.schema import AuditValue, instant_text
from service.store.audit_log import log as audit_log

_NAMES = UUID("6f1e2c5a-0000-4000-8000-000000000000")


def name_of(word: str) -> str:
    """The same random-looking id for the same word."""
    return str(uuid5(_NAMES, word))


@dataclass
class Story:
    """Collects entries; `log` writes them in the order in which they were told."""

    entries: list[AuditEntry] = field(default_factory=list)
    _newest: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    _logged: int = 0

    def tell(
        self,
        event: str,
        at: datetime,
        row: str,
        key: str,
        *,
        subject: str | None = None,
        actor: str = "worker",
        **data: AuditValue,
    ) -> None:
        version, previous = self._newest.get((row, key), (0, None))
        entry = AuditEntry(event, row, key, version + 1, previous, at, actor, subject, data)
        self._newest[(row, key)] = (version + 1, entry.digest())
        self.entries.append(entry)

    def system(self, name: str, at: datetime, connector: str = "zendesk") -> None:
        self.tell("system_added", at, "system", name, actor="service", connector=connector)

    def request(
        self, word: str, at: datetime, *, regime: str = "ccpa", kind: str = "erasure", **more: AuditValue
    ) -> None:
        """Submitted one day after it was received, due in 45."""
        data: Mapping[str, AuditValue] = {
            "kind": kind,
            "regime": regime,
            "received_at": instant_text(at - timedelta(days=1)),
            "respond_by": instant_text(at + timedelta(days=44)),
            "identifier_kinds": ["email"],
            "verified": 1,
        } | more
        self.about(word, "request_submitted", at, actor=f"key:{name_of('a key')}", **data)

    def about(self, word: str, event: str, at: datetime, *, actor: str = "worker", **data: AuditValue) -> None:
        subject = name_of(f"subject of {word}")
        self.tell(event, at, "request", name_of(word), subject=subject, actor=actor, **data)

    def step(
        self,
        word: str,
        system: str,
        at: datetime,
        *answers: tuple[str, Mapping[str, AuditValue]],
        phase: str = "erase",
    ) -> None:
        """Its request is settled for this one system at `at`; each further hour the step is leased, and half an hour
        later told of as given."""
        subject, key = name_of(f"subject of {word}"), name_of(f"{word} in {system}")
        found: dict[str, AuditValue] = {"identifiers": 1, "excluded": 0, "doubts": []}
        self.about(word, "request_settled", at, **found, steps=[key], systems=[system])
        for number, (event, data) in enumerate(answers, 1):
            leased = at + timedelta(hours=number)
            self.tell(
                "batch_leased",
                leased,
                "batch",
                name_of(f"batch of {word} in {system}"),
                system=system,
                phase=phase,
                state="leased",
                fence=number,
                steps=[key],
            )
            answered: dict[str, AuditValue] = {"attempt": number, "phase": "confirm"} | dict(data)
            self.tell(event, leased + timedelta(minutes=30), "step", key, subject=subject, **answered)

    def log(self, engine: Engine) -> None:
        """Writes what was told since the last time."""
        with engine.begin() as connection:
            audit_log.append(connection, self.entries[self._logged :])
        self._logged = len(self.entries)


def ended(outcome: str, **data: AuditValue) -> tuple[str, Mapping[str, AuditValue]]:
    """How a step ends; with an answer that fits, unless one is given."""
    answers = {"absent": "already_absent", "retained": "retained", "suppressed": "suppressed"}
    return "step_ended", {"outcome": outcome, "state": outcome, "answer": answers.get(outcome, "erased")} | data


def failed(answer: str = "temporarily_unavailable") -> tuple[str, Mapping[str, AuditValue]]:
    return "step_answered", {"answer": answer, "code": "rate_limited", "state": "due"}


def at_day(day: datetime, *offsets: int) -> Sequence[datetime]:
    return [day + timedelta(days=offset) for offset in offsets]
