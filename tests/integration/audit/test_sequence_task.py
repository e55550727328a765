"""The sequencer's task: nothing stands in its way, and it gives way itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from service.audit.sequence import SequencedBatch
from service.cli.running import installation
from service.cli.running.api_process import api_listeners
from service.cli.running.installation import Servers, processes
from service.cli.running.supervise import Child
from tests.company import Company
from workers.tasks import control

_ROUTES = (
    "import json; from workers.app import app; beat = {each['task'] for each in app.conf.beat_schedule.values()};"
    "print(json.dumps({task: app.amqp.router.route({}, task)['queue'].name for task in sorted(beat)}))"
)


class Recorded(list[Child]):
    """Stands in for the supervisor: notes what it would start."""

    def add(self, child: Child) -> None:
        self.append(child)


def started(company: Company, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    found = Recorded()

    @contextmanager
    def recorder(*_: object) -> Iterator[Recorded]:
        yield found

    monkeypatch.setattr(installation, "Supervisor", recorder)
    with api_listeners(company.settings) as listeners, processes(company.settings, Servers(URLS, ()), listeners):
        return found


URLS = dict.fromkeys(("database_url", "key_database_url", "broker_url"), "unix:///nowhere")


def consumed(child: Child) -> str | None:
    return next((queue for option, queue in pairwise(child.command) if option == "-Q"), None)


def test_the_sequencer_has_a_queue_and_a_process_of_its_own(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a long round of another task the log would be late, and what waits can still be edited."""
    environment = {**os.environ, "EXPUNGE_CONFIG": str(company.settings.origin), "EXPUNGE_BROKER_URL": "memory://"}
    told = subprocess.run([sys.executable, "-c", _ROUTES], env=environment, capture_output=True, text=True, check=True)
    queues = json.loads(told.stdout)
    takers = [consumed(child) for child in started(company, monkeypatch)]
    assert set(queues.values()) <= set(takers), "every message of beat has a taker"
    alone = queues.pop("expunge.sequence")
    assert alone not in queues.values()
    assert takers.count(alone) == 1


def test_a_flood_of_entries_does_not_hold_the_task_for_ever(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was told to stop is waited for 20 s; the next nudge goes on."""
    passes = []

    def flood(*_: Any, **__: Any) -> SequencedBatch:
        passes.append(1)
        return SequencedBatch(5_000, 0, 5_000 * len(passes), None, more=True)

    monkeypatch.setattr(control, "runtime", lambda: company.runtime)
    monkeypatch.setattr(control, "sequence_audit", flood)
    monkeypatch.setattr(control, "_SEQUENCE_SECONDS", 0.05)
    assert control.sequence.run() == 5_000 * len(passes) > 5_000
