"""What the chaos runs share: servers of their own, the company of eight systems, people to be submitted bit by bit."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from connectors.testing.sandbox.sample_world import SamplePerson
from tests.company import Company
from tests.faults.harness import verdict
from tests.faults.harness.eight_systems import eight_systems, held_by, installed, write_plugin
from tests.faults.harness.installation import RECOVERY_SECONDS, Installation, running
from tests.faults.harness.intake import Intake
from tests.faults.harness.servers import OwnServers, own_servers

SCALE = float(os.environ.get("CHAOS_SCALE", "1.0"))
"""1.0: 200 requests, and as many faults as issue 3 says. Smaller for developing."""
_PEOPLE = 200


def scaled(number: int, least: int = 2) -> int:
    """So many faults at this scale."""
    return max(least, round(number * SCALE))


@dataclass
class Chaos:
    """One run: who is to be erased, what was held of them before, and the requests so far."""

    company: Company
    servers: OwnServers | None
    plugin: Path
    directory: Path
    waiting: list[SamplePerson]
    held: dict[str, set[str]]
    bystanders: dict[str, int]
    requests: dict[UUID, SamplePerson] = field(default_factory=dict)

    def feed(self, people: int | None = None) -> None:
        """Submit so many more of them; everybody who is left if no number is given."""
        for _ in range(len(self.waiting) if people is None else min(people, len(self.waiting))):
            person = self.waiting.pop()
            self.requests[self.company.submit(person)] = person

    def intake(self) -> Intake:
        """Requests over the API, for a service that runs with it. To be closed."""
        return Intake(self.company.stores, self.company.settings.service.listen_port, self.waiting, self.requests)

    @contextlib.contextmanager
    def running(self, **options: Any) -> Iterator[Installation]:
        """The service's processes on this run's servers."""
        assert self.servers is not None
        urls, broker = self.servers.urls, self.servers.broker()
        with running(
            self.company, urls, broker, self.directory / "run", path=(self.plugin,), **options
        ) as installation:
            yield installation

    def storm(self, installation: Installation, faults: list[Callable[[], None]]) -> None:
        """One fault after the other, each in the middle of work, with new work coming in between."""
        share = -(-len(self.waiting) // max(len(faults), 1))
        last = None
        for fault in faults:
            self.feed(share)
            middle = installation.wait_until(functools.partial(installation.in_the_middle, last), 90)
            assert middle, f"nothing was being worked on after {installation.done}"
            fault()
            last = installation.now()
        self.assert_taken_up(installation)
        self.feed()

    def assert_taken_up(self, installation: Installation) -> None:
        """What the last fault hit is soon in other hands: no lease that ran then is the last word on its steps."""
        hit = {}
        installation.wait_until(lambda: hit.update(self._leased()) or True, RECOVERY_SECONDS)
        assert installation.wait_until(lambda: not hit.items() & self._leased().items(), RECOVERY_SECONDS)

    def _leased(self) -> dict[UUID, int]:
        rows = self.company.rows("SELECT id, attempts FROM steps WHERE state = 'leased'")
        return {row.id: row.attempts for row in rows}

    def assert_ended(self, installation: Installation, seconds: float = 2400) -> None:
        """Wait until every pair has ended, and judge. A parked step would wait for a human for ever."""
        parked = "SELECT system, phase, reason, count(*) FROM steps WHERE state = 'parked' GROUP BY 1, 2, 3"

        def settled() -> bool:
            return bool(self.company.rows(parked)) or not verdict.unfinished(self.company)

        installation.wait_until(settled, seconds)
        assert self.company.rows(parked) == []
        assert verdict.unfinished(self.company) == []
        assert self.servers is None or self.servers.deadlocks() == []
        assert verdict.wrongs(self.company, self.requests, self.held, self.bystanders) == []


@pytest.fixture
def chaos(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Chaos]:
    """The company and its own servers; `request.param` adds to `[engine]`, `people` is how many are erased."""
    engine = dict(getattr(request, "param", {}))
    people = engine.pop("people", max(16, round(_PEOPLE * SCALE)))
    plugin = write_plugin(tmp_path)
    with (
        installed(plugin),
        own_servers() as servers,
        eight_systems(tmp_path, servers.urls, 20 + round(people * 1.35), api_port=free_port(), **engine) as company,
    ):
        erased = list(company.world.ordinary[:people])
        assert len(erased) == people
        held = held_by(company, erased)
        bystanders = verdict.bystanders_records(company, erased)
        assert all(bystanders.values())
        yield Chaos(company, servers, plugin, tmp_path, erased[::-1], held, bystanders)


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
