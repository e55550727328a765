"""A second person lets a far-reaching plan begin, by naming its hash.

Decides who may approve what: neither the key that submitted nor one that reviewed, and only the plan that was looked
at.
"""

from __future__ import annotations

from uuid import UUID

from service.domain.access.api_key import Caller
from service.domain.errors import SamePerson, StalePlan, WrongState
from service.domain.requests.states import Progress, RequestState
from service.requests.identity.explanations import read_reviews
from service.requests.planning.release import release_plan
from service.requests.planning.store import approve_version, lock_plan
from service.requests.records.rows import request_change
from service.requests.records.store import lock_request
from service.settings import Settings
from service.store.locking import database_now
from service.store.stores import Stores


def approve_plan(stores: Stores, settings: Settings, request_id: UUID, *, plan_hash: str, caller: Caller) -> None:
    """Approve the newest plan and make its steps due. Raises NotFound, WrongState, SamePerson, StalePlan."""
    with stores.engine.begin() as connection:
        row = lock_request(connection, request_id)
        # Finds after the answer make a plan as well, of a request that is fulfilled already.
        alive = row.state in (RequestState.IN_PROGRESS, RequestState.FULFILLED)
        if not alive or row.reason != Progress.AWAITING_APPROVAL:
            raise WrongState("no plan of this request waits for an approval")
        if row.submitted_by == caller.key_id:
            raise SamePerson("the key that submitted a request can't approve its plan")
        if any(review.decided_by == caller.key_id for review in read_reviews(connection, [row.id]).get(row.id, ())):
            raise SamePerson("a key that reviewed a request can't approve its plan")
        plan = lock_plan(connection, request_id, row.plan_version)
        if plan.hash != plan_hash:
            raise StalePlan("the plan has another hash by now: look at it again", field="/plan_hash")
        now = database_now(connection)
        approve_version(connection, request_id, row.plan_version, by=caller.key_id, at=now)
        change = request_change(row, "plan_approved", plan=row.plan_version, plan_hash=plan_hash)
        release_plan(connection, settings, row, change, actor=caller.actor, at=now)
