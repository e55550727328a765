"""Run one batch: lease it, call the connector, verify at once where that counts, record the results.

Decides the order only. Each step's next state is decided by `service.domain.execution.decide`, and written by `record`.
No transaction is open while the connector calls the vendor.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

import structlog

from connectors.base import operations
from connectors.base.errors import AnswerNotUnderstood, ConnectorError, LeaseLost, TemporarilyUnavailable
from connectors.base.interface import Connector, Operation
from connectors.base.transitions.results import is_worth_a_look, looks_at_once
from connectors.base.transitions.states import Phase, Retry
from connectors.base.values import Answer, Batch, Located
from service.domain.execution.events import Result
from service.domain.execution.retry_policy import decide
from service.domain.identity.conflicts import somebody_elses, unexplained
from service.execution.heartbeat import HeldLease
from service.execution.lease import LeasedBatch, lease_steps
from service.execution.record import Recorded, record_answers
from service.execution.systems.admit import Slot, admit
from service.execution.systems.availability import CallStats, record_call
from service.execution.worker_context import WorkerContext
from service.requests.identity.walk_rules import walk_rules
from service.system_rules import batch_limit, rules_of

log = structlog.get_logger(__name__)
_Kind = TypeVar("_Kind", bound=Result)
SUPPRESSION_NOT_OFFERED = "suppression_not_offered"
NO_WAY_TO_LOOK = "no_way_to_look"


def run_batch(context: WorkerContext, system: str, admission: UUID | None) -> bool:
    """Lease one batch of the system's due steps and execute it. False: nothing can be leased now.

    `admission`: the store's proof that it was compared with the anchors.
    """
    slot = admit(context, system)  # circuit breaker, free slot, rate limits
    if slot is None:
        return False
    batch = None
    try:
        batch = lease_steps(context.stores, context.settings, system, admission=admission, at_most=slot.max_subjects)
        if batch is not None:
            execute_batch(context, batch, slot)
    finally:
        slot.release(batch)
    return batch is not None


def execute_batch(context: WorkerContext, batch: LeasedBatch, slot: Slot | None = None) -> Recorded | None:
    """Call the connector for a leased batch and record the results.

    Returns None if the lease was lost during the call, because then another worker holds the batch. Results that come
    late are recorded as such (`Recorded.in_time`).
    """
    connector, throttle = context.connector(batch.system), context.throttle(batch.system)
    quota = slot.quota if slot is not None else None
    try:
        with (
            HeldLease(context.stores, context.settings, batch) as lease,  # renewed by a thread of its own
            throttle.run(len(batch.steps), lease, quota) as summarise,
        ):
            results = dict(call_connector(connector, batch, lease))
            looks = verify_at_once(context, connector, batch, results)
            stats = summarise({**results, **looks})
            conflicts = hold_back_conflicts(context, batch, results)
    except LeaseLost:
        log.warning("lease_lost", batch=str(batch.id), system=batch.system, phase=batch.phase)
        return None
    seen = {ref: look for ref, look in looks.items() if isinstance(look, Answer)}
    correct_clocks(context, results)
    correct_clocks(context, seen)
    retries = retry_times(context, batch, results)
    recorded = record_answers(context.stores, context.settings, batch, results, retries, conflicts, seen)
    report(context, batch.system, slot, stats)
    return recorded


def call_connector(connector: Connector, batch: LeasedBatch, lease: HeldLease) -> Mapping[str, Result]:
    """Call the operation of the batch's phase. Returns one result per step, by `ref`. Raises LeaseLost."""
    if not batch.steps:
        return {}
    try:
        match batch.phase:
            case Phase.LOCATE:
                return operations.locate(connector, batch.batch)
            case Phase.SUPPRESS:
                return operations.suppress(connector, batch.batch, lease)
            case Phase.ERASE:
                return operations.erase(connector, batch.batch, lease)
            case Phase.OPT_OUT:
                return opt_out(connector, batch, lease)
            case Phase.READ_OPT_OUT:
                return read_opt_out(connector, batch)
        if not connector.declaration.can_confirm:
            # The vendor offers no way to verify, and the audit log says so: the rule never calls this verified.
            return {step.ref: Answer.not_addressable(NO_WAY_TO_LOOK) for step in batch.steps}
        return operations.confirm_absence(connector, batch.batch)
    except (LeaseLost, ConnectorError):
        raise
    except Exception as error:
        log.exception("connector_failed", system=batch.system, phase=batch.phase, error=type(error).__name__)
        broken = AnswerNotUnderstood("connector_failed", effect_unknown=True)
        return {step.ref: broken for step in batch.steps}


