"""Predictions are looked up by their task."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """To this version."""
    op.create_index("ix_prediction_task", "prediction", ["task_id", "model_id"])


def downgrade() -> None:
    """To the one before."""
    op.drop_index("ix_prediction_task", "prediction")
