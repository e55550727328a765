"""The error of a log that doesn't agree with itself, and the row that keeps it.

A finding is a code and sizes, indexes or hashes, never the content of an entry.
"""

from __future__ import annotations

from sqlalchemy import Engine, bindparam
from sqlalchemy.dialects.postgresql import insert

from service.store.execute import execute
from service.store.tables.audit import AuditFinding

_KEEP = insert(AuditFinding).values(code=bindparam("code"), detail=bindparam("detail")).on_conflict_do_nothing()


class AuditLogBroken(Exception):  # noqa: N818 - says what is true of the log
    """Stored bytes, hashes and signed checkpoints don't agree.

    Nothing is signed, or exported as good, after this.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


def keep_findings(engine: Engine, *findings: AuditLogBroken) -> None:
    """Records findings in a transaction of its own, since the one that met them rolls back."""
    with engine.begin() as connection:
        for finding in findings:
            execute(connection, _KEEP, {"code": finding.code, "detail": finding.detail})
