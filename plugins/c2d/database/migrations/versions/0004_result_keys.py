"""The keys that results are encrypted with"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    comment = "that the results are encrypted with, sealed (c2d.results.keys); gone once they expire"
    op.add_column("jobs", sa.Column("resultKeys", JSONB(), comment=comment), schema="c2d")


def downgrade() -> None:
    op.drop_column("jobs", "resultKeys", schema="c2d")
