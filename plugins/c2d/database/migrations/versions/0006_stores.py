"""Where the results lie: so that they are found, and removed, when the settings are others"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    column = sa.Column("stores", JSONB, comment="where the results and admin logs lie (c2d.results.destinations.Destination.dump)")
    op.add_column("jobs", column, schema="c2d")


def downgrade() -> None:
    op.drop_column("jobs", "stores", schema="c2d")
