"""Plain wording of the columns' comments"""

from alembic import op

revision = "0009"
down_revision = "0008"

COMMENTS = (
    ("jobs", "algoDID", "raw if the algorithm has no DID"),
    ("jobs", "stopreq", "0 no, 1 requested, 2 deadline exceeded"),
    ("jobs", "stores", "where the results and admin logs are stored (c2d.results.destinations)"),
    ("jobs", "withheld", "files that the filter withheld, and why"),
    ("jobs", "provider", "address of the Provider that sent the job, in lower case"),
    ("jobs", "resultKeys", "sealed keys of the encrypted results (c2d.results.keys); deleted once the results expire"),
    ("jobs", "confSha256", "digest of the accepted job (c2d.jobs.model.Job.digest); its run must have the same"),
    ("jobs", "nonce", "owner's nonce that this job used up, if its run was started in Airflow"),
    ("jobs", "allowNetworkAccess", "whether every data set's owner allows the algorithm the network"),
    ("jobs", "republish", "when somebody requested that its results are published again"),
    ("stages", "started", "when the pod's container started"),
    ("stages", "finished", "when the pod's container ended"),
    ("nonces", "nonce", "highest nonce used"),
    ("consumer_nonces", "nonce", "highest nonce used at the Provider API"),
    ("used_texts", "sha256", "of a signed text whose end can be read as several nonces"),
    ("used_texts", "until", "highest of these nonces; the row may go once the address has used it"),
    ("revoked_tokens", "expires", "when the row may go"),
    ("used_orders", "jobId", "the one job that the order pays for (C2D_ORDERS_ONCE)"),
)


def upgrade() -> None:
    for table, column, comment in COMMENTS:
        op.alter_column(table, column, comment=comment, schema="c2d")


def downgrade() -> None:
    pass  # comments only
