"""Decide what an event makes of a step: the only rule about steps, total and pure.

`decide(step, event, rules, now)` answers every pair of a state and an event with a transition, with a refusal of a
person's decision, or with None where the event changes nothing. docs/develop/STEP_TRANSITIONS.md is generated from it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from connectors.base.errors import ConnectorError
from connectors.base.transitions.results import after_locate, after_look, after_result, first_phase
from connectors.base.transitions.states import (
    EARLIER_SYSTEM,
    EFFECT_PHASES,
    ENDED,
    KEY_GONE,
    LASTING_EFFECT_PHASES,
    LEGAL_HOLD,
    NOT_DONE_YET,
    PROCESS_DIED,
    SYSTEM_REMOVED,
    WITHDRAWN,
    Membership,
    Phase,
    Retry,
    StepFacts,
    StepState,
    SystemRules,
    Transition,
    look_after,
)
from connectors.base.values import Located
from service.domain.audit.schema import is_code
from service.domain.errors import HeldPerson, Refusal, WrongState
from service.domain.execution.bisect import REPEATED
from service.domain.execution.events import (
    ApprovalMissing,
    CallbackReceived,
    Decision,
    DecisionMade,
    EarlierSystemsDone,
    HoldLifted,
    HoldPlaced,
    KeyMissing,
    LateResultReceived,
    LeaseExpired,
    LookTooEarly,
    PlanReleased,
    RequestWithdrawn,
    ResultReceived,
    StepEvent,
    SystemRecovered,
    SystemRemoved,
    SystemReturned,
    WorkersCrashed,
)

AMBIGUOUS_RECORD = "ambiguous:foreign_identifier"
APPROVAL_MISSING = "awaiting_approval"
LEASE_EXPIRED = "lease_expired"
NOT_A_CODE = "reason_is_no_code"
RECORDS_ACCEPTED = "records_accepted"
# An approval is needed for these only; an opt-out needs none.
_ERASURES_EFFECTS = frozenset({Phase.SUPPRESS, Phase.ERASE})
_LONGEST_PAUSE = timedelta(minutes=15)


def decide(step: StepFacts, event: StepEvent, rules: SystemRules | None, now: datetime) -> Transition | Refusal | None:
    """The step's transition, the refusal of a person's decision, or None where the event changes nothing.

    `rules`: None for a system that the configuration doesn't have (any more). `now`: the database's clock.
    """
    if isinstance(event, DecisionMade):
        return _after_decision(step, event, now)
    if step.state in ENDED:
        return None
    if isinstance(event, WorkersCrashed):
        is_freed = step.state is StepState.DUE and step.reason == LEASE_EXPIRED
        return _same(step, StepState.PARKED, reason=PROCESS_DIED) if is_freed else None
    if isinstance(event, ResultReceived | LeaseExpired | KeyMissing):
        return _while_leased(step, event, rules, now) if step.state is StepState.LEASED else None
    if isinstance(event, SystemRemoved | SystemReturned | SystemRecovered):
        return _after_system_change(step, event, rules, now)
    if isinstance(event, HoldPlaced | HoldLifted | RequestWithdrawn | ApprovalMissing):
        return _after_permission_change(step, event, now)
    return _after_timing_change(step, event, rules, now)


def _while_leased(
    step: StepFacts, event: ResultReceived | LeaseExpired | KeyMissing, rules: SystemRules | None, now: datetime
) -> Transition:
    match event:
        case LeaseExpired():
            return _after_expiry(step, event, now)
        case KeyMissing():
            # Without the key no worker can read the identifiers: a person must know.
            return _same(step, StepState.PARKED, reason=KEY_GONE, membership=Membership.LEAVES)
        case ResultReceived():
            if rules is None:
                return _same(step, StepState.PARKED, reason=SYSTEM_REMOVED)
            return _after_result(step, event, rules, now)


def _after_result(step: StepFacts, event: ResultReceived, rules: SystemRules, now: datetime) -> Transition:
    """Return the result's own transition, with the consequences of a removed system, batch and effect."""
    to = _own_transition(step, event, rules, now)
    if to.reason is not None and not is_code(to.reason):
        # The reason may be a third party's text, and one bad text must not stop its whole batch at the audit log.
        to = replace(to, reason=NOT_A_CODE)
    if event.system_is_removed and to.state in NOT_DONE_YET:
        to = replace(to, state=StepState.PARKED, reason=SYSTEM_REMOVED, due_at=None)
    failed = isinstance(event.result, ConnectorError)
    # A step that failed in a part of a split batch stays apart: otherwise it would stop the others again.
    apart = event.batch_was_split and failed and to.due_at is not None
    # A repeated erasure needs a new idempotency key; with the old one the vendor may return its earlier answer.
    goes_on = to.phase is step.phase and not to.has_ended and event.look is None
    newly_possible = to.effect_possible and not step.effect_possible
    return replace(
        to,
        membership=Membership.STAYS if goes_on and (to.phase in EFFECT_PHASES or apart) else Membership.LEAVES,
        had_effect=newly_possible or any(to.erased.values()) or (failed and step.phase in LASTING_EFFECT_PHASES),
    )


