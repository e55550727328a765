"""Find the requests that are held now: one condition for plan, lease, renewal and record."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection

from service.requests.holds.store import requests_under_hold


def held_requests(connection: Connection, request_ids: Sequence[UUID]) -> set[UUID]:
    """Return the requests with an identifier in their cluster that is under a hold in force."""
    if not request_ids:
        return set()
    return requests_under_hold(connection, request_ids)
