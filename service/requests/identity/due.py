"""Pick the requests whose people are looked for next: by time left, at most half from one bulk submission.

Decides the order; the same loose scan of an index as execution.select, so that a hundred thousand imported requests
cost no more to ask past than one. Locks nothing.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, text

from service.domain.execution.lanes import SINGLE_LANE, URGENT_LANE, most_of_one_bulk
from service.requests.imports.paused import lane_goes_on

_PICK = text(
    "WITH RECURSIVE line AS ("  # noqa: S608 - our own constants
    " (SELECT r.lane, r.respond_by FROM requests r WHERE r.duty = 'identify' ORDER BY r.lane, r.respond_by LIMIT 1)"
    " UNION ALL"
    " SELECT n.lane, n.respond_by FROM line g CROSS JOIN LATERAL (SELECT r.lane, r.respond_by FROM requests r"
    "  WHERE r.duty = 'identify' AND (r.lane, r.respond_by) > (g.lane, g.respond_by)"
    "  ORDER BY r.lane, r.respond_by LIMIT 1) AS n)"
    " SELECT c.id FROM (SELECT d.*, row_number() OVER (PARTITION BY d.lane ORDER BY d.respond_by, d.due_at) AS place"
    " FROM (SELECT DISTINCT lane FROM line) AS l CROSS JOIN LATERAL (SELECT i.* FROM line g CROSS JOIN LATERAL ("
    "  SELECT r.id, r.lane, r.respond_by, r.due_at FROM requests r WHERE r.duty = 'identify' AND r.lane = g.lane"
    "  AND r.respond_by = g.respond_by AND r.due_at <= (SELECT clock_timestamp())"
    f"  AND {lane_goes_on('g.lane')}"
    "  AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp()) ORDER BY r.due_at LIMIT :n) AS i"
    " WHERE g.lane = l.lane LIMIT :n) AS d) AS c"
    f" ORDER BY (c.lane NOT IN ('{URGENT_LANE}', '{SINGLE_LANE}') AND c.place > :half),"
    f" c.lane <> '{URGENT_LANE}', c.respond_by, c.due_at LIMIT :n"
)


def pick_identities(connection: Connection, limit: int) -> list[UUID]:
    """The requests to walk next, up to `limit`."""
    return list(connection.execute(_PICK, {"n": limit, "half": most_of_one_bulk(limit)}).scalars())
