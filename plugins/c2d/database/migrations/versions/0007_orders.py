"""Orders: that a run is the job that was accepted, the owner's nonce, the algorithm's network, and orders that are good for one job"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    columns = (
        sa.Column("confSha256", sa.Text, comment="of the job as it was accepted (c2d.jobs.model.Job.digest): its run must be that one"),
        sa.Column("nonce", sa.Numeric, comment="the owner's that this job used up, where the run was started in Airflow"),
        sa.Column("allowNetworkAccess", sa.Boolean, comment="the owners of its data sets allow the algorithm the network"),
    )
    for column in columns:
        op.add_column("jobs", column, schema="c2d")
    op.create_table(
        "used_orders",
        sa.Column("chainId", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("txId", sa.Text, primary_key=True, comment="in lower case"),
        sa.Column("did", sa.Text, primary_key=True),
        sa.Column("jobId", sa.Text, nullable=False, comment="the one job that the order is good for (C2D_ORDERS_ONCE)"),
        sa.Column("owner", sa.Text, nullable=False),
        schema="c2d",
    )


def downgrade() -> None:
    op.drop_table("used_orders", schema="c2d")
    for name in ("allowNetworkAccess", "nonce", "confSha256"):
        op.drop_column("jobs", name, schema="c2d")
