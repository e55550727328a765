"""Stop the work of paused and cancelled imports: nothing of theirs is leased or resolved.

Decides by the import's own row, so that pausing 100,000 requests writes one row. The work of an import is one queue
(domain.execution.fair_queues), and a paused queue is passed over as a whole. Deadlines go on and are watched as before.
A request that was marked as urgent is in another queue, and goes on.
"""

from __future__ import annotations

from sqlalchemy import literal_column, or_, select

from service.store.sql_files import load_sql
from service.store.tables.imports import ImportRow
from service.store.tables.requests import RequestRow

HALTED_IMPORTS = load_sql(__package__, "halted_imports")
"""Ids of imports whose work is stopped. `cancelling`: unfinished requests are being revoked."""

PAUSED_IMPORTS = select(ImportRow.id).where(
    ImportRow.state.in_([literal_column("'paused'"), literal_column("'cancelling'")])
)
"""The same as an expression; literals, because the partial index has them."""

REQUEST_IS_ACTIVE = or_(RequestRow.import_id.is_(None), RequestRow.import_id.not_in(PAUSED_IMPORTS))
"""The condition for a request whose import, if it has one, isn't paused or cancelled."""
