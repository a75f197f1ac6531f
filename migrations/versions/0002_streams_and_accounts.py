"""What a stream carries beside trades (order books, expected prices, states, NAVs), and more of an account's health.

Frozen: it says what changed when it was new, and so imports nothing of today's schema.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_DOUBLE: "sa.types.TypeEngine[Any]" = sa.Double().with_variant(sa.REAL(), "sqlite")
_LEVELS = range(1, 11)


def _text(name: str) -> "sa.Column[Any]":
    return sa.Column(name, sa.Text, nullable=False)


def _whole(name: str) -> "sa.Column[Any]":
    return sa.Column(name, sa.BigInteger, nullable=False)


def _real(name: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, _DOUBLE, nullable=nullable)


def _event_table(name: str, *columns: "sa.Column[Any]") -> None:
    """Every table of this revision is asked for by symbol and time."""
    op.create_table(
        name,
        sa.Column("stream", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("stream", "sequence", name=f"pk_{name}"),
        sqlite_with_rowid=False,
    )
    op.create_index(f"ix_{name}_symbol_receive_time_ns", name, ["symbol", "receive_time_ns"])


def upgrade() -> None:
    _create_order_books()
    _create_expected_prices()
    _create_market_states()
    _create_navs()
    op.add_column("account_checks", sa.Column("stream_connected", sa.Boolean, nullable=True))
    op.add_column("account_checks", sa.Column("slots_held", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    raise CommandError("an older Observer cannot read what this one wrote: restore the backup from before the upgrade")


def _create_order_books() -> None:
    _event_table(
        "order_books",
        _text("provider"),
        _text("symbol"),
        _text("session_date"),
        _whole("exchange_time_ns"),
        _whole("receive_time_ns"),
        *(_real(f"ask_{level}", nullable=True) for level in _LEVELS),
        *(_real(f"bid_{level}", nullable=True) for level in _LEVELS),
        *(_real(f"ask_volume_{level}") for level in _LEVELS),
        *(_real(f"bid_volume_{level}") for level in _LEVELS),
        _real("total_ask_volume"),
        _real("total_bid_volume"),
        _real("expected_price", nullable=True),
        _real("expected_volume"),
        _real("cumulative_volume"),
    )


def _create_expected_prices() -> None:
    _event_table(
        "expected_prices",
        _text("provider"),
        _text("symbol"),
        _text("session_date"),
        _whole("exchange_time_ns"),
        _whole("receive_time_ns"),
        _real("price"),
        _real("volume"),
        _real("bid", nullable=True),
        _real("ask", nullable=True),
    )


def _create_market_states() -> None:
    _event_table(
        "market_states",
        _text("provider"),
        _text("symbol"),
        _whole("receive_time_ns"),
        sa.Column("halted", sa.Boolean, nullable=False),
        _text("halt_reason"),
        _text("market_state"),
        _text("expected_market_state"),
        _text("extension"),
        _text("allocation"),
        _text("symbol_state"),
        _text("volatility_interruption"),
        _text("after_hours_interruption"),
        _text("venue"),
    )


def _create_navs() -> None:
    _event_table(
        "navs",
        _text("provider"),
        _text("symbol"),
        _whole("receive_time_ns"),
        _real("nav"),
        _real("change"),
        _real("open", nullable=True),
        _real("high", nullable=True),
        _real("low", nullable=True),
    )
