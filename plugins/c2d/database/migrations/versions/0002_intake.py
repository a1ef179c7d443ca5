"""What the operator-service API needs: whose job it is, the run that is still to be made, nonces, notifications"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("provider", sa.Text, comment="address of the Provider that asked, in lower case"), schema="c2d")
    op.add_column("jobs", sa.Column("conf", JSONB, comment="the sealed job, until its run exists"), schema="c2d")
    op.add_column("jobs", sa.Column("secret", sa.Text, comment="the job's secret, sealed, for notifications"), schema="c2d")
    op.create_index("jobs_provider_owner", "jobs", ["provider", sa.text('lower("owner")')], schema="c2d")
    op.create_index("jobs_waiting", "jobs", ["environment", "dateCreated"], schema="c2d", postgresql_where=sa.text("conf IS NOT NULL"))
    op.create_index(
        "jobs_active_owner", "jobs", [sa.text('lower("owner")')], schema="c2d", postgresql_where=sa.text('"dateFinished" IS NULL')
    )
    op.create_index(
        "jobs_agreement_in_use",
        "jobs",
        ["agreementId"],
        unique=True,
        schema="c2d",
        postgresql_where=sa.text('"dateFinished" IS NULL AND provider IS NOT NULL'),
    )
    op.create_table(
        "nonces",
        sa.Column("signer", sa.Text, primary_key=True, comment="address, in lower case"),
        sa.Column("nonce", sa.BigInteger, nullable=False, comment="the highest that was used"),
        schema="c2d",
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("jobId", sa.Text, sa.ForeignKey("c2d.jobs.jobId", ondelete="CASCADE"), nullable=False),
        sa.Column("event", sa.Text, nullable=False, comment="start or stop"),
        sa.Column(
            "state", sa.Text, nullable=False, server_default="waiting", comment="waiting, delivered, dead, or unwanted (no URL is set)"
        ),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("nextTry", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("delivered", sa.DateTime(timezone=True)),
        sa.Column("error", sa.Text, nullable=False, server_default=""),
        sa.UniqueConstraint("jobId", "event", name="notifications_once"),
        schema="c2d",
    )
    op.create_index("notifications_due", "notifications", ["nextTry"], schema="c2d", postgresql_where=sa.text("state = 'waiting'"))


def downgrade() -> None:
    op.drop_table("notifications", schema="c2d")
    op.drop_table("nonces", schema="c2d")
    for index in ("jobs_agreement_in_use", "jobs_active_owner", "jobs_waiting", "jobs_provider_owner"):
        op.drop_index(index, "jobs", schema="c2d")
    for column in ("secret", "conf", "provider"):
        op.drop_column("jobs", column, schema="c2d")
