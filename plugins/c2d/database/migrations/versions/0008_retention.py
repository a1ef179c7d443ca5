"""Publishing again, and results whose time is over"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    column = sa.Column("republish", sa.DateTime(timezone=True), comment="when somebody asked for its results to be published again")
    op.add_column("jobs", column, schema="c2d")
    op.create_index("jobs_republish", "jobs", ["republish"], schema="c2d", postgresql_where=sa.text("republish IS NOT NULL"))
    op.create_index("jobs_kept", "jobs", ["environment", "dateFinished"], schema="c2d", postgresql_where=sa.text("stores IS NOT NULL"))


def downgrade() -> None:
    op.drop_index("jobs_kept", "jobs", schema="c2d")
    op.drop_index("jobs_republish", "jobs", schema="c2d")
    op.drop_column("jobs", "republish", schema="c2d")
