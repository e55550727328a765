"""Beat's scheduler: when it sends, and that what lies with the broker isn't sent again."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from workers import beat
from workers.beat import MonotonicScheduler


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Broker:
    """Counts what lies in the queue, and takes nothing by itself."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.lying = 0
        self.elsewhere: dict[str, int] = {}
        self.is_down = False
        self.channel = self

    def queue_declare(self, queue: str) -> Any:
        if self.is_down:
            raise OperationalError("no broker")
        return type("Declared", (), {"message_count": self.elsewhere.get(queue, self.lying)})

    def send_task(self, task: str, producer: Any, **options: Any) -> None:
        if self.is_down:
            raise OperationalError("no broker")
        assert options == {"expires": 9.0}
        self.sent.append(task)

    def taken(self) -> list[str]:
        sent, self.sent = self.sent, []
        return sent


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(beat, "time", clock)
    return clock


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def scheduler(clock: Clock, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> MonotonicScheduler:
    app = Celery("beat", broker="memory://")
    every = {"tick": 1.0, "watch": 15.0}
    app.conf.beat_schedule = {
        name: {"task": name, "schedule": seconds, "options": {"expires": 9.0}} for name, seconds in every.items()
    }
    monkeypatch.setattr(app, "send_task", broker.send_task)
    monkeypatch.setattr(MonotonicScheduler, "producer", broker)
    return MonotonicScheduler(app=app, schedule_filename="nowhere", max_interval=None)


def test_each_is_sent_at_its_interval(scheduler: MonotonicScheduler, broker: Broker, clock: Clock) -> None:
    assert scheduler.tick() == pytest.approx(1.0)
    assert broker.taken() == ["tick", "watch"]
    assert scheduler.tick() == pytest.approx(1.0)
    assert broker.taken() == []
    for _ in range(14):
        clock.now += 1.0
        scheduler.tick()
    assert broker.taken() == ["tick"] * 14
    clock.now += 1.0
    scheduler.tick()
    assert broker.taken() == ["tick", "watch"]


def test_a_sleep_is_not_made_up_for(scheduler: MonotonicScheduler, broker: Broker, clock: Clock) -> None:
    scheduler.tick()
    clock.now += 3600.0
    scheduler.tick()
    scheduler.tick()
    assert broker.taken() == ["tick", "watch"] * 2


def test_nothing_is_sent_while_something_lies_there(
    scheduler: MonotonicScheduler, broker: Broker, clock: Clock
) -> None:
    scheduler.tick()
    broker.taken()
    broker.lying = 1
    clock.now += 1.0
    for _ in range(80):
        assert scheduler.tick() == pytest.approx(0.2)
        clock.now += 0.2
    assert broker.taken() == []
    # Whatever became due meanwhile goes out with the next tick: a rare one doesn't wait for its turn once more.
    broker.lying = 0
    clock.now += 1.0
    scheduler.tick()
    assert broker.taken() == ["tick", "watch"]


def test_a_broker_that_is_away_stops_nothing(scheduler: MonotonicScheduler, broker: Broker, clock: Clock) -> None:
    broker.is_down = True
    for _ in range(3):
        assert scheduler.tick() == pytest.approx(0.2)
        clock.now += 0.2
    broker.is_down = False
    scheduler.tick()
    assert broker.taken() == ["tick", "watch"]


def test_nothing_is_kept_on_disk(scheduler: MonotonicScheduler) -> None:
    assert not scheduler.should_sync()
    scheduler.close()


def test_a_queue_that_nobody_takes_from_holds_no_other_back(clock: Clock, broker: Broker) -> None:
    app = Celery("beat", broker="memory://")
    app.conf.beat_schedule = {
        name: {"task": name, "schedule": 1.0, "options": {"expires": 9.0}} for name in ("tick", "sequence")
    }
    app.conf.task_routes = {"sequence": {"queue": "audit"}}
    app.send_task = broker.send_task
    scheduler = MonotonicScheduler(app=app, schedule_filename="nowhere", max_interval=None)
    broker.elsewhere["audit"] = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MonotonicScheduler, "producer", broker)
        scheduler.tick()
        assert broker.taken() == ["tick"]
        broker.elsewhere["audit"] = 0
        clock.now += 1.0
        scheduler.tick()
        assert sorted(broker.taken()) == ["sequence", "tick"]
