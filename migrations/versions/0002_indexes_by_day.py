"""Indexes by day for eleven tables: a day's rows are counted and sealed without those of the other days."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_COLUMNS: Final = (
    ("attentions", "session_date"),
    ("churn_guard_changes", "changed_ns"),
    ("context_syncs", "session_date"),
    ("empty_gaps", "session_date"),
    ("etf_jobs", "session_date"),
    ("expected_prices", "session_date"),
    ("order_books", "session_date"),
    ("recovered_minute_bars", "session_date"),
    ("sampling_changes", "changed_ns"),
    ("trigger_ends", "ended_ns"),
    ("universe_members", "session_date"),
)


def upgrade() -> None:
    invalid = _invalid_indexes()
    for table, column in _COLUMNS:
        name = _name(table, column)
        if name in invalid:
            op.drop_index(name, table)
        op.create_index(name, table, [column], if_not_exists=True)


def downgrade() -> None:
    for table, column in _COLUMNS:
        op.drop_index(_name(table, column), table, if_exists=True)


def _name(table: str, column: str) -> str:
    return f"ix_{table}_{column}"


def _invalid_indexes() -> set[str]:
    """What a CREATE INDEX CONCURRENTLY left that ended half-way: PostgreSQL keeps such an index and never uses it."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return set()
    found = connection.execute(
        sa.text(
            "SELECT relname FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid "
            "WHERE NOT indisvalid AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
        )
    )
    return set(found.scalars())
