"""A stand-in served over HTTP and the connector that speaks to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from connectors.base.interface import Operation
from connectors.base.runner import Line, run
from connectors.base.values import Identifier, Subject
from connectors.salesforce.connector import SalesforceConnector
from connectors.salesforce.sandbox.server import SalesforceSandbox
from connectors.testing.sandbox.server import SandboxServer

from .world import Person, World

CREDENTIALS = {"consumer_key": "sandbox-consumer-key", "consumer_secret": "sandbox-consumer-secret"}


@dataclass
class Served:
    """One org, seeded. `connect` gives a fresh connector."""

    sandbox: SalesforceSandbox
    url: str
    world: World
    opened: list[SalesforceConnector] = field(default_factory=list)

    def connect(self, policy: Mapping[str, Any] | None = None, **changes: Any) -> SalesforceConnector:
        entry = {
            "name": "salesforce",
            "connector": "salesforce",
            "base_url": self.url,
            "allow_private_hosts": ["127.0.0.1"],
            "credentials": CREDENTIALS,
            "policy": dict(policy or {}),
            "delays": {"poll_every": 0.02, "confirm_after": 0},
            **changes,
        }
        connector = SalesforceConnector(SalesforceConnector.parse_system(entry))
        self.opened.append(connector)
        return connector

    def subject(self, ref: str) -> Subject:
        return subject_of(self.world.people[ref])

    def erase(self, *refs: str, wait: float = 10, policy: Mapping[str, Any] | None = None, **changes: Any) -> Run:
        connector = self.connect(policy, **changes)
        return self.erase_with(connector, *refs, wait=wait)

    def erase_with(self, connector: SalesforceConnector, *refs: str, wait: float = 10) -> Run:
        lines: list[Line] = []
        before = connector.calls
        subjects = [self.subject(ref) for ref in refs]
        run(connector, subjects, Operation.ERASE, timedelta(seconds=wait), lines.append)
        return Run({line.subject: line for line in lines}, connector.calls - before)


@dataclass
class Run:
    lines: dict[str, Line]
    calls: int

    def left(self, ref: str) -> set[tuple[str, str]]:
        return {(each.object, each.reason) for each in self.lines[ref].left}


def subject_of(person: Person) -> Subject:
    return Subject(
        person.ref,
        (
            *(Identifier("email", value) for value in person.emails),
            *(Identifier("phone", value) for value in person.phones),
            *(Identifier("external_id", value) for value in person.external_ids),
        ),
    )


@contextmanager
def serving(world: World, **options: Any) -> Iterator[Served]:
    sandbox = SalesforceSandbox(options)
    sandbox.seed(world.seed)
    with SandboxServer({"": sandbox}) as server:
        served = Served(sandbox, server.url(), world)
        try:
            yield served
        finally:
            for connector in served.opened:
                connector.close()
