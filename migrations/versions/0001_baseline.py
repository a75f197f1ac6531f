"""The schema before the first release. This file does not change any more."""

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

from observer.store.views import make_view

revision = "0008"
down_revision = None
branch_labels = None
depends_on = None

_TYPES: Final[dict[str, sa.types.TypeEngine[Any]]] = {
    "int": sa.Integer(),
    "bigint": sa.BigInteger(),
    "double": sa.Double().with_variant(sa.REAL(), "sqlite"),
    "text": sa.Text(),
    "bool": sa.Boolean(),
    "bytes": sa.LargeBinary(),
}
_POSITION: Final = "stream: int, sequence: bigint"

# Tables of rows with a position, in front of these columns. A type with "?" may be NULL.
_EVENTS: Final = {
    "account_checks": (
        "provider: text, account: text, checked_ns: bigint, token_valid: bool, rest_answers: bool, healthy: bool, "
        "detail: text, stream_connected: bool?, slots_held: bigint"
    ),
    "alert_repetitions": "repeated_ns: bigint, source: text, identity: text, count: bigint, text: text",
    "alert_resolutions": "resolved_ns: bigint, source: text, identity: text, count: bigint, text: text",
    "alerts": (
        "raised_ns: bigint, severity: text, source: text, text: text, job: text?, identity: text, until_ns: bigint?"
    ),
    "attentions": (
        "provider: text, session_date: text, sweep: bigint, started_ns: bigint, completed_ns: bigint, "
        "requested: bigint, received: bigint, requests: bigint, rises: bigint"
    ),
    "backups": "completed_ns: bigint, path: text, size_bytes: bigint, sha256: text",
    "bar_checks": (
        "provider: text, symbol: text, session_date: text, checked_ns: bigint, minutes: bigint, equal: bigint, "
        "other_volume: bigint, other_prices: bigint, without_trades: bigint, without_bar: bigint, "
        "official_volume: double, stored_volume: double, differences: text, venue: text"
    ),
    "bar_fetches": (
        "provider: text, symbol: text, session_date: text, first_date: text, kind: text, outcome: text, bars: bigint, "
        "unreadable: bigint, volume: double, daily_volume: double?, calls: bigint, received_ns: bigint, venue: text"
    ),
    "churn_guard_changes": "changed_ns: bigint, engaged: bool, replacements: bigint, threshold: double",
    "conflated_trades": (
        "provider: text, symbol: text, session_date: text, from_ns: bigint, to_ns: bigint, receive_time_ns: bigint, "
        "trades: bigint, volume: double, open: double, high: double, low: double, close: double, "
        "cumulative_volume: double, cumulative_trades: bigint?, venue: text, session: text?"
    ),
    "connections": (
        "provider: text, account: text, changed_ns: bigint, state: text, reason: text, subscriptions: bigint"
    ),
    "context_syncs": (
        "session_date: text, synced_ns: bigint, symbols: bigint, snapshots: bigint, average_volume: double, "
        "average_volatility: double, degraded: bool, volume_threshold: double?, volatility_threshold: double?"
    ),
    "daily_bars": (
        "provider: text, symbol: text, session_date: text, open: double?, high: double?, low: double?, close: double, "
        "volume: double, value: double, source: text, venue: text, sessions: text"
    ),
    "empty_gaps": (
        "gap_id: text, provider: text, symbol: text, session_date: text, closed_ns: bigint, from_ns: bigint, "
        "to_ns: bigint, volume: double, venue: text"
    ),
    "enrichments": (
        "region: text, started_ns: bigint, completed_ns: bigint, securities: bigint, fresh: bigint, "
        "sector_code: bigint, finance_database: bigint, yahoo_screener: bigint, yahoo_profile: bigint, unsure: bigint, "
        "unknown: bigint, unanswered: bigint, retries: bigint, detail: text"
    ),
    "etf_jobs": (
        "job: text, session_date: text, started_ns: bigint, ended_ns: bigint, source: text, asked: bigint, "
        "answered: bigint, failed: bigint, detail: text"
    ),
    "etf_lists": (
        "session_date: text, listed_ns: bigint, symbol: text, change: text, name: text, group: text, isin: text?, "
        "full_name: text?, english_name: text?, issuer: text?, index_name: text?, index_provider: text?, "
        "region: text?, asset_class: text?, replication: text?, tax_type: text?, leverage: double?, "
        "expense_ratio_percent: double?, listed_shares: double?, creation_unit_shares: double?, listed_on: text?, "
        "changed_fields: text, sources: text"
    ),
    "etf_measures": (
        "symbol: text, session_date: text, measured_ns: bigint, nav_days: bigint, premium_20d_percent: double?, "
        "premium_60d_percent: double?, premium_120d_percent: double?, premium_250d_percent: double?, "
        "tracking_error_20d_percent: double?, tracking_error_60d_percent: double?, "
        "tracking_error_120d_percent: double?, tracking_error_250d_percent: double?"
    ),
    "etf_nav_days": (
        "provider: text, symbol: text, session_date: text, received_ns: bigint, close: double, nav: double?, "
        "premium_percent: double?, volume: double, index_close: double?"
    ),
    "etf_ranges": (
        "symbol: text, session_date: text, found_ns: bigint, closes: bigint, highest_close_52w: double, "
        "lowest_close_52w: double"
    ),
    "etf_values": (
        "provider: text, symbol: text, session_date: text, valued_ns: bigint, price: double?, nav: double?, "
        "premium_percent: double?, listed_shares: double?, aum: double?, net_assets: double?, "
        "stated_tracking_error_percent: double?, component_count: bigint?"
    ),
    "expected_prices": (
        "provider: text, symbol: text, session_date: text, exchange_time_ns: bigint, receive_time_ns: bigint, "
        "price: double, volume: double, bid: double?, ask: double?, venue: text, session: text?"
    ),
    "fetched_minute_bars": (
        "provider: text, symbol: text, session_date: text, minute_start_ns: bigint, open: double, high: double, "
        "low: double, close: double, volume: double, value: double, source: text, received_ns: bigint, venue: text"
    ),
    "gap_losses": "gap_id: text, symbol: text, decided_ns: bigint, reason: text, venue: text",
    "gap_openings": (
        "gap_id: text, provider: text, symbol: text, session_date: text, opened_ns: bigint, from_ns: bigint, "
        "after_volume: double, reason: text, venue: text"
    ),
    "gap_recoveries": (
        "gap_id: text, symbol: text, recovered_ns: bigint, source: text, rows: bigint, volume: double, complete: bool, "
        "venue: text"
    ),
    "gap_times": (
        "session_date: text, measured_ns: bigint, measure: text, gaps: bigint, met: bigint, p50_s: double, "
        "p95_s: double, p99_s: double, max_s: double"
    ),
    "gaps": (
        "gap_id: text, provider: text, symbol: text, session_date: text, detected_ns: bigint, from_ns: bigint, "
        "to_ns: bigint, after_volume: double, before_volume: double, missing_volume: double, missing_trades: bigint?, "
        "reason: text, venue: text"
    ),
    "listing_changes": (
        "provider: text, exchange: text, symbol: text, change: text, changed_ns: bigint, name: text, isin: text, "
        "group: text, base_price: double?, market_cap: double?, listed_shares: double?, listed_on: text?, "
        "suspended: bool, administrative: bool, preferred: bool, spac: bool, changed_fields: text, english_name: text, "
        "currency: text, sector_code: text, security_type: text, realtime_symbol: text, etp_kind: text, "
        "previous: text, run: text"
    ),
    "listing_values": (
        "provider: text, exchange: text, symbol: text, valued_ns: bigint, base_price: double?, market_cap: double?"
    ),
    "market_states": (
        "provider: text, symbol: text, receive_time_ns: bigint, halted: bool, halt_reason: text, market_state: text, "
        "expected_market_state: text, extension: text, allocation: text, symbol_state: text, "
        "volatility_interruption: text, after_hours_interruption: text, venue: text"
    ),
    "master_file_approvals": "provider: text, exchange: text, run: text, approved_ns: bigint",
    "master_file_checks": (
        "provider: text, exchange: text, checked_ns: bigint, outcome: text, reason: text, size_bytes: bigint, "
        "sha256: text, records: bigint, quarantined: bigint, new: bigint, removed: bigint, changed: bigint, run: text, "
        "relisted: bigint, revalued: bigint, download_s: double, parse_s: double, initial: bigint"
    ),
    "navs": (
        "provider: text, symbol: text, receive_time_ns: bigint, nav: double, change: double, open: double?, "
        "high: double?, low: double?"
    ),
    "order_books": (
        "provider: text, symbol: text, session_date: text, exchange_time_ns: bigint, receive_time_ns: bigint, "
        "ask_1: double?, ask_2: double?, ask_3: double?, ask_4: double?, ask_5: double?, ask_6: double?, "
        "ask_7: double?, ask_8: double?, ask_9: double?, ask_10: double?, bid_1: double?, bid_2: double?, "
        "bid_3: double?, bid_4: double?, bid_5: double?, bid_6: double?, bid_7: double?, bid_8: double?, "
        "bid_9: double?, bid_10: double?, ask_volume_1: double, ask_volume_2: double, ask_volume_3: double, "
        "ask_volume_4: double, ask_volume_5: double, ask_volume_6: double, ask_volume_7: double, ask_volume_8: double, "
        "ask_volume_9: double, ask_volume_10: double, bid_volume_1: double, bid_volume_2: double, "
        "bid_volume_3: double, bid_volume_4: double, bid_volume_5: double, bid_volume_6: double, bid_volume_7: double, "
        "bid_volume_8: double, bid_volume_9: double, bid_volume_10: double, total_ask_volume: double, "
        "total_bid_volume: double, expected_price: double?, expected_volume: double, cumulative_volume: double, "
        "session: text?, venue: text"
    ),
    "phases": "session_date: text, changed_ns: bigint, previous: text, current: text",
    "process_changes": "process: text, changed_ns: bigint, previous: text, current: text, pid: bigint?, reason: text",
    "quality": (
        "provider: text, symbol: text, session_date: text, judged_ns: bigint, slots_quality: text, detail: text, "
        "seconds: double, streamed_trades: bigint, streamed_volume: double, recovered_volume: double, "
        "conflated_volume: double, missing_volume: double, gaps: bigint, gaps_open: bigint, day_quality: text, "
        "missing_at_most: double?, day_volume: double?, volume_share: double?, time_share: double?, intervals: text, "
        "venue: text"
    ),
    "quarantine": "reason: text, content: bytes",
    "quarantined_inputs": "source: text, quarantined_ns: bigint, reason: text, content: bytes",
    "reconciliations": (
        "provider: text, symbol: text, session_date: text, checked_ns: bigint, from_ns: bigint, to_ns: bigint, "
        "after_volume: double, before_volume: double, streamed_volume: double, recovered_volume: double, "
        "difference: double, venue: text"
    ),
    "recovered_minute_bars": (
        "provider: text, symbol: text, session_date: text, minute_start_ns: bigint, open: double, high: double, "
        "low: double, close: double, volume: double, gap_id: text, receive_time_ns: bigint?, venue: text, "
        "session: text?"
    ),
    "sampling_changes": "provider: text, changed_ns: bigint, rate_hz: double?, reason: text",
    "sector_assignments": (
        "region: text, exchange: text, symbol: text, assigned_ns: bigint, sector: text?, source: text, "
        "confidence: double, said: text, industry: text"
    ),
    "selection_steps": "session_date: text, advanced_ns: bigint, step: text",
    "share_adjustments": (
        "provider: text, symbol: text, session_date: text, known_from: text, base_price: double, previous_close: double"
    ),
    "slot_assignments": (
        "slot: text, symbol: text, assigned_ns: bigint, trigger: text, score: double, reason: text, replaced: text?, "
        "expires_ns: bigint?, venue: text"
    ),
    "slot_extensions": (
        "slot: text, symbol: text, extended_ns: bigint, trigger: text, score: double, expires_ns: bigint?, venue: text"
    ),
    "slot_overflows": (
        "symbol: text, overflowed_ns: bigint, trigger: text, strength: double, score: double, lowest_score: double, "
        "reason: text, measure: double, market_cap: double, slots: bigint"
    ),
    "slot_releases": (
        "slot: text, symbol: text, released_ns: bigint, score: double, reason: text, replaced_by: text?, venue: text"
    ),
    "snapshots": (
        "provider: text, symbol: text, session_date: text, sweep: bigint, receive_time_ns: bigint, price: double?, "
        "open: double?, high: double?, low: double?, previous_close: double?, upper_limit: double?, "
        "lower_limit: double?, bid: double?, ask: double?, cumulative_volume: double, cumulative_value: double, "
        "venue: text, session: text?"
    ),
    "sweeps": (
        "provider: text, session_date: text, sweep: bigint, started_ns: bigint, completed_ns: bigint, "
        "requested: bigint, received: bigint, requests: bigint"
    ),
    "tape_pages": (
        "provider: text, symbol: text, session_date: text, fetched_ns: bigint, asked_ns: bigint, trades: bigint, "
        "stored: bigint, volume: double, after_volume: double, upto_volume: double, from_ns: bigint, to_ns: bigint, "
        "unreachable: text, venue: text"
    ),
    "tape_progress": (
        "provider: text, session_date: text, progressed_ns: bigint, lines: bigint, complete_lines: bigint, "
        "calls: bigint, trades: bigint, day_volume: double, held_volume: double, unreachable_volume: double, "
        "unreachable_seconds: bigint, unknown_spans: bigint, seconds_left: double?, is_done: bool"
    ),
    "tape_reports": (
        "provider: text, symbol: text, session_date: text, judged_ns: bigint, quality: text, day_volume: double, "
        "held_volume: double, fetched_trades: bigint, unreachable: text, unknown: text, venue: text"
    ),
    "token_renewals": (
        "provider: text, account: text, renewed_ns: bigint, expires_ns: bigint?, cause: text, succeeded: bool, "
        "error: text"
    ),
    "trigger_ends": "symbol: text, kind: text, fired_ns: bigint, held_until_ns: bigint, ended_ns: bigint",
    "triggers": (
        "symbol: text, kind: text, fired_ns: bigint, expires_ns: bigint?, measure: double, threshold: double, "
        "reference: double, strength: double, score: double, severity: text, basis: text"
    ),
    "universe_members": (
        "provider: text, market: text, session_date: text, rank: bigint, symbol: text, name: text, exchange: text, "
        "market_cap: double, previous_close: double, average_volume_20d: double?, average_true_range_14d: double?, "
        "close_is_base: bool, average_volume_days: bigint?, average_true_range_days: bigint?, "
        "days_from_sweeps: bigint?, venue: text, average_sessions: text"
    ),
    "universes": (
        "provider: text, market: text, session_date: text, previous_session_date: text, built_ns: bigint, "
        "symbols: bigint, considered: bigint, minimum_close: double"
    ),
    "venue_eligibility": (
        "provider: text, session_date: text, symbol: text, venue: text, trades: bool, observed_ns: bigint"
    ),
    "volume_profiles": (
        "session_date: text, symbol: text, profiled_ns: bigint, symbols: bigint, sessions: bigint, "
        "first_session: text, points: text, means: text, venue: text"
    ),
    "volume_rises": (
        "provider: text, symbol: text, session_date: text, since_ns: bigint, receive_time_ns: bigint, "
        "since_volume: double, cumulative_volume: double, usual_volume: double, price: double, high: double?, "
        "low: double?, upper_limit: double?, cumulative_value: double, venue: text"
    ),
    "watch_changes": "provider: text, symbol: text, session_date: text, changed_ns: bigint, change: text",
}
# Tables of the store itself, with the key.
_OWN: Final = {
    "database_epochs (id)": "id: int, epoch: text unique, began_ns: bigint, reason: text",
    "delivery_losses (stream, first_sequence)": (
        "stream: int, first_sequence: bigint, last_sequence: bigint, reason: text, noted_ns: bigint"
    ),
    "etfs (symbol)": (
        "symbol: text, name: text, group: text, isin: text?, full_name: text?, english_name: text?, issuer: text?, "
        "index_name: text?, index_provider: text?, region: text?, asset_class: text?, replication: text?, "
        "tax_type: text?, leverage: double?, expense_ratio_percent: double?, listed_shares: double?, "
        "creation_unit_shares: double?, listed_on: text?, sources: text, active: bool, first_seen_ns: bigint, "
        "first_seen_as: text, listed_ns: bigint, valued_ns: bigint?, price: double?, nav: double?, "
        "premium_percent: double?, aum: double?, net_assets: double?, stated_tracking_error_percent: double?, "
        "component_count: bigint?, measured_ns: bigint?, nav_days: bigint?, premium_20d_percent: double?, "
        "premium_60d_percent: double?, premium_120d_percent: double?, premium_250d_percent: double?, "
        "tracking_error_20d_percent: double?, tracking_error_60d_percent: double?, "
        "tracking_error_120d_percent: double?, tracking_error_250d_percent: double?, found_ns: bigint?, "
        "highest_close_52w: double?, lowest_close_52w: double?"
    ),
    "listings (exchange, symbol)": (
        "exchange: text, symbol: text, name: text, isin: text, group: text, base_price: double?, market_cap: double?, "
        "listed_shares: double?, listed_on: text?, suspended: bool, administrative: bool, preferred: bool, spac: bool, "
        "english_name: text, currency: text, sector_code: text, security_type: text, realtime_symbol: text, "
        "etp_kind: text, first_seen_ns: bigint, first_seen_as: text, changed_ns: bigint, valued_ns: bigint, "
        "active: bool"
    ),
    "owner (id)": (
        "id: int, name: text, market: text, providers: text, created_ns: bigint, database_id: text, host: text?, "
        "machine: text?, pid: int?, pid_started: bigint?, runtime: text?, place: text?, started_ns: bigint?, "
        "heartbeat_ns: bigint?"
    ),
    "streams (id)": "id: int, uid: text unique, producer: text, high_water_mark: bigint, duplicates: bigint",
    "trade_groups (id)": (
        "id: int, stream: int, part: bigint, provider: text, symbol: text, session_date: text, side: text, "
        "gap_id: text?, side_inferred: bool, session: text?, venue: text"
    ),
    "trade_rows (stream, sequence)": (
        "group_id: int, stream: int, sequence: bigint, exchange_time_ns: bigint, receive_time_ns: bigint, "
        "price: double, volume: double, cumulative_volume: double, cumulative_trades: bigint?, bid: double?, "
        "ask: double?"
    ),
}
_INDEXES: Final = (
    "alert_repetitions: source, identity, repeated_ns",
    "alert_resolutions: source, identity, resolved_ns",
    "alerts: job, raised_ns",
    "alerts: source, identity, raised_ns",
    "bar_checks: session_date, symbol",
    "bar_fetches: session_date",
    "bar_fetches: symbol, session_date",
    "conflated_trades: symbol, session_date",
    "connections: changed_ns",
    "daily_bars: session_date",
    "daily_bars: symbol, session_date",
    "empty_gaps: gap_id",
    "enrichments: region, completed_ns",
    "etf_jobs: job, ended_ns",
    "etf_lists: session_date",
    "etf_lists: symbol, session_date",
    "etf_measures: symbol, session_date",
    "etf_nav_days: session_date",
    "etf_nav_days: symbol, session_date",
    "etf_ranges: symbol, session_date",
    "etf_values: symbol, session_date",
    "etf_values: valued_ns",
    "expected_prices: symbol, receive_time_ns",
    "fetched_minute_bars: symbol, session_date",
    "gap_losses: gap_id",
    "gap_openings: gap_id",
    "gap_openings: session_date",
    "gap_recoveries: gap_id",
    "gap_times: session_date",
    "gaps: gap_id",
    "gaps: session_date",
    "listing_changes: changed_ns",
    "listing_changes: isin",
    "listing_changes: symbol, exchange",
    "listing_values: exchange, symbol, valued_ns",
    "market_states: symbol, receive_time_ns",
    "master_file_approvals: run",
    "master_file_checks: checked_ns",
    "master_file_checks: exchange, checked_ns",
    "master_file_checks: run",
    "navs: symbol, receive_time_ns",
    "order_books: symbol, receive_time_ns",
    "phases: session_date, current",
    "process_changes: changed_ns",
    "quality: session_date, symbol",
    "quarantined_inputs: quarantined_ns",
    "reconciliations: session_date, symbol",
    "recovered_minute_bars: symbol, minute_start_ns",
    "sector_assignments: exchange, symbol, assigned_ns",
    "selection_steps: session_date",
    "share_adjustments: session_date",
    "slot_assignments: assigned_ns",
    "slot_assignments: symbol, assigned_ns",
    "slot_extensions: extended_ns",
    "slot_overflows: overflowed_ns",
    "slot_releases: released_ns",
    "snapshots: session_date, receive_time_ns",
    "snapshots: symbol, session_date",
    "sweeps: session_date",
    "tape_pages: session_date, symbol",
    "tape_progress: session_date, progressed_ns",
    "tape_reports: session_date, symbol",
    "trade_groups: symbol, session_date",
    "trade_rows: group_id",
    "triggers: fired_ns",
    "triggers: symbol, fired_ns",
    "universe_members: exchange, symbol",
    "universes: session_date, market",
    "venue_eligibility: session_date",
    "volume_profiles: session_date, symbol",
    "volume_rises: session_date, receive_time_ns",
    "volume_rises: symbol, receive_time_ns",
    "watch_changes: session_date",
)


