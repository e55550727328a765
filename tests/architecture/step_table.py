"""The table of step states and events, computed from the rule itself: `python -m tests.architecture.step_table`.

It asks `decide` about every state, phase and flag with examples of every event, and collects the states that follow.
docs/develop/STEP_TRANSITIONS.md holds the output; a test compares them.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from connectors.base.errors import RequestRefused, TemporarilyUnavailable
from connectors.base.transitions.states import (
    EARLIER_SYSTEM,
    LEGAL_HOLD,
    SYSTEM_REMOVED,
    Phase,
    Retry,
    StepFacts,
    StepState,
    SystemRules,
    Transition,
)
from connectors.base.values import Answer, Left, Located
from service.domain.errors import Refusal
from service.domain.execution import events
from service.domain.execution.decide import LEASE_EXPIRED, decide

DOCUMENT = Path(__file__).parents[2] / "docs" / "develop" / "STEP_TRANSITIONS.md"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
RULES = (
    SystemRules(
        can_confirm=True,
        suppresses=False,
        erases_by_identifiers=False,
        accept_not_addressable=False,
        confirm_after=timedelta(0),
        poll_every=timedelta(minutes=5),
    ),
    SystemRules(
        can_confirm=False,
        suppresses=True,
        erases_by_identifiers=True,
        accept_not_addressable=True,
        confirm_after=timedelta(hours=1),
        poll_every=timedelta(minutes=5),
        searches_first=False,
    ),
)
_LEFT = (Left("contact", "crm", "still_there"),)


def example_events() -> Iterator[events.StepEvent]:
    """Examples of every event, with every value of its flags that changes a state."""
    errors = [
        (TemporarilyUnavailable("timeout"), Retry(due_at=LATER)),
        (RequestRefused("bad_request"), Retry(reason="request_refused:bad_request")),
        (RequestRefused("not_addressable"), Retry(reason="request_refused:not_addressable")),
    ]
    for (error, retry), removed in itertools.product(errors, (False, True)):
        yield events.ResultReceived(error, retry=retry, system_is_removed=removed)
    for answer in (
        Answer.erased({"contact": 1}),
        Answer.already_absent(),
        Answer.accepted(LATER),
        Answer.accepted(LATER, resumes=True),
        Answer.partial(_LEFT),
        Answer.retained("legal_obligation"),
        Answer.ambiguous("shared"),
        Answer.not_addressable(),
    ):
        yield events.ResultReceived(answer)
        yield events.ResultReceived(answer, look=Answer.already_absent())
    for conflict, adds, locked in itertools.product((False, True), repeat=3):
        found = Located(records=("1",), counts={"contact": 1})
        yield events.ResultReceived(found, has_conflict=conflict, adds_to_plan=adds, plan_is_locked=locked)
    yield from (events.LateResultReceived(in_erase) for in_erase in (False, True))
    yield from (events.LeaseExpired(), events.WorkersCrashed(), events.KeyMissing())
    yield from (events.HoldPlaced(), events.HoldPlaced(at_lease=True), events.HoldLifted())
    yield from (events.RequestWithdrawn(NOW), events.RequestWithdrawn(LATER, at_lease=True))
    yield from (events.ApprovalMissing(), events.LookTooEarly(LATER), events.EarlierSystemsDone())
    yield from (events.SystemRemoved(), events.SystemReturned(), events.SystemRecovered())
    yield events.CallbackReceived(NOW)
    for records, held in itertools.product((False, True), repeat=2):
        yield events.PlanReleased(NOW, has_records=records, is_held=held)
    for decision, held in itertools.product(events.Decision, (False, True)):
        yield events.DecisionMade(decision, events.ResolutionReason.OTHER, is_held=held)


def example_facts() -> Iterator[StepFacts]:
    """Steps in every state and phase, with every flag that the rule reads."""
    reasons: dict[StepState, tuple[str | None, ...]] = {
        StepState.PARKED: (LEGAL_HOLD, SYSTEM_REMOVED, "ambiguous:shared", "still_there"),
        StepState.DUE: (None, LEASE_EXPIRED),
        StepState.ACCEPTED: (None, EARLIER_SYSTEM),
    }
    flags = list(itertools.product((False, True), repeat=5))
    for state, phase in itertools.product(StepState, Phase):
        for reason, (effect, frozen, held, withdrawn, waits) in itertools.product(reasons.get(state, (None,)), flags):
            yield StepFacts(
                phase=phase,
                consecutive_attempts=1,
                plan_rounds=1,
                effect_possible=effect,
                frozen=frozen,
                held=held,
                withdrawn=withdrawn,
                must_wait=waits,
                awaiting_approval=waits,
                state=state,
                reason=reason,
                waits_for_order=waits,
                due_at=LATER if state in (StepState.DUE, StepState.ACCEPTED) else None,
            )


def following_states() -> dict[tuple[str, str], set[str]]:
    """(event, state) -> the states that may follow; "refused" for a decision that isn't allowed, "-" for no change."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for facts, event, rules in itertools.product(example_facts(), example_events(), RULES):
        to = decide(facts, event, rules, NOW)
        name = to.state.value if isinstance(to, Transition) else "refused" if isinstance(to, Refusal) else "-"
        found[type(event).__name__, facts.state.value].add(name)
    return found


def render() -> str:
    """The document."""
    found = following_states()
    names = [event.__name__ for event in events.StepEvent.__args__]
    unfinished = [state for state in StepState if ("HoldPlaced", state.value) in found][:5]
    ended = [state.value for state in StepState][5:]
    lines = [
        "# Step transitions",
        "",
        "Generated from `service/domain/execution/decide.py` by `python -m tests.architecture.step_table`; don't edit.",
        "A row is an event, a column the state of the step, a cell the states that may follow. `-`: the event may",
        "change nothing. `refused`: a person's decision that may not be allowed.",
        "",
        "| event | " + " | ".join(f"`{state}`" for state in unfinished) + " | ended |",
        "|---|" + "---|" * (len(unfinished) + 1),
    ]
    for name in names:
        cells = [", ".join(sorted(found[name, state.value])) for state in unfinished]
        cells.append(", ".join(sorted(set().union(*(found[name, state] for state in ended)))))
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    lines += ["", "Ended states: " + ", ".join(f"`{state}`" for state in ended) + ".", "", "## Events", ""]
    for event in events.StepEvent.__args__:
        lines.append(f"- `{event.__name__}`: " + " ".join((event.__doc__ or "").split()))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(render(), encoding="utf-8")
