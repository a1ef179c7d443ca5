"""When a job got its run: so that owners take turns"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("released", sa.DateTime(timezone=True), comment="when its run was made"), schema="c2d")
    op.create_index("jobs_turns", "jobs", ["environment", sa.text('lower("owner")'), "released"], schema="c2d")


def downgrade() -> None:
    op.drop_index("jobs_turns", "jobs", schema="c2d")
    op.drop_column("jobs", "released", schema="c2d")
