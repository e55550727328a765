"""Objects' heads in the audit log change in place: room for it on their pages."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Pages that are full already are left as they are; they empty as their rows move on."""
    op.execute("ALTER TABLE audit_heads SET (fillfactor = 50)")