def _own_transition(step: StepFacts, event: ResultReceived, rules: SystemRules, now: datetime) -> Transition:
    result = event.result
    if isinstance(result, Located):
        return _after_search(step, event, result, rules, now)
    if isinstance(result, ConnectorError) and event.repeats_in_part:
        return replace(after_result(step, result, rules, now, retry=Retry(due_at=now)), consecutive_attempts=0)
    to = after_result(step, result, rules, now, retry=event.retry, has_records=event.has_records)
    if event.look is None or step.phase is not Phase.ERASE or isinstance(result, ConnectorError):
        return to
    return after_look(step, to, event.look, rules, now)


def _after_search(
    step: StepFacts, event: ResultReceived, found: Located, rules: SystemRules, now: datetime
) -> Transition:
    to = after_locate(step, found, rules, now, adds_to_plan=step.frozen and event.adds_to_plan)
    if to.has_ended or step.withdrawn:
        return to
    if event.has_conflict:
        # The phase stays, because a person's decision begins with another search.
        doubtful = replace(to, state=StepState.PARKED, phase=Phase.LOCATE, reason=AMBIGUOUS_RECORD, due_at=None)
        return replace(doubtful, discards_findings=True)
    if step.frozen and not event.plan_is_locked:
        # The plan was frozen during the search: another search adds the findings to the plan under its lock.
        again = replace(to, state=StepState.DUE, phase=Phase.LOCATE, reason=None, due_at=now)
        return replace(again, discards_findings=True)
    return to


def _after_expiry(step: StepFacts, event: LeaseExpired, now: datetime) -> Transition:
    """Return `due` at once, or after a growing pause when several workers crashed in a row.

    An effect may have happened."""
    touched = step.phase in LASTING_EFFECT_PHASES
    stays = step.phase in EFFECT_PHASES or event.batch_was_split
    pause = timedelta(0)
    if step.consecutive_attempts > REPEATED:
        pause = min(_LONGEST_PAUSE, timedelta(seconds=2.0 ** min(step.consecutive_attempts - REPEATED, 12)))
    again = _same(step, StepState.DUE, reason=LEASE_EXPIRED, due_at=now + pause, had_effect=touched, effect=touched)
    return replace(again, membership=Membership.STAYS if stays else Membership.LEAVES)


