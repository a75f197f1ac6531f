"""Splits and their like, as facts; the thresholds of the opening, and how many places there were when one was refused.

Frozen: it says what changed when it was new, and so imports nothing of today's schema.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_DOUBLE: "sa.types.TypeEngine[Any]" = sa.Double().with_variant(sa.REAL(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "share_adjustments",
        sa.Column("stream", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("provider", "symbol", "session_date", "known_from")),
        *(sa.Column(name, _DOUBLE, nullable=False) for name in ("base_price", "previous_close")),
        sa.PrimaryKeyConstraint("stream", "sequence", name="pk_share_adjustments"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_share_adjustments_session_date", "share_adjustments", ["session_date"])
    op.add_column("universe_members", sa.Column("close_is_base", sa.Boolean, nullable=False, server_default=sa.false()))
    for name in ("volume_threshold", "volatility_threshold"):
        op.add_column("context_syncs", sa.Column(name, _DOUBLE, nullable=True))
    op.add_column("slot_overflows", sa.Column("places", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    raise CommandError("an older Observer cannot read what this one wrote: restore the backup from before the upgrade")
