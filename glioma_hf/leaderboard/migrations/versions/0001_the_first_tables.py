"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """To this version."""
    op.create_table(
        "data_set",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("licence", sa.String(length=80), nullable=False),
        sa.Column("place", sa.String(length=1024), nullable=True),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 80", name=op.f("ck_data_set_name")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_set")),
        sa.UniqueConstraint("name", name=op.f("uq_data_set_name")),
    )
    op.create_table(
        "developer",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("pass_hash", sa.String(length=255), nullable=True),
        sa.Column("hub_name", sa.String(length=96), nullable=True),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("role IN ('developer', 'maintainer')", name=op.f("ck_developer_role")),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 40", name=op.f("ck_developer_name")),
        sa.CheckConstraint("pass_hash IS NULL OR length(pass_hash) >= 60", name=op.f("ck_developer_pass_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_developer")),
        sa.UniqueConstraint("hub_name", name=op.f("uq_developer_hub_name")),
        sa.UniqueConstraint("name", name=op.f("uq_developer_name")),
    )
    op.create_table(
        "metric",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("title", sa.String(length=40), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("higher_is_better", sa.Boolean(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_metric")),
    )
    op.create_table(
        "cell_image",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("data_set_id", sa.String(length=32), nullable=False),
        sa.Column("split", sa.String(length=80), nullable=False),
        sa.Column("file_name", sa.String(length=400), nullable=False),
        sa.Column("cell_type", sa.String(length=80), nullable=False),
        sa.Column("imaging_modality", sa.String(length=80), nullable=False),
        sa.Column("instance_seg", sa.Boolean(), nullable=False),
        sa.Column("image_url", sa.String(length=1024), nullable=False),
        sa.Column("label_url", sa.String(length=1024), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["data_set_id"], ["data_set.id"], name=op.f("fk_cell_image_data_set_id_data_set")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cell_image")),
    )
    with op.batch_alter_table("cell_image", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_cell_image_cell_type"), ["cell_type"], unique=False)
        batch_op.create_index(batch_op.f("ix_cell_image_data_set_id"), ["data_set_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_cell_image_imaging_modality"), ["imaging_modality"], unique=False)

    op.create_table(
        "model",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("developer_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("backbone", sa.String(length=120), nullable=False),
        sa.Column("learning_method", sa.String(length=200), nullable=False),
        sa.Column("zero_shot", sa.Boolean(), nullable=False),
        sa.Column("num_params", sa.BigInteger(), nullable=True),
        sa.Column("licence", sa.String(length=80), nullable=False),
        sa.Column("paper_url", sa.String(length=400), nullable=False),
        sa.Column("code_url", sa.String(length=400), nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("published", sa.Boolean(), nullable=False),
        sa.Column("upload_time", sa.DateTime(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("source IN ('paper', 'here')", name=op.f("ck_model_source")),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 120", name=op.f("ck_model_name")),
        sa.CheckConstraint("num_params IS NULL OR num_params >= 0", name=op.f("ck_model_num_params")),
        sa.ForeignKeyConstraint(["developer_id"], ["developer.id"], name=op.f("fk_model_developer_id_developer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
    )
    with op.batch_alter_table("model", schema=None) as batch_op:
        batch_op.create_index("uq_model_developer_name", ["developer_id", "name"], unique=True)

    op.create_table(
        "task",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("data_set_id", sa.String(length=32), nullable=False),
        sa.Column("split", sa.String(length=80), nullable=False),
        sa.Column("objects", sa.String(length=80), nullable=False),
        sa.Column("num_images", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("num_images >= 1", name=op.f("ck_task_num_images")),
        sa.ForeignKeyConstraint(["data_set_id"], ["data_set.id"], name=op.f("fk_task_data_set_id_data_set")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("name", name=op.f("uq_task_name")),
    )
    with op.batch_alter_table("task", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_task_data_set_id"), ["data_set_id"], unique=False)

    op.create_table(
        "visit",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("developer_id", sa.String(length=32), nullable=False),
        sa.Column("expires", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["developer_id"], ["developer.id"], name=op.f("fk_visit_developer_id_developer"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_visit")),
    )
    with op.batch_alter_table("visit", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_visit_developer_id"), ["developer_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_visit_expires"), ["expires"], unique=False)

    op.create_table(
        "performance",
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("task_id", sa.String(length=32), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("metric_name", sa.String(length=40), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("mode IN ('overlapping', 'flattened')", name=op.f("ck_performance_mode")),
        sa.ForeignKeyConstraint(["metric_name"], ["metric.name"], name=op.f("fk_performance_metric_name_metric")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_performance_model_id_model")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_performance_task_id_task")),
        sa.PrimaryKeyConstraint("model_id", "task_id", "mode", "metric_name", name=op.f("pk_performance")),
    )
    with op.batch_alter_table("performance", schema=None) as batch_op:
        batch_op.create_index("ix_performance_board", ["task_id", "mode", "metric_name", "score"], unique=False)

    op.create_table(
        "prediction",
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("task_id", sa.String(length=32), nullable=False),
        sa.Column("cell_image_id", sa.String(length=32), nullable=False),
        sa.Column("prediction_url", sa.String(length=400), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cell_image_id"], ["cell_image.id"], name=op.f("fk_prediction_cell_image_id_cell_image")
        ),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_prediction_model_id_model")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_prediction_task_id_task")),
        sa.PrimaryKeyConstraint("model_id", "task_id", "cell_image_id", name=op.f("pk_prediction")),
    )
    op.create_table(
        "submission",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("developer_id", sa.String(length=32), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("task_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("file_name", sa.String(length=255), nullable=False),
        sa.Column("payload", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("finished", sa.DateTime(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('results', 'label_maps', 'model')", name=op.f("ck_submission_kind")),
        sa.CheckConstraint(
            "state IN ('received', 'scoring', 'scored', 'failed', 'withdrawn')", name=op.f("ck_submission_state")
        ),
        sa.ForeignKeyConstraint(["developer_id"], ["developer.id"], name=op.f("fk_submission_developer_id_developer")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_submission_model_id_model")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_submission_task_id_task")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submission")),
    )
    with op.batch_alter_table("submission", schema=None) as batch_op:
        batch_op.create_index("ix_submission_developer_created", ["developer_id", "created"], unique=False)
        batch_op.create_index(batch_op.f("ix_submission_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_submission_task_id"), ["task_id"], unique=False)
        batch_op.create_index(
            "uq_submission_standing",
            ["model_id", "task_id"],
            unique=True,
            sqlite_where=sa.text("state IN ('received', 'scoring', 'scored')"),
            postgresql_where=sa.text("state IN ('received', 'scoring', 'scored')"),
        )

    op.create_table(
        "task_image",
        sa.Column("task_id", sa.String(length=32), nullable=False),
        sa.Column("cell_image_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cell_image_id"], ["cell_image.id"], name=op.f("fk_task_image_cell_image_id_cell_image")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_task_image_task_id_task")),
        sa.PrimaryKeyConstraint("task_id", "cell_image_id", name=op.f("pk_task_image")),
    )
    with op.batch_alter_table("task_image", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_task_image_cell_image_id"), ["cell_image_id"], unique=False)

    op.create_table(
        "lease",
        sa.Column("submission_id", sa.String(length=32), nullable=False),
        sa.Column("worker", sa.String(length=32), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submission.id"], name=op.f("fk_lease_submission_id_submission"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("submission_id", name=op.f("pk_lease")),
    )
    with op.batch_alter_table("lease", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lease_until"), ["until"], unique=False)

    op.create_table(
        "scoring",
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("task_id", sa.String(length=32), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("submission_id", sa.String(length=32), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("row", sa.JSON(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_scoring_model_id_model")),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name=op.f("fk_scoring_submission_id_submission")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_scoring_task_id_task")),
        sa.PrimaryKeyConstraint("model_id", "task_id", "mode", name=op.f("pk_scoring")),
    )
    with op.batch_alter_table("scoring", schema=None) as batch_op:
        batch_op.create_index("ix_scoring_board", ["task_id", "mode"], unique=False)
        batch_op.create_index(batch_op.f("ix_scoring_submission_id"), ["submission_id"], unique=False)


def downgrade() -> None:
    """Back to the one before."""
    with op.batch_alter_table("scoring", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_scoring_submission_id"))
        batch_op.drop_index("ix_scoring_board")

    op.drop_table("scoring")
    with op.batch_alter_table("lease", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lease_until"))

    op.drop_table("lease")
    with op.batch_alter_table("task_image", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_task_image_cell_image_id"))

    op.drop_table("task_image")
    with op.batch_alter_table("submission", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_submission_standing",
            sqlite_where=sa.text("state IN ('received', 'scoring', 'scored')"),
            postgresql_where=sa.text("state IN ('received', 'scoring', 'scored')"),
        )
        batch_op.drop_index(batch_op.f("ix_submission_task_id"))
        batch_op.drop_index(batch_op.f("ix_submission_state"))
        batch_op.drop_index("ix_submission_developer_created")

    op.drop_table("submission")
    op.drop_table("prediction")
    with op.batch_alter_table("performance", schema=None) as batch_op:
        batch_op.drop_index("ix_performance_board")

    op.drop_table("performance")
    with op.batch_alter_table("visit", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_visit_expires"))
        batch_op.drop_index(batch_op.f("ix_visit_developer_id"))

    op.drop_table("visit")
    with op.batch_alter_table("task", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_task_data_set_id"))

    op.drop_table("task")
    with op.batch_alter_table("model", schema=None) as batch_op:
        batch_op.drop_index("uq_model_developer_name")

    op.drop_table("model")
    with op.batch_alter_table("cell_image", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_cell_image_imaging_modality"))
        batch_op.drop_index(batch_op.f("ix_cell_image_data_set_id"))
        batch_op.drop_index(batch_op.f("ix_cell_image_cell_type"))

    op.drop_table("cell_image")
    op.drop_table("metric")
    op.drop_table("developer")
    op.drop_table("data_set")