def _after_permission_change(
    step: StepFacts, event: HoldPlaced | HoldLifted | RequestWithdrawn | ApprovalMissing, now: datetime
) -> Transition | None:
    match event:
        case HoldPlaced():
            # A waiting step isn't about to start: the release of its plan reads the holds. A leased one is stopped
            # by its worker, which asks before each effect.
            is_next = step.state is StepState.DUE or (event.at_lease and step.state is StepState.ACCEPTED)
            starts = is_next and step.phase in EFFECT_PHASES
            return _same(step, StepState.PARKED, reason=LEGAL_HOLD) if starts else None
        case HoldLifted():
            if step.state is not StepState.PARKED or step.reason != LEGAL_HOLD:
                return None
            return _same(step, StepState.DUE, due_at=now, consecutive_attempts=0, membership=Membership.STAYS_IF_OPEN)
        case RequestWithdrawn():
            return _after_withdrawal(step, event)
        case ApprovalMissing():
            if step.state not in (StepState.DUE, StepState.ACCEPTED) or step.phase not in _ERASURES_EFFECTS:
                return None
            waiting = _same(step, StepState.WAITING, reason=APPROVAL_MISSING, membership=Membership.LEAVES)
            return replace(waiting, phase=Phase.LOCATE, waits_for_order=False)


def _after_withdrawal(step: StepFacts, event: RequestWithdrawn) -> Transition | None:
    """Nothing more begins. A step that may have had an effect is still looked at."""
    if step.state is StepState.LEASED or (step.state is StepState.ACCEPTED and not event.at_lease):
        return None
    ended = _same(step, StepState.RETAINED, reason=WITHDRAWN, consecutive_attempts=0, membership=Membership.LEAVES)
    if not step.effect_possible:
        return replace(ended, waits_for_order=False)
    look = look_after(step.phase)
    return replace(ended, state=StepState.DUE, phase=look, due_at=event.look_at, waits_for_order=False)


def _after_system_change(
    step: StepFacts, event: SystemRemoved | SystemReturned | SystemRecovered, rules: SystemRules | None, now: datetime
) -> Transition | None:
    match event:
        case SystemRemoved():
            return _same(step, StepState.PARKED, reason=SYSTEM_REMOVED) if step.state in NOT_DONE_YET else None
        case SystemReturned():
            if step.state is not StepState.PARKED or step.reason != SYSTEM_REMOVED or rules is None:
                return None
            return _after_return(step, rules, now)
        case SystemRecovered():
            is_paused = (
                step.state is StepState.DUE
                and step.consecutive_attempts > 0
                and step.due_at is not None
                and step.due_at > now
            )
            return _same(step, StepState.DUE, reason=step.reason, due_at=now) if is_paused else None


def _after_return(step: StepFacts, rules: SystemRules, now: datetime) -> Transition:
    """Return `waiting` for a searched step without a plan; any other step searches again.

    Much may have happened meanwhile. Where connectors don't search, the step begins."""
    if step.phase is not Phase.LOCATE:
        return _same(step, StepState.DUE, due_at=now)
    if not step.frozen and (step.located or not rules.searches_first):
        return _same(step, StepState.WAITING)
    again = _same(step, StepState.DUE, due_at=now)
    return again if rules.searches_first else replace(again, phase=first_phase(rules, found=False))


def _after_timing_change(
    step: StepFacts,
    event: LateResultReceived | LookTooEarly | PlanReleased | EarlierSystemsDone | CallbackReceived,
    rules: SystemRules | None,
    now: datetime,
) -> Transition | None:
    match event:
        case PlanReleased():
            return _after_release(step, event, rules) if step.state is StepState.WAITING and step.located else None
        case LateResultReceived():
            if step.state not in (StepState.DUE, StepState.ACCEPTED):
                return None
            return _same(step, step.state, reason=step.reason, due_at=now, effect=event.in_erase)
        case LookTooEarly():
            is_look = step.phase is look_after(step.phase) and step.state in (StepState.DUE, StepState.ACCEPTED)
            return _same(step, step.state, reason=step.reason, due_at=event.look_at) if is_look else None
        case EarlierSystemsDone():
            ordered = step.state is StepState.DUE and step.waits_for_order
            fed = step.state is StepState.ACCEPTED and step.reason == EARLIER_SYSTEM
            if not (ordered or fed) or step.due_at is None or step.due_at <= now:
                return None
            return replace(_same(step, step.state, reason=step.reason, due_at=now), waits_for_order=False)
        case CallbackReceived():
            is_later = step.due_at is not None and step.due_at > event.look_at
            if step.state is not StepState.ACCEPTED or not is_later:
                return None
            return _same(step, step.state, reason=step.reason, due_at=event.look_at)


