"""Predictions are looked up by their task."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """To this version."""
    op.create_index(op.f("ix_prediction_task_id"), "prediction", ["task_id"])


def downgrade() -> None:
    """To the one before."""
    op.drop_index(op.f("ix_prediction_task_id"), "prediction")