def opt_out(connector: Connector, batch: LeasedBatch, lease: HeldLease) -> Mapping[str, Result]:
    """Suppress, unless the vendor offers nothing of the kind: then each step ends with that reason."""
    if Operation.SUPPRESS not in connector.declaration.operations:
        return {step.ref: Answer.not_addressable(SUPPRESSION_NOT_OFFERED) for step in batch.steps}
    return operations.suppress(connector, batch.batch, lease)


def read_opt_out(connector: Connector, batch: LeasedBatch) -> Mapping[str, Result]:
    """Read suppressions back; without a way to read, the rule never calls them verified."""
    if Operation.READ_SUPPRESSION not in connector.declaration.operations:
        return {step.ref: Answer.not_addressable(NO_WAY_TO_LOOK) for step in batch.steps}
    return operations.read_suppression(connector, batch.batch)


def verify_at_once(
    context: WorkerContext, connector: Connector, batch: LeasedBatch, results: Mapping[str, Result]
) -> Mapping[str, Answer | ConnectorError]:
    """Look for the erased data subjects in the same lease, where the vendor needs no delay.

    This saves a lease and a record for each of them, and proves the same as a later look. If the look fails, the
    results of the erasing call are recorded, and a later lease looks.
    """
    if batch.phase is not Phase.ERASE or not looks_at_once(rules_of(context.settings, batch.system)):
        return {}
    done = {ref for ref, answer in results.items() if isinstance(answer, Answer) and is_worth_a_look(answer)}
    if not done or len(done) > batch_limit(context.settings, batch.system, Operation.CONFIRM):
        return {}
    subjects = tuple(step.subject for step in batch.steps if step.ref in done)
    try:
        return operations.confirm_absence(connector, Batch(batch.batch.key, subjects))
    except LeaseLost:
        # The recording finds out; the results of the erasing call must not be lost with the look.
        return {}
    except Exception as error:
        log.exception("connector_failed", system=batch.system, phase=Phase.CONFIRM, error=type(error).__name__)
        return {}


def hold_back_conflicts(context: WorkerContext, batch: LeasedBatch, results: dict[str, Result]) -> frozenset[str]:
    """Return the `ref`s whose found records carry another data subject's identifier.

    The identity graph, or a reviewer's decision, says whose an identifier is.

    If the graph can't be asked, the searches' `results` become errors, so that they are repeated: nothing may be
    planned from them.
    """
    carried = {
        step.ref: (step, frozenset(found.identifiers))
        for step in batch.steps
        if isinstance(found := results[step.ref], Located) and found.identifiers and not step.records_accepted
    }
    if not carried:
        return frozenset()
    rules = walk_rules(context.settings)
    questions = {ref: unexplained(identifiers, step.known, rules) for ref, (step, identifiers) in carried.items()}
    asked = frozenset().union(*questions.values())
    if not asked:
        return frozenset()
    try:
        answers = context.identity_source().neighbours(asked, max_neighbours=rules.max_neighbours)
    except ConnectorError as error:
        for ref in questions:
            results[ref] = TemporarilyUnavailable("identity_graph_unavailable")
        log.warning("identity_graph_unavailable", system=batch.system, code=error.code)
        return frozenset()
    return frozenset(
        ref for ref, (step, _) in carried.items() if somebody_elses(questions[ref], answers, step.dropped, rules)
    )


def correct_clocks(context: WorkerContext, results: MutableMapping[str, _Kind]) -> None:
    """Convert each answer's `look_again_at` from this process's clock to the database's."""
    for ref, answer in results.items():
        if isinstance(answer, Answer) and answer.look_again_at is not None:
            results[ref] = replace(answer, look_again_at=context.clock.corrected(answer.look_again_at))


def retry_times(context: WorkerContext, batch: LeasedBatch, results: Mapping[str, Result]) -> dict[str, Retry]:
    """Return the retry policy's answer for each error, by `ref`."""
    now = context.clock.now()
    return {
        step.ref: decide(
            error, consecutive_attempts=step.consecutive_attempts, time_left=step.respond_by - now, now=now
        )
        for step in batch.steps
        if isinstance(error := results[step.ref], ConnectorError)
    }


def report(context: WorkerContext, system: str, slot: Slot | None, stats: CallStats) -> None:
    """Tell the circuit breaker about the call, unless the system was healthy before and still is."""
    if not stats.is_ordinary or slot is None or not slot.availability.is_healthy:
        record_call(context.stores, context.settings, system, stats)
