"""Read how far the audit log lags behind the work: three index look-ups, cheap enough for every lease.

The number of waiting entries is the span of ids from the oldest waiting one: entries are sequenced in the order of
their ids, and counting the rows would read all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, ScalarSelect, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from service.domain.audit.evidence_bounds import EvidenceLag
from service.store.tables.anchors import AnchoredHeadRow
from service.store.tables.audit import AuditCheckpoint, AuditPending

_oldest = (
    select(AuditPending.id, AuditPending.created_at)
    .where(AuditPending.refused.is_(None))
    .order_by(AuditPending.id)
    .limit(1)
    .cte("oldest")
)
_anchored = (
    select(func.coalesce(func.max(AnchoredHeadRow.size), 0))
    .where(AnchoredHeadRow.anchor == func.any(cast(bindparam("anchors"), ARRAY(AnchoredHeadRow.anchor.type))))
    .scalar_subquery()
)
_first_unanchored = (
    select(AuditCheckpoint.created_at)
    .where(AuditCheckpoint.size > _anchored)
    .order_by(AuditCheckpoint.size)
    .limit(1)
    .scalar_subquery()
)


def _age(at: ScalarSelect[datetime]) -> ColumnElement[float]:
    """Seconds since then by the database's clock; 0 where there is no such row."""
    return func.coalesce(func.date_part("epoch", func.clock_timestamp() - at), 0.0)


_LAG = select(
    _age(select(_oldest.c.created_at).scalar_subquery()).label("unsequenced"),
    func.coalesce(
        select(func.max(AuditPending.id)).scalar_subquery() - select(_oldest.c.id).scalar_subquery() + 1, 0
    ).label("entries"),
    _age(_first_unanchored).label("unanchored"),
)


def read_evidence_lag(connection: Connection, anchors: Sequence[str]) -> EvidenceLag:
    """Return the lag as of now, by the database's clock. `anchors`: the names of the configured ones."""
    row = connection.execute(_LAG, {"anchors": list(anchors)}).one()
    return EvidenceLag(
        unsequenced=timedelta(seconds=max(row.unsequenced, 0.0)),
        unsequenced_entries=row.entries,
        unanchored=timedelta(seconds=max(row.unanchored, 0.0)),
    )
