"""What the Provider API keeps of consumers: nonces, and auth tokens that were revoked"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "consumer_nonces",
        sa.Column("address", sa.Text, primary_key=True, comment="in lower case"),
        sa.Column("nonce", sa.Numeric, nullable=False, comment="the highest that was used at the Provider API"),
        schema="c2d",
    )
    op.create_table(
        "used_texts",
        sa.Column("address", sa.Text, primary_key=True, comment="in lower case"),
        sa.Column("sha256", sa.Text, primary_key=True, comment="of a text that was signed, whose end can be read as several nonces"),
        sa.Column("until", sa.Numeric, nullable=False, comment="the highest of them: it may be forgotten once the address has used it"),
        schema="c2d",
    )
    op.create_table(
        "revoked_tokens",
        sa.Column("sha256", sa.Text, primary_key=True, comment="of the auth token"),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False, comment="when it may be forgotten"),
        schema="c2d",
    )


def downgrade() -> None:
    op.drop_table("revoked_tokens", schema="c2d")
    op.drop_table("used_texts", schema="c2d")
    op.drop_table("consumer_nonces", schema="c2d")
