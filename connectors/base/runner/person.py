"""One data subject of a run: the facts of their step, and the run's name for its end. No rule."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from connectors.base.errors import ConnectorError, RequestRefused
from connectors.base.runner.endings import Outcome
from connectors.base.transitions.results import UNADDRESSABLE
from connectors.base.transitions.states import Phase, StepFacts, StepState, Transition
from connectors.base.values import Answer, AnswerKind, Left, Located, Subject

Result = Answer | Located | ConnectorError


@dataclass
class Person:
    """A data subject of the run, and what is known of their step."""

    subject: Subject
    phase: Phase = Phase.LOCATE
    located: Located | None = None
    erased: Counter[str] = field(default_factory=Counter)
    left: tuple[Left, ...] = ()
    not_covered: dict[str, None] = field(default_factory=dict)
    effect_possible: bool = False
    retained: str | None = None
    plan_rounds: int = 0
    consecutive_attempts: int = 0

    def records(self) -> dict[str, int]:
        """Return the erased records so far, per object."""
        return dict(sorted((+self.erased).items()))

    def facts(self) -> StepFacts:
        """Return the facts that the rule of transitions reads."""
        return StepFacts(
            phase=self.phase,
            consecutive_attempts=self.consecutive_attempts,
            plan_rounds=self.plan_rounds,
            effect_possible=self.effect_possible,
            frozen=False,
            retained=self.retained,
        )


def outcome_of(to: Transition, result: Result) -> tuple[Outcome, str | None]:
    """How the run names the end that a transition means, and why."""
    if to.state is StepState.ERASED_UNVERIFIED:
        return Outcome.ERASED_UNVERIFIED, "vendor_offers_no_look"
    if to.state is not StepState.PARKED and not to.due_at:
        return Outcome(to.state.value), to.reason or getattr(result, "reason", None)
    if isinstance(result, ConnectorError):
        return (
            (Outcome.NOT_ADDRESSABLE, "no_usable_identifier")
            if isinstance(result, RequestRefused) and result.code == UNADDRESSABLE
            else (Outcome.PARKED, result.code)
        )
    if isinstance(result, Answer) and result.kind is AnswerKind.AMBIGUOUS:
        return Outcome.AMBIGUOUS, result.reason
    left = result.left if isinstance(result, Answer) else ()
    reason = getattr(result, "reason", None) or next((each.reason for each in left), None)
    return Outcome.PARKED, reason or to.reason or "still_there"


def all_left(answer: Answer) -> tuple[Left, ...]:
    """Everything that an answer says is left, with the found records that no plan holds."""
    named = {(each.object, each.id) for each in answer.left}
    found = answer.found.records if answer.found is not None else ()
    return answer.left + tuple(Left(r.object, r.id, "not_in_plan") for r in found if (r.object, r.id) not in named)


def counted(located: Located | None) -> dict[str, int]:
    """Records per object that a search found."""
    if located is None:
        return {}
    return dict(located.counts) if any(located.counts.values()) else dict(Counter(r.object for r in located.records))
