"""A Zendesk stand-in over real HTTP, and the engine's part of the work in a few lines."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from connectors.base import operations
from connectors.base.errors import ConnectorError, LeaseLost, TemporarilyUnavailable
from connectors.base.values import Answer, AnswerKind, Batch, Identifier, Located, Subject
from connectors.testing.sandbox import SandboxServer
from connectors.zendesk.connector import ZendeskConnector
from connectors.zendesk.sandbox import ZendeskSandbox

SECRET = {"email": "admin@acme.example", "api_token": "sandbox-token"}


@dataclass
class MemoryLease:
    """A lease that remembers; `stopped` people may not proceed, after `lost_after` questions the lease is lost."""

    token: bytes | None = None
    stopped: set[str] = field(default_factory=set)
    lost_after: int | None = None
    asked: int = 0

    @property
    def resume_token(self) -> bytes | None:
        return self.token

    def save(self, resume_token: bytes) -> None:
        self.token = resume_token

    def may_proceed(self, ref: str) -> bool:
        self.asked += 1
        if self.lost_after is not None and self.asked > self.lost_after:
            raise LeaseLost
        return ref not in self.stopped


class World:
    """One account, its stand-in, and connectors to it."""

    def __init__(self, server: SandboxServer, sandbox: ZendeskSandbox) -> None:
        self.server = server
        self.sandbox = sandbox
        self.opened: list[ZendeskConnector] = []

    def connector(self, **changes: Any) -> ZendeskConnector:
        entry = {
            "name": "support",
            "connector": "zendesk",
            "base_url": self.server.url(),
            "allow_private_hosts": ["127.0.0.1"],
            "credentials": SECRET,
            "delays": {"confirm_after": 0, "poll_every": 0, "purge_after": 0},
            **changes,
        }
        made = ZendeskConnector(ZendeskConnector.parse_system(entry))
        self.opened.append(made)
        return made

    def reset(self, *data: dict[str, Any], **options: Any) -> None:
        """A new account with this data."""
        self.sandbox.options = options
        self.sandbox.clock_offset = timedelta(0)
        self.sandbox.state = self.sandbox.empty_state()
        self.sandbox.journal.clear()
        self.sandbox.faults = []
        for part in data:
            self.sandbox.seed(part)

    def locate(self, *subjects: Subject, connector: ZendeskConnector | None = None) -> dict[str, Located]:
        found = operations.locate(connector or self.connector(), Batch("locate", subjects))
        assert all(isinstance(f, Located) for f in found.values()), found
        return {ref: f for ref, f in found.items() if isinstance(f, Located)}

    def plan(self, *subjects: Subject) -> tuple[Subject, ...]:
        """The people with their records frozen."""
        found = self.locate(*subjects)
        return tuple(replace(s, records=found[s.ref].records) for s in subjects)

    def erase(
        self, *people: Subject, lease: MemoryLease | None = None, connector: ZendeskConnector | None = None
    ) -> dict[str, Answer | ConnectorError]:
        """One call, as the engine makes it."""
        return dict(operations.erase(connector or self.connector(), Batch("batch", people), lease or MemoryLease()))

    def erase_to_end(self, *people: Subject, lease: MemoryLease | None = None, **changes: Any) -> dict[str, Answer]:
        """Calls until nobody has a running job or a passing error; a new connector each time."""
        lease = lease or MemoryLease()
        for _ in range(12):
            answers = self.erase(*people, lease=lease, connector=self.connector(**changes))
            unfinished = [
                a for a in answers.values() if isinstance(a, TemporarilyUnavailable) or getattr(a, "resumes", False)
            ]
            if not unfinished:
                assert all(isinstance(a, Answer) for a in answers.values()), answers
                return {ref: a for ref, a in answers.items() if isinstance(a, Answer)}
        raise AssertionError(f"still unfinished: {answers}")

    def confirm(
        self, *people: Subject, connector: ZendeskConnector | None = None
    ) -> dict[str, Answer | ConnectorError]:
        return dict(operations.confirm_absence(connector or self.connector(), Batch("confirm", people)))

    def confirmed_absent(self, *people: Subject) -> bool:
        answers = self.confirm(*people).values()
        return all(isinstance(a, Answer) and a.kind is AnswerKind.ALREADY_ABSENT for a in answers)

    def stored(self, *object_ids: tuple[str, int]) -> str:
        """The named records, byte for byte."""
        wanted = set(object_ids)
        return json.dumps([copy.deepcopy(r) for r in self.sandbox.records() if (r["object"], r["id"]) in wanted])

    def sent(self) -> str:
        """Everything that the vendor was sent, as one text."""
        return json.dumps([[c["method"], c["path"], c["query"], c["body"], c["headers"]] for c in self.sandbox.journal])


def person(ref: str, *emails: str, **others: str) -> Subject:
    """A data subject by e-mail addresses and one value per other kind."""
    pairs = [Identifier("email", e) for e in emails] + [Identifier(kind, value) for kind, value in others.items()]
    return Subject(ref, tuple(pairs))


@pytest.fixture(scope="session")
def _zendesk_server() -> Iterator[tuple[SandboxServer, ZendeskSandbox]]:
    sandbox = ZendeskSandbox()
    with SandboxServer({"": sandbox}) as server:
        yield server, sandbox


@pytest.fixture
def world(_zendesk_server: tuple[SandboxServer, ZendeskSandbox]) -> Iterator[World]:
    made = World(*_zendesk_server)
    made.reset()
    yield made
    for connector in made.opened:
        connector.close()
