"""Choose the plans of re-appeared people that a second person must approve.

All of them need it, unless the policy is `erase` and the list knew every planned identifier. A phone number that was
given to another person leads the walk to that person: the other identifiers of that person were never on the list, so
such a plan waits for a human under every policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection

from service.domain.suppression.reappearance import ReappearancePolicy
from service.requests.planning.store import plans_with_others
from service.settings import Settings


def reappearances_to_approve(
    connection: Connection, settings: Settings, request_ids: Sequence[UUID]
) -> frozenset[UUID]:
    """Those of these re-appearances, whose identifiers are planned already, that wait for an approval."""
    policy = ReappearancePolicy(settings.suppression.reappearance)
    if not request_ids or policy is not ReappearancePolicy.ERASE:
        return frozenset(request_ids)
    return plans_with_others(connection, request_ids)
