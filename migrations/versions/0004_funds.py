"""Funds: the lists of each day, what they are worth, their net asset values, measures and ranges; what is known now.

Frozen: it says what changed when it was new, and so imports nothing of today's schema.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_DOUBLE: "sa.types.TypeEngine[Any]" = sa.Double().with_variant(sa.REAL(), "sqlite")
_INDEXES = {
    "fund_lists": (["session_date"], ["symbol", "session_date"]),
    "fund_values": (["symbol", "session_date"],),
    "fund_nav_days": (["symbol", "session_date"],),
    "fund_measures": (["symbol", "session_date"],),
    "fund_ranges": (["symbol", "session_date"],),
    "fund_jobs": (["job", "ended_ns"],),
}


def _text(name: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, sa.Text, nullable=nullable)


def _whole(name: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def _real(name: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, _DOUBLE, nullable=nullable)


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
    _create_lists()
    _create_values()
    _create_measures()
    _create_funds()
    for table, indexes in _INDEXES.items():
        for columns in indexes:
            op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns)


def downgrade() -> None:
    raise CommandError("an older Observer cannot read what this one wrote: restore the backup from before the upgrade")


def _create_lists() -> None:
    _event_table(
        "fund_lists",
        _text("session_date"),
        _whole("listed_ns"),
        _text("symbol"),
        _text("change"),
        _text("name"),
        _text("group"),
        _text("isin", nullable=True),
        _text("full_name", nullable=True),
        _text("english_name", nullable=True),
        _text("issuer", nullable=True),
        _text("index_name", nullable=True),
        _text("index_provider", nullable=True),
        _text("region", nullable=True),
        _text("asset_class", nullable=True),
        _text("replication", nullable=True),
        _text("tax_type", nullable=True),
        _real("leverage", nullable=True),
        _real("expense_ratio_percent", nullable=True),
        _real("listed_shares", nullable=True),
        _real("creation_unit_shares", nullable=True),
        _text("listed_on", nullable=True),
        _text("changed_fields"),
        _text("sources"),
    )
    _event_table(
        "fund_jobs",
        _text("job"),
        _text("session_date"),
        _whole("started_ns"),
        _whole("ended_ns"),
        _text("source"),
        _whole("asked"),
        _whole("answered"),
        _whole("failed"),
        _text("detail"),
    )


def _create_values() -> None:
    _event_table(
        "fund_values",
        _text("provider"),
        _text("symbol"),
        _text("session_date"),
        _whole("valued_ns"),
        _real("price"),
        _real("nav", nullable=True),
        _real("premium_percent", nullable=True),
        _real("listed_shares", nullable=True),
        _real("aum_krw", nullable=True),
        _real("net_assets_krw", nullable=True),
        _real("stated_tracking_error_percent", nullable=True),
        _whole("component_count", nullable=True),
    )
    _event_table(
        "fund_nav_days",
        _text("provider"),
        _text("symbol"),
        _text("session_date"),
        _whole("received_ns"),
        _real("close"),
        _real("nav", nullable=True),
        _real("premium_percent", nullable=True),
        _real("volume"),
        _real("index_close", nullable=True),
    )


def _create_measures() -> None:
    _event_table(
        "fund_measures",
        _text("symbol"),
        _text("session_date"),
        _whole("measured_ns"),
        _whole("nav_days"),
        _real("premium_20d_percent", nullable=True),
        _real("premium_60d_percent", nullable=True),
        _real("premium_120d_percent", nullable=True),
        _real("premium_250d_percent", nullable=True),
        _real("tracking_error_20d_percent", nullable=True),
        _real("tracking_error_60d_percent", nullable=True),
        _real("tracking_error_120d_percent", nullable=True),
        _real("tracking_error_250d_percent", nullable=True),
    )
    _event_table(
        "fund_ranges",
        _text("symbol"),
        _text("session_date"),
        _whole("found_ns"),
        _whole("closes"),
        _real("highest_close_52w"),
        _real("lowest_close_52w"),
    )


def _create_funds() -> None:
    op.create_table(
        "funds",
        _text("symbol"),
        _text("name"),
        _text("group"),
        _text("isin", nullable=True),
        _text("full_name", nullable=True),
        _text("english_name", nullable=True),
        _text("issuer", nullable=True),
        _text("index_name", nullable=True),
        _text("index_provider", nullable=True),
        _text("region", nullable=True),
        _text("asset_class", nullable=True),
        _text("replication", nullable=True),
        _text("tax_type", nullable=True),
        _real("leverage", nullable=True),
        _real("expense_ratio_percent", nullable=True),
        _real("listed_shares", nullable=True),
        _real("creation_unit_shares", nullable=True),
        _text("listed_on", nullable=True),
        _text("sources"),
        sa.Column("active", sa.Boolean, nullable=False),
        _whole("first_seen_ns"),
        _whole("listed_ns"),
        _whole("valued_ns", nullable=True),
        _real("price", nullable=True),
        _real("nav", nullable=True),
        _real("premium_percent", nullable=True),
        _real("aum_krw", nullable=True),
        _real("net_assets_krw", nullable=True),
        _real("stated_tracking_error_percent", nullable=True),
        _whole("component_count", nullable=True),
        _whole("measured_ns", nullable=True),
        _whole("nav_days", nullable=True),
        _real("premium_20d_percent", nullable=True),
        _real("premium_60d_percent", nullable=True),
        _real("premium_120d_percent", nullable=True),
        _real("premium_250d_percent", nullable=True),
        _real("tracking_error_20d_percent", nullable=True),
        _real("tracking_error_60d_percent", nullable=True),
        _real("tracking_error_120d_percent", nullable=True),
        _real("tracking_error_250d_percent", nullable=True),
        _whole("found_ns", nullable=True),
        _real("highest_close_52w", nullable=True),
        _real("lowest_close_52w", nullable=True),
        sa.PrimaryKeyConstraint("symbol", name="pk_funds"),
        sqlite_with_rowid=False,
    )
