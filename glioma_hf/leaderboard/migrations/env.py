"""What alembic runs: the migrations, on the connection that `database.migrate` gives."""

from __future__ import annotations

from alembic import context

from glioma_hf.leaderboard.tables import Base

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("run migrations by glioma_hf.leaderboard.database.migrate")
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
