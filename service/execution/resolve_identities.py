"""Search the identity graph for leased requests, one query per round, and record the clusters."""

from __future__ import annotations

import structlog

from connectors.base.errors import ConnectorError, TemporarilyUnavailable
from service.domain.execution.retry_policy import decide
from service.domain.identity.walk import Walk
from service.execution.worker_context import WorkerContext
from service.requests.identity.resolve import LeasedIdentity, postpone_identities, record_identities
from service.requests.identity.walk_rules import walk_rules

log = structlog.get_logger(__name__)


def walk(runtime: WorkerContext, leased: list[LeasedIdentity]) -> None:
    """Find the clusters of the leased requests and record them.

    If the graph can't be asked, the requests become due later.
    """
    rules = walk_rules(runtime.settings)
    frontier_walk = Walk([item.person for item in leased], rules)
    source = runtime.identity_source()
    try:
        while not frontier_walk.done:
            asked = frontier_walk.frontier()
            frontier_walk.learn(asked, source.neighbours(asked, max_neighbours=rules.max_neighbours))
    except ConnectorError as error:
        now = runtime.clock.now()
        # Whatever the error is called, a request whose person can't be found is tried again: it has no step to park.
        again = TemporarilyUnavailable(error.code, retry_after_seconds=getattr(error, "retry_after_seconds", None))
        retry = decide(
            again,
            consecutive_attempts=max(item.consecutive_attempts for item in leased),
            time_left=leased[0].time_left(now),
            now=now,
        )
        assert retry.due_at is not None
        postpone_identities(runtime.stores, leased, retry.due_at)
        log.warning("identity_graph_unavailable", code=error.code, requests=len(leased))
        return
    record_identities(runtime.stores, runtime.settings, leased, frontier_walk.clusters())
