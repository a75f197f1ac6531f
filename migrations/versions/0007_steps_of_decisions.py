"""The steps of the selection and of the watch over gaps, with which a day's decisions can be made again.

Frozen: it says what changed when it was new, and so imports nothing of today's schema.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_DOUBLE: "sa.types.TypeEngine[Any]" = sa.Double().with_variant(sa.REAL(), "sqlite")


def _event_table(name: str, *columns: "sa.Column[Any]") -> None:
    op.create_table(
        name,
        sa.Column("stream", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("stream", "sequence", name=f"pk_{name}"),
        sqlite_with_rowid=False,
    )
    op.create_index(f"ix_{name}_session_date", name, ["session_date"])


def upgrade() -> None:
    _event_table(
        "selection_steps",
        sa.Column("session_date", sa.Text, nullable=False),
        sa.Column("advanced_ns", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("step", "symbol")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("sweep", "snapshots")),
        sa.Column("detail", sa.Text, nullable=False),
    )
    _event_table(
        "watch_changes",
        *(sa.Column(name, sa.Text, nullable=False) for name in ("provider", "symbol", "session_date")),
        sa.Column("changed_ns", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("step", "reason")),
        sa.Column("cumulative_volume", _DOUBLE, nullable=True),
        *(sa.Column(name, sa.BigInteger, nullable=True) for name in ("cumulative_trades", "exchange_time_ns")),
    )


def downgrade() -> None:
    raise CommandError("an older Observer cannot read what this one wrote: restore the backup from before the upgrade")
