"""Walk the identity graph for leased requests: one question a round for all of them, then record the clusters."""

from __future__ import annotations

import structlog

from connectors.base.errors import ConnectorError, TemporarilyUnavailable
from service.domain.cluster import WalkRules
from service.domain.identity_graph import Walk
from service.settings import Settings
from service.use_cases.settle_identity import LeasedIdentity, postpone_identities, record_identities
from workers.retry_policy import decide
from workers.runtime import Runtime

log = structlog.get_logger(__name__)


def walk_rules(settings: Settings) -> WalkRules:
    """The walk's rules as they were configured."""
    graph = settings.identity_graph
    if graph is None:
        return WalkRules()
    return WalkRules(
        shared_kinds=graph.shared_kinds,
        one_per_person_kinds=graph.one_per_person_kinds,
        max_neighbours=graph.max_neighbours,
        max_cluster=graph.max_cluster,
        max_rounds=graph.max_rounds,
        min_confidence=graph.min_confidence,
        default_region=graph.default_region,
    )


def walk(runtime: Runtime, leased: list[LeasedIdentity]) -> None:
    """Find the clusters of the leased requests and record them. If the graph can't be asked, they become due later."""
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
        retry = decide(again, tries=max(item.tries for item in leased), time_left=leased[0].time_left(now), now=now)
        assert retry.due_at is not None
        postpone_identities(runtime.stores, leased, retry.due_at)
        log.warning("identity_graph_unavailable", code=error.code, requests=len(leased))
        return
    record_identities(runtime.stores, runtime.settings, leased, frontier_walk.clusters())
