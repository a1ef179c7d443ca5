"""Alembic's entry: the schema ``c2d`` of the database that :func:`c2d.database.connections.migrate` names."""

import sqlalchemy as sa
from alembic import context

from c2d.database.tables import SCHEMA, metadata

engine = sa.create_engine(context.config.attributes["url"], poolclass=sa.NullPool)
with engine.begin() as connection:
    # Two processes that migrate at once: the second one waits here, and then finds nothing to do.
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('c2d.migrate'))"))
    connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    context.configure(
        connection=connection, target_metadata=metadata, version_table_schema=SCHEMA, include_schemas=True, transactional_ddl=False
    )
    context.run_migrations()
