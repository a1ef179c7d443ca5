"""The jobs' tables in PostgreSQL, with Ocean's field names; :mod:`c2d.database.migrations` makes them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA = "c2d"
metadata = sa.MetaData(schema=SCHEMA)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("jobId", sa.Text, primary_key=True, comment="the DAG run's id"),
    sa.Column("environment", sa.Text, nullable=False, comment="the DAG's id"),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("agreementId", sa.Text),
    sa.Column("chainId", sa.BigInteger),
    sa.Column("algoDID", sa.Text, nullable=False, comment="raw if the algorithm has no DID"),
    sa.Column("inputDID", JSONB, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("statusText", sa.Text, nullable=False),
    sa.Column("dateCreated", sa.DateTime(timezone=True), nullable=False),
    sa.Column("dateFinished", sa.DateTime(timezone=True)),
    sa.Column("stopreq", sa.Integer, nullable=False, server_default="0", comment="0 no, 1 requested, 2 deadline exceeded"),
    sa.Column("removed", sa.Integer, nullable=False, server_default="0"),
    sa.Column("results", JSONB, nullable=False, server_default="[]", comment="the manifest's files, in Ocean's order"),
    sa.Column("stores", JSONB(none_as_null=True), comment="where the results and admin logs are stored (c2d.results.destinations)"),
    sa.Column("withheld", JSONB, nullable=False, server_default="[]", comment="files that the filter withheld, and why"),
    sa.Column("terminationDetails", JSONB, comment="exitCode, OOMKilled, reason, message; once the job has ended"),
    sa.Column("provider", sa.Text, comment="address of the Provider that sent the job, in lower case"),
    sa.Column("conf", JSONB(none_as_null=True), comment="the sealed job, until its run exists"),
    sa.Column("secret", sa.Text, comment="the job's secret, sealed, for notifications"),
    sa.Column(
        "resultKeys",
        JSONB(none_as_null=True),
        comment="sealed keys of the encrypted results (c2d.results.keys); deleted once the results expire",
    ),
    sa.Column("confSha256", sa.Text, comment="digest of the accepted job (c2d.jobs.model.Job.digest); its run must have the same"),
    sa.Column("nonce", sa.Numeric, comment="owner's nonce that this job used up, if its run was started in Airflow"),
    sa.Column("allowNetworkAccess", sa.Boolean, comment="whether every data set's owner allows the algorithm the network"),
    sa.Column("released", sa.DateTime(timezone=True), comment="when its run was made"),
    sa.Column("republish", sa.DateTime(timezone=True), comment="when somebody requested that its results are published again"),
    sa.Index("jobs_owner", "owner"),
    sa.Index("jobs_agreement", "agreementId"),
    sa.Index("jobs_unfinished", "environment", postgresql_where=sa.text('"dateFinished" IS NULL')),
    sa.Index("jobs_provider_owner", "provider", sa.text('lower("owner")')),
    sa.Index("jobs_republish", "republish", postgresql_where=sa.text("republish IS NOT NULL")),
    sa.Index("jobs_kept", "environment", "dateFinished", postgresql_where=sa.text("stores IS NOT NULL")),
    sa.Index("jobs_waiting", "environment", "dateCreated", postgresql_where=sa.text("conf IS NOT NULL")),
    sa.Index("jobs_turns", "environment", sa.text('lower("owner")'), "released"),
    sa.Index("jobs_active_owner", sa.text('lower("owner")'), postgresql_where=sa.text('"dateFinished" IS NULL')),
    sa.Index(
        "jobs_agreement_in_use",
        "agreementId",
        unique=True,
        postgresql_where=sa.text('"dateFinished" IS NULL AND provider IS NOT NULL'),
    ),
)

stages = sa.Table(
    "stages",
    metadata,
    sa.Column("jobId", sa.Text, sa.ForeignKey(jobs.c.jobId, ondelete="CASCADE"), primary_key=True),
    sa.Column("stage", sa.Text, primary_key=True),
    sa.Column("started", sa.DateTime(timezone=True), comment="when the pod's container started"),
    sa.Column("finished", sa.DateTime(timezone=True), comment="when the pod's container ended"),
    sa.Column("recorded", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("exitCode", sa.Integer),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    sa.Column("answer", JSONB, nullable=False, server_default="{}"),
)

nonces = sa.Table(
    "nonces",
    metadata,
    sa.Column("signer", sa.Text, primary_key=True, comment="address, in lower case"),
    sa.Column("nonce", sa.BigInteger, nullable=False, comment="highest nonce used"),
)

consumer_nonces = sa.Table(
    "consumer_nonces",
    metadata,
    sa.Column("address", sa.Text, primary_key=True, comment="in lower case"),
    sa.Column("nonce", sa.Numeric, nullable=False, comment="highest nonce used at the Provider API"),
)

used_texts = sa.Table(
    "used_texts",
    metadata,
    sa.Column("address", sa.Text, primary_key=True, comment="in lower case"),
    sa.Column("sha256", sa.Text, primary_key=True, comment="of a signed text whose end can be read as several nonces"),
    sa.Column("until", sa.Numeric, nullable=False, comment="highest of these nonces; the row may go once the address has used it"),
)

revoked_tokens = sa.Table(
    "revoked_tokens",
    metadata,
    sa.Column("sha256", sa.Text, primary_key=True, comment="of the auth token"),
    sa.Column("expires", sa.DateTime(timezone=True), nullable=False, comment="when the row may go"),
)

notifications = sa.Table(
    "notifications",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("jobId", sa.Text, sa.ForeignKey(jobs.c.jobId, ondelete="CASCADE"), nullable=False),
    sa.Column("event", sa.Text, nullable=False, comment="start or stop"),
    sa.Column("state", sa.Text, nullable=False, server_default="waiting", comment="waiting, delivered, dead, or unwanted (no URL is set)"),
    sa.Column("created", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("nextTry", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("delivered", sa.DateTime(timezone=True)),
    sa.Column("error", sa.Text, nullable=False, server_default=""),
    sa.UniqueConstraint("jobId", "event", name="notifications_once"),
    sa.Index("notifications_due", "nextTry", postgresql_where=sa.text("state = 'waiting'")),
)

used_orders = sa.Table(
    "used_orders",
    metadata,
    sa.Column("chainId", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("txId", sa.Text, primary_key=True, comment="in lower case"),  # of an order that was used on: the first one
    sa.Column("did", sa.Text, primary_key=True),
    sa.Column("jobId", sa.Text, nullable=False, comment="the one job that the order pays for (C2D_ORDERS_ONCE)"),
    sa.Column("owner", sa.Text, nullable=False),
)
