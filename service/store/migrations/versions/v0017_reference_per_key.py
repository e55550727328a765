"""Make external references unique per API key only.

A refusal disclosed that another key had used the reference.
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the unique constraint. The new one is weaker, so every existing row satisfies it."""
    op.create_unique_constraint(
        "uq_requests_external_reference_submitted_by", "requests", ["external_reference", "submitted_by"]
    )
    op.drop_constraint("uq_requests_external_reference", "requests", type_="unique")
