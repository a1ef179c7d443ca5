"""jobs and stages"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("jobId", sa.Text, primary_key=True, comment="the DAG run's id"),
        sa.Column("environment", sa.Text, nullable=False, comment="the DAG's id"),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("agreementId", sa.Text),
        sa.Column("chainId", sa.BigInteger),
        sa.Column("algoDID", sa.Text, nullable=False, comment="raw where the algorithm has no DID"),
        sa.Column("inputDID", JSONB, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("statusText", sa.Text, nullable=False),
        sa.Column("dateCreated", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dateFinished", sa.DateTime(timezone=True)),
        sa.Column("stopreq", sa.Integer, nullable=False, server_default="0", comment="0 no, 1 asked for, 2 the time was over"),
        sa.Column("removed", sa.Integer, nullable=False, server_default="0"),
        sa.Column("results", JSONB, nullable=False, server_default="[]", comment="the manifest's files, in Ocean's order"),
        sa.Column("withheld", JSONB, nullable=False, server_default="[]", comment="what the filter kept back, and why"),
        sa.Column("terminationDetails", JSONB, comment="exitCode, OOMKilled, reason, message; once the job has ended"),
        schema="c2d",
    )
    op.create_index("jobs_owner", "jobs", ["owner"], schema="c2d")
    op.create_index("jobs_agreement", "jobs", ["agreementId"], schema="c2d")
    op.create_index("jobs_unfinished", "jobs", ["environment"], schema="c2d", postgresql_where=sa.text('"dateFinished" IS NULL'))
    op.create_table(
        "stages",
        sa.Column("jobId", sa.Text, sa.ForeignKey("c2d.jobs.jobId", ondelete="CASCADE"), primary_key=True),
        sa.Column("stage", sa.Text, primary_key=True),
        sa.Column("started", sa.DateTime(timezone=True), comment="the pod's container ran"),
        sa.Column("finished", sa.DateTime(timezone=True), comment="the pod's container had ended"),
        sa.Column("recorded", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("exitCode", sa.Integer),
        sa.Column("message", sa.Text, nullable=False, server_default=""),
        sa.Column("answer", JSONB, nullable=False, server_default="{}"),
        schema="c2d",
    )


def downgrade() -> None:
    op.drop_table("stages", schema="c2d")
    op.drop_table("jobs", schema="c2d")