def upgrade() -> None:
    for name, columns in _EVENTS.items():
        _make(name, "stream, sequence", f"{_POSITION}, {columns}")
    for stated, columns in _OWN.items():
        name, _, key = stated.rstrip(")").partition(" (")
        _make(name, key, columns)
    for index in _INDEXES:
        table, _, columns = index.partition(": ")
        op.create_index(f"ix_{table}_{columns.replace(', ', '_')}", table, columns.split(", "))
    make_view(op.get_bind())


def downgrade() -> None:
    raise CommandError("there is no schema before the baseline: restore the backup, or delete the database")


def _make(table: str, key: str, columns: str) -> None:
    stated = dict(column.split(": ") for column in columns.split(", "))
    unique = [name for name, kind in stated.items() if kind.endswith(" unique")]
    op.create_table(
        table,
        *(_column(name, kind.removesuffix(" unique")) for name, kind in stated.items()),
        sa.PrimaryKeyConstraint(*key.split(", "), name=f"pk_{table}"),
        *(sa.UniqueConstraint(name, name=f"uq_{table}_{name}") for name in unique),
        sqlite_with_rowid=key == "id",
    )


def _column(name: str, kind: str) -> sa.Column[Any]:
    return sa.Column(name, _TYPES[kind.rstrip("?")], nullable=kind.endswith("?"))