def _after_release(step: StepFacts, event: PlanReleased, rules: SystemRules | None) -> Transition:
    if rules is None:
        return _same(step, StepState.PARKED, reason=SYSTEM_REMOVED)
    phase = Phase.OPT_OUT if event.opts_out else first_phase(rules, found=event.has_records)
    if event.is_held and phase is not Phase.CONFIRM:
        return replace(_same(step, StepState.PARKED, reason=LEGAL_HOLD), phase=phase, waits_for_order=False)
    due = _same(step, StepState.DUE, due_at=event.due_at)
    return replace(due, phase=phase, waits_for_order=event.waits_for_order)


def _after_decision(step: StepFacts, event: DecisionMade, now: datetime) -> Transition | Refusal:
    """A person lets a parked step go on or ends it. `absent` and `erased_*` are earned by a look only."""
    refusal = _refused(step, event)
    if refusal is not None:
        return refusal
    if event.decision is Decision.RETRY:
        again = _same(step, StepState.DUE, due_at=now, consecutive_attempts=0, membership=Membership.STAYS_IF_OPEN)
        # Plan rounds begin anew: otherwise a step that was parked after the last round would park again at once.
        return replace(again, plan_rounds=0)
    if event.decision is Decision.ACCEPT_RECORDS:
        # The search is repeated, and its findings may be planned: only a search can be in doubt.
        again = _same(step, StepState.DUE, reason=RECORDS_ACCEPTED, due_at=now, consecutive_attempts=0)
        again = replace(again, phase=Phase.LOCATE, plan_rounds=0, accepts_records=True)
        return replace(again, membership=Membership.STAYS_IF_OPEN)
    ended = _same(step, StepState(event.decision.value), reason=event.reason.value, consecutive_attempts=0)
    return replace(ended, plan_rounds=0, membership=Membership.LEAVES)


def _refused(step: StepFacts, event: DecisionMade) -> Refusal | None:
    decision = event.decision
    if step.state is not StepState.PARKED:
        return WrongState("the step isn't parked")
    if decision is Decision.NOT_ADDRESSABLE and step.effect_possible:
        return WrongState("something may have been erased there: this can't be called not addressable")
    if decision is Decision.ACCEPT_RECORDS and not (step.reason or "").startswith("ambiguous"):
        return WrongState("no doubtful records were found there")
    if decision is Decision.ACCEPT_RECORDS and not event.searches_first:
        return WrongState("connectors of this system don't search: decide about the records in the vendor's console")
    if decision not in (Decision.RETRY, Decision.ACCEPT_RECORDS):
        return None
    if step.reason == LEGAL_HOLD and event.is_held:
        return HeldPerson("a legal hold is in force: lift it first")
    if event.system_is_removed:
        return WrongState("the system isn't connected any more: connect it again first")
    if event.is_withdrawn and not step.effect_possible and step.reason != WITHDRAWN:
        return WrongState("the request was withdrawn: nothing more begins")
    return None


def _same(
    step: StepFacts,
    state: StepState,
    *,
    reason: str | None = None,
    due_at: datetime | None = None,
    consecutive_attempts: int | None = None,
    membership: Membership = Membership.STAYS,
    had_effect: bool = False,
    effect: bool = False,
) -> Transition:
    """The step in another state, with everything else as it is."""
    return Transition(
        state=state,
        phase=step.phase,
        due_at=due_at,
        reason=reason,
        consecutive_attempts=step.consecutive_attempts if consecutive_attempts is None else consecutive_attempts,
        plan_rounds=step.plan_rounds,
        effect_possible=step.effect_possible or effect,
        retained=step.retained,
        membership=membership,
        had_effect=had_effect,
        # A parked step that goes on later doesn't wait for its turn.
        waits_for_order=False if state is StepState.PARKED else None,
    )
