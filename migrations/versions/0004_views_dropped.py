"""No views of stocks at all their venues: `observer bars`, `observer query` and the Python API have them."""

from typing import Final

from alembic import op
from sqlalchemy.exc import InternalError

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Each before those that it read.
_VIEWS: Final = (
    "best_quotes",
    "consolidated_quotes",
    "consolidated_daily_bars",
    "venue_daily_bars",
    "consolidated_minute_bars",
    "consolidated_conflated_trades",
    "consolidated_trades",
)
_IS_READ: Final = "2BP01"  # by a view of a person's own, in PostgreSQL: it stays with what it reads


def upgrade() -> None:
    connection = op.get_bind()
    for name in _VIEWS:
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
        except InternalError as error:
            if getattr(error.orig, "sqlstate", None) != _IS_READ:
                raise


def downgrade() -> None:
    """The program of the earlier schema makes its views when it starts."""
