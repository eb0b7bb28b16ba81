"""Alembic's entry: runs the revisions on the connection that `appliance.metadata.migrate` hands over."""

from alembic import context

from appliance.metadata.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter a column otherwise
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
