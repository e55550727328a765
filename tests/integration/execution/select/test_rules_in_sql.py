"""Three rules about steps stand in SQL as well: on every combination of columns, SQL and `decide` agree.

Each test writes rows of all combinations that the statement could read, runs the statement, and compares every row with
the transition that `service.domain.execution.decide` gives for the same event.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, create_engine, insert, select

from connectors.base.transitions.states import EARLIER_SYSTEM, ENDED, Membership, Phase, StepState, Transition
from service.domain.execution.decide import decide
from service.domain.execution.events import CallbackReceived, EarlierSystemsDone, StepEvent, SystemRecovered
from service.requests.steps.schedule import look_after_callback, retry_after_recovery, start_waiting_steps
from service.requests.steps.store import facts_of
from service.store.locking import database_now
from service.store.tables.work import StepRow

SYSTEM, OTHER = "support", "store"
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
DELAY, PAUSE = timedelta(hours=2), timedelta(minutes=10)
JOB, OTHER_JOB = b"\x01" * 32, b"\x02" * 32
REASONS = (None, EARLIER_SYSTEM, "rate_limited")
# No rule is asked about these here: the vendor's delay and the pause between callbacks are the event's, not the step's.
Event = Callable[["Row"], StepEvent | None]
Row = SimpleNamespace


@dataclass(frozen=True)
class Written:
    """What the statement did: each step before and after, and the database's clock on both sides of it."""

    before: Mapping[UUID, Row]
    after: Mapping[UUID, Row]
    began_at: datetime
    ended_at: datetime


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


def a_step(now: datetime, **columns: Any) -> dict[str, Any]:
    """One step's columns; it has ended if its state says so."""
    ended = now if columns["state"] in ENDED else None
    defaults = {"id": uuid4(), "request_id": uuid4(), "system": SYSTEM, "position": 50, "ended_at": ended}
    return defaults | {"respond_by": now + 30 * 24 * HOUR, "plan_rounds": 1, "consecutive_attempts": 0} | columns


