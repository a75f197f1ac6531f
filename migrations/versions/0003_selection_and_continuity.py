"""Conflated trades, the churn guard, checked books, the verdict on a symbol's day; more of triggers and overflows.

Frozen: it says what changed when it was new, and so imports nothing of today's schema.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DOUBLE: "sa.types.TypeEngine[Any]" = sa.Double().with_variant(sa.REAL(), "sqlite")


def _text(name: str) -> "sa.Column[Any]":
    return sa.Column(name, sa.Text, nullable=False)


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
    _create_conflated_trades()
    _create_churn_guard()
    _create_quality()
    for name in ("severity", "basis"):
        op.add_column("triggers", sa.Column(name, sa.Text, nullable=False, server_default=""))
    for name in ("measure", "market_cap_krw"):
        op.add_column("slot_overflows", sa.Column(name, _DOUBLE, nullable=False, server_default="0"))


def downgrade() -> None:
    raise CommandError("an older Observer cannot read what this one wrote: restore the backup from before the upgrade")


def _create_conflated_trades() -> None:
    _event_table(
        "conflated_trades",
        _text("provider"),
        _text("symbol"),
        _text("session_date"),
        _whole("from_ns"),
        _whole("to_ns"),
        _whole("receive_time_ns"),
        _whole("trades"),
        _real("volume"),
        _real("open"),
        _real("high"),
        _real("low"),
        _real("close"),
        _real("cumulative_volume"),
        _whole("cumulative_trades", nullable=True),
    )
    op.create_index("ix_conflated_trades_symbol_session_date", "conflated_trades", ["symbol", "session_date"])
    _event_table(
        "sampling_changes", _text("provider"), _whole("changed_ns"), _real("rate_hz", nullable=True), _text("reason")
    )


def _create_churn_guard() -> None:
    _event_table(
        "churn_guard_changes",
        _whole("changed_ns"),
        sa.Column("engaged", sa.Boolean, nullable=False),
        _whole("replacements"),
        _real("threshold"),
    )


def _create_quality() -> None:
    _event_table(
        "books_checks",
        _text("provider"),
        _text("symbol"),
        _text("session_date"),
        _whole("checked_ns"),
        _whole("from_ns"),
        _whole("to_ns"),
        _real("after_volume"),
        _real("before_volume"),
        _real("streamed_volume"),
        _real("recovered_volume"),
        _real("difference"),
    )
    _event_table(
        "quality",
        _text("provider"),
        _text("symbol"),
        _text("session_date"),
        _whole("judged_ns"),
        _text("verdict"),
        _text("detail"),
        _real("seconds"),
        _whole("streamed_trades"),
        _real("streamed_volume"),
        _real("recovered_volume"),
        _real("conflated_volume"),
        _real("missing_volume"),
        _whole("gaps"),
        _whole("gaps_open"),
    )
    for table in ("books_checks", "quality"):
        op.create_index(f"ix_{table}_session_date_symbol", table, ["session_date", "symbol"])
