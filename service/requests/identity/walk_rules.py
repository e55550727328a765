"""The configured rules of the identity search: shared kinds, limits, lowest confidence."""

from __future__ import annotations

from service.domain.identity.cluster import WalkRules
from service.settings import Settings


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