def combinations(**columns: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Every combination of these columns' values."""
    return (dict(zip(columns, values, strict=True)) for values in itertools.product(*columns.values()))


def write(engine: Engine, steps: Sequence[Mapping[str, Any]], statement: Callable[[Connection], object]) -> Written:
    """Insert the steps, run the statement, and read what it made of them."""
    with engine.begin() as connection:
        connection.execute(insert(StepRow), [{name: step.get(name) for name in _names(steps)} for step in steps])
    before = read(engine)
    with engine.begin() as connection:
        began_at = database_now(connection)
        statement(connection)
        ended_at = database_now(connection)
    return Written(before, read(engine), began_at, ended_at)


def _names(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(set().union(*steps))


def read(engine: Engine) -> dict[UUID, Row]:
    with engine.begin() as connection:
        rows = connection.execute(select(StepRow.__table__)).mappings()
        return {row["id"]: Row(**row) for row in rows}


def disagreements(written: Written, event_of: Event) -> list[tuple[Row, Row, Transition | None]]:
    """Every step that the statement wrote otherwise than `decide` does; the clock moves while the statement runs."""
    differing = []
    for step_id, step in written.before.items():
        event, after = event_of(step), written.after[step_id]
        to = None if event is None else decide(facts_of(step), event, None, written.began_at)
        assert to is None or isinstance(to, Transition)
        expected = step if to is None else _moved(step, to)
        if to is not None and expected.due_at == written.began_at <= after.due_at <= written.ended_at:
            expected.due_at = after.due_at
        # When a callback was last heard is no part of the rule: it is the look's new time.
        expected.hinted_at = after.due_at if isinstance(event, CallbackReceived) and to else step.hinted_at
        if after != expected:
            differing.append((step, after, to))
    return differing


def changed(written: Written) -> int:
    return sum(written.before[step_id] != after for step_id, after in written.after.items())


def _moved(step: Row, to: Transition) -> Row:
    """The row as `apply_transitions` would write it, without its audit entry: these events write none."""
    assert to.membership is Membership.STAYS
    assert to.state not in ENDED
    assert not any((to.had_effect, to.erased, to.remaining, to.accepts_records))
    waits = step.waits_for_order if to.waits_for_order is None else to.waits_for_order
    columns = {"state": to.state.value, "phase": to.phase.value, "reason": to.reason, "due_at": to.due_at}
    columns |= {
        "consecutive_attempts": to.consecutive_attempts,
        "plan_rounds": to.plan_rounds,
        "effect_possible": to.effect_possible,
    }
    return Row(**(vars(step) | columns | {"retained": to.retained, "waits_for_order": waits}))


def test_later_systems_start_as_decide_says(engine: Engine) -> None:
    now = datetime.now(UTC)
    steps: list[dict[str, Any]] = []
    done: set[UUID] = set()
    others = [(position, phase, state) for position in (40, 50, 60) for phase in Phase for state in _SOME_STATES]
    for columns in combinations(
        state=tuple(StepState),
        phase=(Phase.LOCATE, Phase.ERASE, Phase.CONFIRM),
        due_at=(None, now - HOUR, now, now + HOUR),
        reason=REASONS,
        waits_for_order=(False, True),
    ):
        request = uuid4()
        steps.append(a_step(now, request_id=request, effect_possible=True, **columns))
        # Each combination has one other step of its request, of another kind each time.
        position, phase, state = others[len(steps) % len(others)]
        steps.append(a_step(now, request_id=request, system=OTHER, position=position, phase=phase, state=state))
        if position >= 50 or state in ENDED or phase is Phase.CONFIRM:
            done.add(request)
    for position, phase, state in others:
        # The two kinds of a waiting step meet every kind of another step.
        for waiting in (
            {"state": StepState.DUE, "phase": Phase.ERASE, "waits_for_order": True},
            {"state": StepState.ACCEPTED, "phase": Phase.CONFIRM, "reason": EARLIER_SYSTEM},
        ):
            request = uuid4()
            steps.append(a_step(now, request_id=request, due_at=now + HOUR, **({"waits_for_order": False} | waiting)))
            steps.append(a_step(now, request_id=request, system=OTHER, position=position, phase=phase, state=state))
            if position >= 50 or state in ENDED or phase is Phase.CONFIRM:
                done.add(request)
    for step in steps:
        step.setdefault("waits_for_order", False)
        step.setdefault("effect_possible", False)
    untouched = a_step(now, state="due", phase="erase", due_at=now + HOUR, waits_for_order=True, effect_possible=False)
    asked = {step["request_id"] for step in steps}

    written = write(engine, [*steps, untouched], lambda connection: start_waiting_steps(connection, asked, now))

    written = replace(written, began_at=now, ended_at=now)
    assert changed(written) > len(_SOME_STATES)
    assert disagreements(written, lambda step: EarlierSystemsDone() if step.request_id in done else None) == []


_SOME_STATES = (StepState.WAITING, StepState.DUE, StepState.ACCEPTED, StepState.PARKED, StepState.ABSENT)


def test_recovery_retries_the_steps_that_decide_retries(engine: Engine) -> None:
    now = datetime.now(UTC)
    steps = [
        a_step(now, **columns)
        for columns in combinations(
            state=tuple(StepState),
            phase=(Phase.LOCATE, Phase.CONFIRM),
            due_at=(None, now - HOUR, now + HOUR),
            reason=(None, EARLIER_SYSTEM),
            consecutive_attempts=(0, 1),
            waits_for_order=(False, True),
            system=(SYSTEM, OTHER),
        )
    ]

    written = write(engine, steps, lambda connection: retry_after_recovery(connection, SYSTEM))

    assert changed(written) > 1
    assert disagreements(written, lambda step: SystemRecovered() if step.system == SYSTEM else None) == []


@pytest.mark.parametrize("any_job", [False, True])
def test_a_callback_hastens_the_looks_that_decide_hastens(engine: Engine, any_job: bool) -> None:
    now = datetime.now(UTC)
    steps = [
        a_step(now, **columns)
        for columns in combinations(
            state=_SOME_STATES,
            phase=(Phase.ERASE, Phase.CONFIRM),
            # One time on each side of every bound: now, the pause after a callback, the vendor's delay.
            due_at=(now - HOUR, now + 4 * MINUTE, now + 30 * MINUTE, now + 3 * HOUR),
            hinted_at=(None, now - HOUR, now - 2 * MINUTE),
            effect_at=(None, now - 3 * HOUR, now - HOUR),
            job_hashes=(None, [JOB], [OTHER_JOB]),
            batch_id=(None, uuid4()),
            system=(SYSTEM, OTHER),
        )
    ]

    def event_of(step: Row) -> CallbackReceived | None:
        concerns = any_job or JOB in [bytes(one) for one in step.job_hashes or ()]
        if step.system != SYSTEM or not concerns:
            return None
        bounds = [written.began_at]
        if step.hinted_at is not None:
            bounds.append(step.hinted_at + PAUSE)
        if step.phase == Phase.CONFIRM and step.effect_at is not None:
            bounds.append(step.effect_at + DELAY)
        return CallbackReceived(look_at=max(bounds))

    written = write(
        engine,
        steps,
        lambda connection: look_after_callback(
            connection,
            SYSTEM,
            job_hashes=None if any_job else [JOB],
            pause_seconds=PAUSE.total_seconds(),
            delay_seconds=DELAY.total_seconds(),
            limit=len(steps),
        ),
    )

    assert changed(written) > 1
    assert disagreements(written, event_of) == []


def test_a_step_that_another_worker_holds_is_left_alone(engine: Engine) -> None:
    now = datetime.now(UTC)
    paused = a_step(now, state="due", phase="erase", due_at=now + HOUR, consecutive_attempts=1)
    accepted = a_step(now, state="accepted", phase="erase", due_at=now + HOUR)
    with engine.begin() as holder:
        with engine.begin() as connection:
            connection.execute(insert(StepRow), [paused])
            connection.execute(insert(StepRow), [accepted])
        holder.execute(select(StepRow.id).with_for_update())
        with engine.begin() as connection:
            retry_after_recovery(connection, SYSTEM)
            none = look_after_callback(connection, SYSTEM, job_hashes=None, pause_seconds=1, delay_seconds=1, limit=10)
    rows = read(engine)
    assert none == 0
    assert rows[paused["id"]].due_at == paused["due_at"]
    assert rows[accepted["id"]].due_at == accepted["due_at"]
