"""Give doubts a version, keep the decisions of reviews, and store each cluster's sealed explanation.

Doubts that wait at this moment stay as they are. They name no links, so that `keep` is the one sensible decision about
them: the search begins again, and its doubts are decided one by one (see service.domain.identity.doubts).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns with constant defaults, which rewrites no row, and two tables."""
    op.add_column("requests", sa.Column("doubts_version", sa.Integer(), server_default="0", nullable=False))
    op.add_column(
        "requests", sa.Column("second_person_for", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False)
    )
    op.create_table(
        "identity_explanations",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_identity_explanations_request_id_requests")
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_identity_explanations")),
    )
    op.create_table(
        "reviews",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("doubts_version", sa.Integer(), nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dropped", sa.Integer(), nullable=False),
        sa.Column("decisions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_reviews_request_id_requests")),
        sa.PrimaryKeyConstraint("request_id", "number", name=op.f("pk_reviews")),
    )
