"""Perform one leased batch: call the connector, ask the graph about what was found, record what was answered.

No transaction is open while the connector speaks. What happens to the steps is decided by the service's rules.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import structlog

from connectors.base import operations
from connectors.base.errors import AnswerNotUnderstood, ConnectorError, LeaseLost, TemporarilyUnavailable
from connectors.base.interface import Connector, Operation
from connectors.base.values import Answer, Batch, Located
from service.domain.execution.events import Result
from service.domain.execution.results import is_worth_a_look, looks_at_once
from service.domain.execution.retry_policy import decide
from service.domain.execution.states import Phase, Retry
from service.domain.identity.conflicts import somebody_elses, unexplained
from service.execution.held_lease import HeldLease
from service.execution.lease import LeasedBatch
from service.execution.record import Recorded, record_answers
from service.execution.systems.admit import Entry
from service.execution.systems.circuit_breaker import note_pass
from service.execution.worker_context import Runtime
from service.requests.identity.walk_rules import walk_rules
from service.system_rules import batch_limit, rules_of

log = structlog.get_logger(__name__)
_Kind = TypeVar("_Kind", bound=Result)


def perform(runtime: Runtime, leased: LeasedBatch, entry: Entry | None = None) -> Recorded | None:
    """One pass over the batch. None if the lease was lost on the way: whoever has it now goes on."""
    budget = entry.budget if entry is not None else None
    try:
        connector = runtime.connector(leased.system)
        pacer = runtime.pacer(leased.system)
        with (
            HeldLease(runtime.stores, runtime.settings, leased) as lease,
            pacer.during(len(leased.steps), lease, budget) as judge,
        ):
            results = dict(_call(connector, leased, lease))
            looks = _look_at_once(runtime, connector, leased, results)
            facts = judge({**results, **looks})
            foreign = _foreign(runtime, leased, results)
    except LeaseLost:
        log.warning("lease_lost", batch=str(leased.id), system=leased.system, phase=leased.phase)
        return None
    seen = {ref: look for ref, look in looks.items() if isinstance(look, Answer)}
    _correct_clocks(runtime, results)
    _correct_clocks(runtime, seen)
    now = runtime.clock.now()
    retries = {
        step.ref: _retry(results[step.ref], step.tries, step.respond_by, now)
        for step in leased.steps
        if isinstance(results[step.ref], ConnectorError)
    }
    recorded = record_answers(runtime.stores, runtime.settings, leased, results, retries, foreign, seen)
    if not facts.is_ordinary or entry is None or not entry.standing.is_well:
        note_pass(runtime.stores, runtime.settings, leased.system, facts)
    return recorded


def _correct_clocks(runtime: Runtime, results: MutableMapping[str, _Kind]) -> None:
    """A connector reckons when to look again by this process's clock; the rows know only the database's."""
    for ref, answer in results.items():
        if isinstance(answer, Answer) and answer.look_again_at is not None:
            results[ref] = replace(answer, look_again_at=runtime.clock.corrected(answer.look_again_at))


def _look_at_once(
    runtime: Runtime, connector: Connector, leased: LeasedBatch, results: Mapping[str, Result]
) -> Mapping[str, Answer | ConnectorError]:
    """Look at those whose erasing call said that it is done, where the vendor needs no time for it.

    Saves a lease and a record for each of them; what is proven is proven by the same look. Where it fails, a look of
    its own is made as if nobody had tried: the erasing call's answers are what is recorded.
    """
    if leased.phase is not Phase.ERASE or not looks_at_once(rules_of(runtime.settings, leased.system)):
        return {}
    done = {ref for ref, answer in results.items() if isinstance(answer, Answer) and is_worth_a_look(answer)}
    if not done or len(done) > batch_limit(runtime.settings, leased.system, Operation.CONFIRM):
        return {}
    people = tuple(step.subject for step in leased.steps if step.ref in done)
    try:
        return operations.confirm_absence(connector, Batch(leased.batch.key, people))
    except LeaseLost:
        # Whoever records will see it: what the erasing call answered isn't lost with the look.
        return {}
    except Exception as error:
        log.exception("connector_failed", system=leased.system, phase=Phase.CONFIRM, error=type(error).__name__)
        return {}


def _retry(result: Result, tries: int, respond_by: datetime, now: datetime) -> Retry:
    assert isinstance(result, ConnectorError)
    return decide(result, tries=tries, time_left=respond_by - now, now=now)


def _call(connector: Connector, leased: LeasedBatch, lease: HeldLease) -> Mapping[str, Result]:
    if not leased.steps:
        return {}
    try:
        if leased.phase is Phase.LOCATE:
            return operations.locate(connector, leased.batch)
        if leased.phase is Phase.SUPPRESS:
            return operations.suppress(connector, leased.batch, lease)
        if leased.phase is Phase.ERASE:
            return operations.erase(connector, leased.batch, lease)
        if not connector.declaration.can_confirm:
            # Nobody can look, so nobody is asked, and the log says just that: the rule never calls it verified.
            return {step.ref: Answer.not_addressable("no_way_to_look") for step in leased.steps}
        return operations.confirm_absence(connector, leased.batch)
    except (LeaseLost, ConnectorError):
        raise
    except Exception as error:
        log.exception("connector_failed", system=leased.system, phase=leased.phase, error=type(error).__name__)
        broken = AnswerNotUnderstood("connector_failed", effect_unknown=True)
        return {step.ref: broken for step in leased.steps}


def _foreign(runtime: Runtime, leased: LeasedBatch, results: dict[str, Result]) -> frozenset[str]:
    """People on whose found records stands an identifier that the graph, or a reviewer, gives to somebody else."""
    carried = {
        step.ref: (step, frozenset(found.identifiers))
        for step in leased.steps
        if isinstance(found := results[step.ref], Located) and found.identifiers and not step.records_accepted
    }
    rules = walk_rules(runtime.settings)
    questions = {ref: unexplained(identifiers, step.known, rules) for ref, (step, identifiers) in carried.items()}
    asked = frozenset().union(*questions.values())
    if not asked:
        return frozenset()
    try:
        answers = runtime.identity_source().neighbours(asked, max_neighbours=rules.max_neighbours)
    except ConnectorError as error:
        # Without the graph's word nothing may be planned for these people: the search is repeated later.
        for ref in questions:
            results[ref] = TemporarilyUnavailable("identity_graph_unavailable")
        log.warning("identity_graph_unavailable", system=leased.system, code=error.code)
        return frozenset()
    return frozenset(
        ref for ref, (step, _) in carried.items() if somebody_elses(questions[ref], answers, step.dropped, rules)
    )
