"""Widen a cluster for an opt-out, which covers identifiers in doubt, because it harms no person.

Decides which identifiers an opt-out covers beyond those that an erasure would use: identifiers of shared kinds and with
too many neighbours, and those in doubt. Placeholders and malformed values belong to no person.
"""

from __future__ import annotations

from dataclasses import replace

from service.domain.identity.cluster import Cluster, Exclusion

_COVERED = frozenset({Exclusion.SHARED_KIND, Exclusion.SUPERNODE, Exclusion.UNVERIFIED, Exclusion.NOT_EXAMINED})


def widened(cluster: Cluster) -> Cluster:
    """Return the cluster without doubts, with the excluded identifiers that an opt-out covers as members."""
    covered = {identifier for identifier, reason in cluster.excluded.items() if reason in _COVERED}
    return replace(
        cluster,
        members=cluster.members | covered,
        spellings={**{identifier: frozenset({identifier}) for identifier in covered}, **cluster.spellings},
        excluded={identifier: reason for identifier, reason in cluster.excluded.items() if identifier not in covered},
        doubts=(),
    )
