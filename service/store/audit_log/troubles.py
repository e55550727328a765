"""Store why the audit log can't be signed or anchored now, and since when: one row per failing part.

The sequencer and the publisher of heads write after each turn; readiness, metrics and `expunge up` read. A part is
`signing`, or `anchor:` and the anchor's name. Reasons are our own codes and words, never a vendor's text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from service.store.tables.audit import AuditTroubleRow

SIGNING = "signing"
ANCHOR = "anchor:"


@dataclass(frozen=True)
class AuditTrouble:
    """One part that fails.

    `code` is for machines, `reason` for people; `seconds` is how long it has been failing.
    """

    part: str
    code: str
    reason: str
    seconds: float


def note_signing_trouble(engine: Engine, code: str, reason: str) -> None:
    """Note that the last try to sequence or sign failed, in a transaction of its own."""
    with engine.begin() as connection:
        _note(connection, SIGNING, code, reason)


def end_signing_trouble(engine: Engine) -> None:
    """Note that the last try succeeded."""
    with engine.begin() as connection:
        connection.execute(delete(AuditTroubleRow).where(AuditTroubleRow.part == SIGNING))


def keep_anchor_troubles(engine: Engine, troubles: Mapping[str, str]) -> None:
    """Keep exactly these anchors' troubles: code by the anchor's name. Those of all others have ended."""
    with engine.begin() as connection:
        connection.execute(
            delete(AuditTroubleRow).where(
                AuditTroubleRow.part.startswith(ANCHOR, autoescape=True),
                AuditTroubleRow.part.not_in([f"{ANCHOR}{name}" for name in troubles]),
            )
        )
        for name, code in troubles.items():
            _note(connection, f"{ANCHOR}{name}", code, f"the anchor {name} takes no head: {code}")


def audit_troubles(connection: Connection) -> list[AuditTrouble]:
    """Return the parts that fail now, in their order."""
    age = func.date_part("epoch", func.clock_timestamp() - AuditTroubleRow.since)
    row = AuditTroubleRow
    rows = connection.execute(select(row.part, row.code, row.reason, age.label("seconds")).order_by(row.part))
    return [AuditTrouble(each.part, each.code, each.reason, max(each.seconds, 0.0)) for each in rows]


def _note(connection: Connection, part: str, code: str, reason: str) -> None:
    """The first failure's time stays while it lasts; code and reason are the newest failure's."""
    added = insert(AuditTroubleRow).values(part=part, code=code, reason=reason)
    connection.execute(
        added.on_conflict_do_update(
            index_elements=[AuditTroubleRow.part], set_={"code": added.excluded.code, "reason": added.excluded.reason}
        )
    )
