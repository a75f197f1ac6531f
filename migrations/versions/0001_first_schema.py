"""The first schema: a table for each kind of event, the streams, the quarantine and the listings.

Frozen: it says what the schema was when it was new, and so imports nothing of it.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_DOUBLE: "sa.types.TypeEngine[Any]" = sa.Double().with_variant(sa.REAL(), "sqlite")


def _text(name: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, sa.Text, nullable=nullable)


def _whole(name: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def _real(name: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, _DOUBLE, nullable=nullable)


def _flag(name: str) -> "sa.Column[Any]":
    return sa.Column(name, sa.Boolean, nullable=False)


def _bytes(name: str) -> "sa.Column[Any]":
    return sa.Column(name, sa.LargeBinary, nullable=False)


def _event_table(name: str, *columns: "sa.Column[Any]") -> None:
    op.create_table(
        name,
        sa.Column("stream", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("stream", "sequence", name=f"pk_{name}"),
        sqlite_with_rowid=False,
    )


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns)


def upgrade() -> None:
    _create_bookkeeping()
    _create_the_market()
    _create_what_exists()
    _create_what_matters()
    _create_what_was_missed()
    _create_who_runs()


def downgrade() -> None:
    raise CommandError("before the first schema there is nothing to go back to; an unwanted database is deleted")


def _create_bookkeeping() -> None:
    op.create_table(
        "streams",
        sa.Column("id", sa.Integer, nullable=False),
        _text("uid"),
        _text("producer"),
        _whole("high_water_mark"),
        _whole("duplicates"),
        sa.PrimaryKeyConstraint("id", name="pk_streams"),
        sa.UniqueConstraint("uid", name="uq_streams_uid"),
    )
    _event_table("quarantine", _text("reason"), _bytes("content"))


def _create_the_market() -> None:
    _event_table(
        "trades",
        _text("provider"),
        _text("symbol"),
        _text("session_date"),
        _whole("exchange_time_ns"),
        _whole("receive_time_ns"),
        _real("price"),
        _real("volume"),
        _real("cumulative_volume"),
        _whole("cumulative_trades", nullable=True),
        _text("side"),
        _real("bid", nullable=True),
        _real("ask", nullable=True),
        _text("gap_id", nullable=True),
    )
    _index("trades", "symbol", "session_date", "cumulative_volume")
    _event_table(
        "snapshots",
        _text("provider"),
        _text("symbol"),
        _text("session_date"),
        _whole("sweep"),
        _whole("receive_time_ns"),
        _real("price"),
        _real("open", nullable=True),
        _real("high", nullable=True),
        _real("low", nullable=True),
        _real("previous_close", nullable=True),
        _real("upper_limit", nullable=True),
        _real("lower_limit", nullable=True),
        _real("bid", nullable=True),
        _real("ask", nullable=True),
        _real("cumulative_volume"),
        _real("cumulative_value"),
    )
    _index("snapshots", "symbol", "receive_time_ns")
    _index("snapshots", "session_date", "receive_time_ns")
    _event_table(
        "sweeps",
        _text("provider"),
        _text("session_date"),
        _whole("sweep"),
        _whole("started_ns"),
        _whole("completed_ns"),
        _whole("requested"),
        _whole("received"),
        _whole("requests"),
    )
    _index("sweeps", "session_date")
    _event_table(
        "daily_bars",
        _text("provider"),
        _text("symbol"),
        _text("session_date"),
        _real("open"),
        _real("high"),
        _real("low"),
        _real("close"),
        _real("volume"),
        _real("value"),
    )
    _index("daily_bars", "symbol", "session_date")
    _event_table(
        "recovered_minute_bars",
        _text("provider"),
        _text("symbol"),
        _text("session_date"),
        _whole("minute_start_ns"),
        _real("open"),
        _real("high"),
        _real("low"),
        _real("close"),
        _real("volume"),
        _text("gap_id"),
    )
    _index("recovered_minute_bars", "symbol", "minute_start_ns")


def _create_what_exists() -> None:
    _event_table(
        "master_file_checks",
        _text("provider"),
        _text("exchange"),
        _whole("checked_ns"),
        _text("verdict"),
        _text("reason"),
        _whole("size_bytes"),
        _text("sha256"),
        _whole("records"),
        _whole("quarantined"),
        _whole("new"),
        _whole("removed"),
        _whole("changed"),
    )
    _index("master_file_checks", "exchange", "checked_ns")
    _event_table(
        "listing_changes",
        _text("provider"),
        _text("exchange"),
        _text("symbol"),
        _text("change"),
        _whole("changed_ns"),
        _text("name"),
        _text("isin"),
        _text("group"),
        _real("base_price", nullable=True),
        _real("market_cap_krw", nullable=True),
        _real("listed_shares", nullable=True),
        _text("listed_on", nullable=True),
        _flag("suspended"),
        _flag("administrative"),
        _flag("preferred"),
        _flag("spac"),
        _text("changed_fields"),
    )
    _index("listing_changes", "exchange", "symbol")
    op.create_table(
        "listings",
        _text("exchange"),
        _text("symbol"),
        _text("name"),
        _text("isin"),
        _text("group"),
        _real("base_price", nullable=True),
        _real("market_cap_krw", nullable=True),
        _real("listed_shares", nullable=True),
        _text("listed_on", nullable=True),
        _flag("suspended"),
        _flag("administrative"),
        _flag("preferred"),
        _flag("spac"),
        _whole("first_seen_ns"),
        _whole("changed_ns"),
        _flag("active"),
        sa.PrimaryKeyConstraint("exchange", "symbol", name="pk_listings"),
        sqlite_with_rowid=False,
    )
    _event_table(
        "universes",
        _text("provider"),
        _text("market"),
        _text("session_date"),
        _text("previous_session_date"),
        _whole("built_ns"),
        _whole("symbols"),
        _whole("considered"),
        _real("minimum_close_krw"),
    )
    _index("universes", "market", "session_date")
    _event_table(
        "universe_members",
        _text("provider"),
        _text("market"),
        _text("session_date"),
        _whole("rank"),
        _text("symbol"),
        _text("name"),
        _text("exchange"),
        _real("market_cap_krw"),
        _real("previous_close"),
        _real("average_volume_20d", nullable=True),
        _real("average_true_range_14d", nullable=True),
    )


def _create_what_matters() -> None:
    _event_table(
        "context_syncs",
        _text("session_date"),
        _whole("synced_ns"),
        _whole("symbols"),
        _whole("snapshots"),
        _real("average_volume"),
        _real("average_volatility"),
        _flag("degraded"),
    )
    _event_table(
        "triggers",
        _text("symbol"),
        _text("kind"),
        _whole("fired_ns"),
        _whole("expires_ns", nullable=True),
        _real("measure"),
        _real("threshold"),
        _real("reference"),
        _real("strength"),
        _real("score"),
    )
    _index("triggers", "fired_ns")
    _index("triggers", "symbol", "fired_ns")
    _event_table(
        "slot_assignments",
        _text("slot"),
        _text("symbol"),
        _whole("assigned_ns"),
        _text("trigger"),
        _real("score"),
        _text("reason"),
        _text("replaced", nullable=True),
    )
    _index("slot_assignments", "assigned_ns")
    _index("slot_assignments", "symbol", "assigned_ns")
    _event_table(
        "slot_releases", _text("slot"), _text("symbol"), _whole("released_ns"), _real("score"), _text("reason")
    )
    _index("slot_releases", "released_ns")
    _event_table(
        "slot_overflows",
        _text("symbol"),
        _whole("overflowed_ns"),
        _text("trigger"),
        _real("strength"),
        _real("score"),
        _real("lowest_score"),
        _text("reason"),
    )
    _index("slot_overflows", "overflowed_ns")


def _create_what_was_missed() -> None:
    _event_table(
        "gaps",
        _text("gap_id"),
        _text("provider"),
        _text("symbol"),
        _text("session_date"),
        _whole("detected_ns"),
        _whole("from_ns"),
        _whole("to_ns"),
        _real("after_volume"),
        _real("before_volume"),
        _real("missing_volume"),
        _whole("missing_trades", nullable=True),
        _text("reason"),
    )
    _index("gaps", "gap_id")
    _index("gaps", "session_date")
    _event_table(
        "gap_recoveries",
        _text("gap_id"),
        _text("symbol"),
        _whole("recovered_ns"),
        _text("source"),
        _whole("rows"),
        _real("volume"),
        _flag("complete"),
    )
    _index("gap_recoveries", "gap_id")
    _event_table("gap_losses", _text("gap_id"), _text("symbol"), _whole("decided_ns"), _text("reason"))
    _index("gap_losses", "gap_id")
    _event_table(
        "connections",
        _text("provider"),
        _text("account"),
        _whole("changed_ns"),
        _text("state"),
        _text("reason"),
        _whole("registrations"),
    )


def _create_who_runs() -> None:
    _event_table(
        "token_renewals",
        _text("provider"),
        _text("account"),
        _whole("renewed_ns"),
        _whole("expires_ns", nullable=True),
        _text("cause"),
        _flag("succeeded"),
        _text("error"),
    )
    _event_table(
        "account_checks",
        _text("provider"),
        _text("account"),
        _whole("checked_ns"),
        _flag("token_valid"),
        _flag("rest_answers"),
        _flag("healthy"),
        _text("detail"),
    )
    _event_table("phases", _text("session_date"), _whole("changed_ns"), _text("previous"), _text("current"))
    _event_table(
        "process_changes",
        _text("process"),
        _whole("changed_ns"),
        _text("previous"),
        _text("current"),
        _whole("pid", nullable=True),
        _text("reason"),
    )
    _event_table("alerts", _whole("raised_ns"), _text("severity"), _text("source"), _text("text"))
    _event_table("backups", _whole("completed_ns"), _text("path"), _whole("size_bytes"), _text("sha256"))
    _event_table("quarantined_inputs", _text("source"), _whole("quarantined_ns"), _text("reason"), _bytes("content"))
