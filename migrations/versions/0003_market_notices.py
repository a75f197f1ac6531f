"""What the exchange says of a market as a whole, and the auction of an expected price."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("market_states", sa.Column("market_notice", sa.Text()))
    op.add_column("expected_prices", sa.Column("auction", sa.Text()))


def downgrade() -> None:
    op.drop_column("market_states", "market_notice")
    op.drop_column("expected_prices", "auction")
