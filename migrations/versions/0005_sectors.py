"""Sectors: what is known of each stock's, and how the rounds that found them out went.

Frozen: it says what changed when it was new, and so imports nothing of today's schema.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_DOUBLE: "sa.types.TypeEngine[Any]" = sa.Double().with_variant(sa.REAL(), "sqlite")


def _text(name: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, sa.Text, nullable=nullable)


def _whole(name: str) -> "sa.Column[Any]":
    return sa.Column(name, sa.BigInteger, nullable=False)


def _event_table(name: str, *columns: "sa.Column[Any]") -> None:
    op.create_table(
        name,
        sa.Column("stream", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("stream", "sequence", name=f"pk_{name}"),
        sqlite_with_rowid=False,
    )


def upgrade() -> None:
    _event_table(
        "sector_assignments",
        _text("region"),
        _text("exchange"),
        _text("symbol"),
        _whole("assigned_ns"),
        _text("sector", nullable=True),
        _text("source"),
        sa.Column("confidence", _DOUBLE, nullable=False),
        _text("said"),
        _text("industry"),
    )
    _event_table(
        "enrichments",
        _text("region"),
        _whole("started_ns"),
        _whole("completed_ns"),
        _whole("securities"),
        _whole("fresh"),
        _whole("kis_code"),
        _whole("finance_database"),
        _whole("yahoo_screener"),
        _whole("yahoo_profile"),
        _whole("unsure"),
        _whole("unknown"),
        _whole("unanswered"),
        _whole("retries"),
        _text("detail"),
    )
    indexed = ["exchange", "symbol", "assigned_ns"]
    op.create_index("ix_sector_assignments_exchange_symbol_assigned_ns", "sector_assignments", indexed)
    op.create_index("ix_enrichments_region_completed_ns", "enrichments", ["region", "completed_ns"])


def downgrade() -> None:
    raise CommandError("an older Observer cannot read what this one wrote: restore the backup from before the upgrade")
