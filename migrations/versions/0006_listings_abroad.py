"""Listings of other countries, values of a day apart from changes, runs of master files and their approvals.

Frozen: it says what changed when it was new, and so imports nothing of today's schema.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_DOUBLE: "sa.types.TypeEngine[Any]" = sa.Double().with_variant(sa.REAL(), "sqlite")
_ABROAD = {
    "english_name": "",
    "currency": "KRW",
    "sector_code": "",
    "security_type": "",
    "realtime_symbol": "",
    "etp_kind": "",
}


def _event_table(name: str, *columns: "sa.Column[Any]") -> None:
    op.create_table(
        name,
        sa.Column("stream", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("stream", "sequence", name=f"pk_{name}"),
        sqlite_with_rowid=False,
    )


def _added(name: str, kind: "sa.types.TypeEngine[Any]", default: str) -> "sa.Column[Any]":
    return sa.Column(name, kind, nullable=False, server_default=default)


def upgrade() -> None:
    _event_table(
        "master_file_approvals",
        *(sa.Column(name, sa.Text, nullable=False) for name in ("provider", "exchange", "run")),
        sa.Column("approved_ns", sa.BigInteger, nullable=False),
    )
    _event_table(
        "listing_values",
        *(sa.Column(name, sa.Text, nullable=False) for name in ("provider", "exchange", "symbol")),
        sa.Column("valued_ns", sa.BigInteger, nullable=False),
        *(sa.Column(name, _DOUBLE, nullable=True) for name in ("base_price", "market_cap_krw")),
    )
    for name, default in _ABROAD.items():
        op.add_column("listing_changes", _added(name, sa.Text(), default))
    for name in ("previous", "run"):
        op.add_column("listing_changes", _added(name, sa.Text(), ""))
    _make_listings_anew()
    op.add_column("master_file_checks", _added("run", sa.Text(), ""))
    for name in ("relisted", "revalued"):
        op.add_column("master_file_checks", _added(name, sa.BigInteger(), "0"))
    for name in ("download_s", "parse_s"):
        op.add_column("master_file_checks", _added(name, _DOUBLE, "0"))
    op.create_index("ix_master_file_approvals_run", "master_file_approvals", ["run"])
    op.create_index("ix_master_file_checks_run", "master_file_checks", ["run"])
    op.create_index("ix_listing_changes_changed_ns", "listing_changes", ["changed_ns"])
    op.create_index("ix_listing_changes_isin", "listing_changes", ["isin"])
    indexed = ["exchange", "symbol", "valued_ns"]
    op.create_index("ix_listing_values_exchange_symbol_valued_ns", "listing_values", indexed)


def downgrade() -> None:
    raise CommandError("an older Observer cannot read what this one wrote: restore the backup from before the upgrade")


def _make_listings_anew() -> None:
    """Their columns are in the order of the fields of a listing, and the new ones belong in the middle."""
    op.execute("CREATE TABLE listings_before AS SELECT * FROM listings")
    op.drop_table("listings")
    texts = ("exchange", "symbol", "name", "isin", "group")
    flags = ("suspended", "administrative", "preferred", "spac")
    op.create_table(
        "listings",
        *(sa.Column(name, sa.Text, nullable=False) for name in texts),
        *(sa.Column(name, _DOUBLE, nullable=True) for name in ("base_price", "market_cap_krw", "listed_shares")),
        sa.Column("listed_on", sa.Text, nullable=True),
        *(sa.Column(name, sa.Boolean, nullable=False) for name in flags),
        *(sa.Column(name, sa.Text, nullable=False) for name in _ABROAD),
        *(sa.Column(f"{name}_ns", sa.BigInteger, nullable=False) for name in ("first_seen", "changed", "valued")),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("exchange", "symbol", name="pk_listings"),
        sqlite_with_rowid=False,
    )
    kept = """exchange, symbol, name, isin, "group", base_price, market_cap_krw, listed_shares, listed_on, suspended,
        administrative, preferred, spac, first_seen_ns, changed_ns, active"""
    new = "english_name, currency, sector_code, security_type, realtime_symbol, etp_kind, valued_ns"
    values = f"SELECT {kept}, '', 'KRW', '', '', '', '', changed_ns FROM listings_before"  # noqa: S608 - only our words
    op.execute(f"INSERT INTO listings ({kept}, {new}) {values}")
    op.drop_table("listings_before")
