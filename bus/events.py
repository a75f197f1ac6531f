"""Every fact that travels on the bus, in the past tense: one tagged union and its version. The public contract.

An event is *flat*: its fields are the columns of the table of its kind, in this order. Times are UTC nanoseconds
(`_ns`); days are ISO dates of the exchange (`session_date`, "2026-11-18"); prices and volumes are doubles, exact for
every price of up to 15 significant digits.

To change the schema, append a field with a default to the end of a struct or add a struct to `Event`, raise
`SCHEMA_VERSION`, and add the migration. A reader takes older versions as they are: absent fields get their defaults.
Fields are never removed, renamed or moved.
"""

from typing import Final, Literal, get_args

import msgspec

SCHEMA_VERSION: Final = 8

Side = Literal["buy", "sell", "auction"]
TriggerKind = Literal["volume_surge", "trade_velocity", "volatility_spike", "manual", "market_cap"]
GapReason = Literal["volume_mismatch", "reconnect", "restart", "token_renewal", "moved"]
RecoverySource = Literal["time_and_sales", "minute_bars"]
ListingChange = Literal["new", "removed", "relisted", "changed"]
FundChange = Literal["new", "removed", "relisted", "changed", "same"]
FundJob = Literal["fund_list", "fund_values", "fund_ranges", "fund_measures"]
Severity = Literal["info", "warning", "critical"]
SelectionStep = Literal[
    "began",
    "wishes_kept",
    "opened",
    "taken_over",
    "swept",
    "held",
    "listing",
    "accounts_closed",
    "pinned",
    "unpinned",
    "closed",
]
WatchStep = Literal["resumed", "started", "interrupted", "settled", "stopped"]


class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What all events share: immutable, flat, encoded as an array that starts with the kind."""


# --- the market ----------------------------------------------------------------------------------------------


class Trade(Fact, frozen=True, array_like=True, gc=False, tag="trade"):
    """One execution, streamed or recovered; `gap_id` is set on recovered ones and only there.

    `cumulative_volume` is the day's volume after this trade and so names the trade within its symbol and day;
    `cumulative_trades` is the day's number of trades after it (None where the source has none, as in time-and-sales).
    """

    provider: str
    symbol: str
    session_date: str
    exchange_time_ns: int
    receive_time_ns: int
    price: float
    volume: float
    cumulative_volume: float
    cumulative_trades: int | None
    side: Side
    bid: float | None
    ask: float | None
    gap_id: str | None = None


class OrderBook(Fact, frozen=True, array_like=True, gc=False, tag="order_book"):
    """The ten best quotes of each side with the volume that stands there; prices are None where nobody quotes.

    The stream names no date: `session_date` is that of `receive_time_ns`. The expected price and volume are those of
    the auction under way, None and 0 outside of one.
    """

    provider: str
    symbol: str
    session_date: str
    exchange_time_ns: int
    receive_time_ns: int
    ask_1: float | None
    ask_2: float | None
    ask_3: float | None
    ask_4: float | None
    ask_5: float | None
    ask_6: float | None
    ask_7: float | None
    ask_8: float | None
    ask_9: float | None
    ask_10: float | None
    bid_1: float | None
    bid_2: float | None
    bid_3: float | None
    bid_4: float | None
    bid_5: float | None
    bid_6: float | None
    bid_7: float | None
    bid_8: float | None
    bid_9: float | None
    bid_10: float | None
    ask_volume_1: float
    ask_volume_2: float
    ask_volume_3: float
    ask_volume_4: float
    ask_volume_5: float
    ask_volume_6: float
    ask_volume_7: float
    ask_volume_8: float
    ask_volume_9: float
    ask_volume_10: float
    bid_volume_1: float
    bid_volume_2: float
    bid_volume_3: float
    bid_volume_4: float
    bid_volume_5: float
    bid_volume_6: float
    bid_volume_7: float
    bid_volume_8: float
    bid_volume_9: float
    bid_volume_10: float
    total_ask_volume: float
    total_bid_volume: float
    expected_price: float | None
    expected_volume: float
    cumulative_volume: float


class ExpectedPrice(Fact, frozen=True, array_like=True, gc=False, tag="expected_price"):
    """What an auction under way would trade, and how much, if it ended now."""

    provider: str
    symbol: str
    session_date: str
    exchange_time_ns: int
    receive_time_ns: int
    price: float
    volume: float
    bid: float | None
    ask: float | None


class MarketStateChanged(Fact, frozen=True, array_like=True, gc=False, tag="market_state_changed"):
    """The exchange told a symbol's state: halted or not and why, and its own codes for the rest, as they came."""

    provider: str
    symbol: str
    receive_time_ns: int
    halted: bool
    halt_reason: str
    market_state: str
    expected_market_state: str
    extension: str
    allocation: str
    symbol_state: str
    volatility_interruption: str
    after_hours_interruption: str
    venue: str


class NavObserved(Fact, frozen=True, array_like=True, gc=False, tag="nav_observed"):
    """A fund's indicative net asset value per share, in won."""

    provider: str
    symbol: str
    receive_time_ns: int
    nav: float
    change: float
    open: float | None
    high: float | None
    low: float | None


class Snapshot(Fact, frozen=True, array_like=True, gc=False, tag="snapshot"):
    """The state of one symbol as a sweep of Track A saw it. Prices are None before the first trade of the day."""

    provider: str
    symbol: str
    session_date: str
    sweep: int
    receive_time_ns: int
    price: float
    open: float | None
    high: float | None
    low: float | None
    previous_close: float | None
    upper_limit: float | None
    lower_limit: float | None
    bid: float | None
    ask: float | None
    cumulative_volume: float
    cumulative_value: float


class SweepCompleted(Fact, frozen=True, array_like=True, gc=False, tag="sweep_completed"):
    """One pass over the universe: how many symbols were asked for, how many answered, in which market time."""

    provider: str
    session_date: str
    sweep: int
    started_ns: int
    completed_ns: int
    requested: int
    received: int
    requests: int


class DailyBar(Fact, frozen=True, array_like=True, gc=False, tag="daily_bar"):
    """One symbol's day, as traded."""

    provider: str
    symbol: str
    session_date: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    value: float


class TradesConflated(Fact, frozen=True, array_like=True, gc=False, tag="trades_conflated"):
    """What stands for the trades of a symbol in a span of time when there is no room to keep each: how many there were,
    their volume, and their bar. `cumulative_volume` and `cumulative_trades` are the day's after the last of them.
    """

    provider: str
    symbol: str
    session_date: str
    from_ns: int
    to_ns: int
    receive_time_ns: int
    trades: int
    volume: float
    open: float
    high: float
    low: float
    close: float
    cumulative_volume: float
    cumulative_trades: int | None


class SamplingChanged(Fact, frozen=True, array_like=True, gc=False, tag="sampling_changed"):
    """From now on each symbol's trades are kept one by one (`rate_hz` None), or conflated to so many rows a second."""

    provider: str
    changed_ns: int
    rate_hz: float | None
    reason: str


class MinuteBarRecovered(Fact, frozen=True, array_like=True, gc=False, tag="minute_bar_recovered"):
    """A minute that stands in for the trades of a gap too long to be recovered one by one."""

    provider: str
    symbol: str
    session_date: str
    minute_start_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    gap_id: str


# --- what exists ---------------------------------------------------------------------------------------------


class MasterFileChecked(Fact, frozen=True, array_like=True, gc=False, tag="master_file_checked"):
    """One look at one exchange's master file and what came of it.

    `run` names the look, for its approval where it is held; `relisted` are counted in `changed` too; of so many
    listings only the day's values are other ones (`revalued`). Size and digest are of the file's content, empty where
    none was downloaded. Download and parse are machine seconds.
    """

    provider: str
    exchange: str
    checked_ns: int
    verdict: Literal["unchanged", "updated", "held", "failed"]
    reason: str
    size_bytes: int
    sha256: str
    records: int
    quarantined: int
    new: int
    removed: int
    changed: int
    run: str = ""
    relisted: int = 0
    revalued: int = 0
    download_s: float = 0.0
    parse_s: float = 0.0


class MasterFileApproved(Fact, frozen=True, array_like=True, gc=False, tag="master_file_approved"):
    """A person approved what a held run would change; the changes are stored together with this."""

    provider: str
    exchange: str
    run: str
    approved_ns: int


class ListingChanged(Fact, frozen=True, array_like=True, gc=False, tag="listing_changed"):
    """A listing appeared, vanished, came back or changed; the fields are its state after the change.

    `previous` is a JSON object of what the changed fields were before. `security_type` (index, stock, fund, warrant)
    and `etp_kind` are told abroad, `group` in Korea; what a source does not tell is empty.
    """

    provider: str
    exchange: str
    symbol: str
    change: ListingChange
    changed_ns: int
    name: str
    isin: str
    group: str
    base_price: float | None
    market_cap_krw: float | None
    listed_shares: float | None
    listed_on: str | None
    suspended: bool
    administrative: bool
    preferred: bool
    spac: bool
    changed_fields: str = ""
    english_name: str = ""
    currency: str = "KRW"
    sector_code: str = ""
    security_type: str = ""
    realtime_symbol: str = ""
    etp_kind: str = ""
    previous: str = ""
    run: str = ""


class ListingValued(Fact, frozen=True, array_like=True, gc=False, tag="listing_valued"):
    """The day's values of a listing in its master file are other ones than before; nothing else of it changed."""

    provider: str
    exchange: str
    symbol: str
    valued_ns: int
    base_price: float | None
    market_cap_krw: float | None


class UniverseBuilt(Fact, frozen=True, array_like=True, gc=False, tag="universe_built"):
    """The day's universe was fixed; its members are the `UniverseMember`s of the same session and market."""

    provider: str
    market: str
    session_date: str
    previous_session_date: str
    built_ns: int
    symbols: int
    considered: int
    minimum_close_krw: float


class UniverseMember(Fact, frozen=True, array_like=True, gc=False, tag="universe_member"):
    """One symbol of the day's universe with the history its triggers compare against, in shares of that morning.

    `close_is_base`: no bar of the previous session is known, so `previous_close` is the exchange's base price as a
    master file told it last, which may be a session old.
    """

    provider: str
    market: str
    session_date: str
    rank: int
    symbol: str
    name: str
    exchange: str
    market_cap_krw: float
    previous_close: float
    average_volume_20d: float | None
    average_true_range_14d: float | None
    close_is_base: bool = False


class SharesAdjusted(Fact, frozen=True, array_like=True, gc=False, tag="shares_adjusted"):
    """From this session on a share of the symbol is another than before: the exchange set `base_price` where the
    session before had closed at `previous_close` (a split, a merger of shares, a rights issue). What earlier sessions
    tell is as traded, and is brought to the new shares with these two.

    `known_from` is the first session whose universe was built with it: whoever decided with an older one did not know.
    """

    provider: str
    symbol: str
    session_date: str
    known_from: str
    base_price: float
    previous_close: float


# --- funds ---------------------------------------------------------------------------------------------------


class FundListed(Fact, frozen=True, array_like=True, gc=False, tag="fund_listed"):
    """One exchange-traded fund of a day's list, and how it differs from the list before; one that left is told once.

    None is "no source tells". `leverage` is the multiple of the index's return that is aimed at (2, 1, -1 ...), rates
    are percent a year, texts are the sources' own. `sources` says where each field is from: "name=kis_master,...".
    """

    session_date: str
    listed_ns: int
    symbol: str
    change: FundChange
    name: str
    group: str
    isin: str | None
    full_name: str | None
    english_name: str | None
    issuer: str | None
    index_name: str | None
    index_provider: str | None
    region: str | None
    asset_class: str | None
    replication: str | None
    tax_type: str | None
    leverage: float | None
    expense_ratio_percent: float | None
    listed_shares: float | None
    creation_unit_shares: float | None
    listed_on: str | None
    changed_fields: str
    sources: str


class FundValued(Fact, frozen=True, array_like=True, gc=False, tag="fund_valued"):
    """What a fund is worth: `aum_krw` is price times listed shares, `net_assets_krw` what the broker states.

    `premium_percent` is how far the price is from the net asset value (괴리율), `stated_tracking_error_percent` what
    the broker states as 추적오차율.
    """

    provider: str
    symbol: str
    session_date: str
    valued_ns: int
    price: float
    nav: float | None
    premium_percent: float | None
    listed_shares: float | None
    aum_krw: float | None
    net_assets_krw: float | None
    stated_tracking_error_percent: float | None
    component_count: int | None


class FundNavDay(Fact, frozen=True, array_like=True, gc=False, tag="fund_nav_day"):
    """A fund's close and net asset value per share on one day, and its index's close where the source has it."""

    provider: str
    symbol: str
    session_date: str
    received_ns: int
    close: float
    nav: float | None
    premium_percent: float | None
    volume: float
    index_close: float | None


class FundMeasured(Fact, frozen=True, array_like=True, gc=False, tag="fund_measured"):
    """Over a fund's last 20, 60, 120 and 250 sessions: its mean premium (괴리율), and its tracking error (추적오차),
    the deviation a year of its NAV's returns from what they aim at. None where fewer are known, or no index.
    """

    symbol: str
    session_date: str
    measured_ns: int
    nav_days: int
    premium_20d_percent: float | None
    premium_60d_percent: float | None
    premium_120d_percent: float | None
    premium_250d_percent: float | None
    tracking_error_20d_percent: float | None
    tracking_error_60d_percent: float | None
    tracking_error_120d_percent: float | None
    tracking_error_250d_percent: float | None


class FundRangeFound(Fact, frozen=True, array_like=True, gc=False, tag="fund_range_found"):
    """A fund's highest and lowest close of the 52 weeks up to a day, out of so many closes that are stored."""

    symbol: str
    session_date: str
    found_ns: int
    closes: int
    highest_close_52w: float
    lowest_close_52w: float


class FundJobEnded(Fact, frozen=True, array_like=True, gc=False, tag="fund_job_ended"):
    """A job about funds was done: for how many it asked, how many got an answer, and from where."""

    job: FundJob
    session_date: str
    started_ns: int
    ended_ns: int
    source: str
    asked: int
    answered: int
    failed: int
    detail: str


# --- what matters now ----------------------------------------------------------------------------------------


class ContextSynced(Fact, frozen=True, array_like=True, gc=False, tag="context_synced"):
    """Track B took over what Track A saw before it started; degraded when there was nothing to take.

    The thresholds are the averages times 1.5 (requirement 004, Baseline metrics).
    """

    session_date: str
    synced_ns: int
    symbols: int
    snapshots: int
    average_volume: float
    average_volatility: float
    degraded: bool
    volume_threshold: float | None = None
    volatility_threshold: float | None = None


class TriggerFired(Fact, frozen=True, array_like=True, gc=False, tag="trigger_fired"):
    """A condition held for a symbol: `measure` was at least `threshold`, against `reference`.

    `severity` names the highest level that was reached (mild, moderate, severe) where the kind has levels, `basis` what
    the reference is where there are several (the average day, or the average until this time of day).
    """

    symbol: str
    kind: TriggerKind
    fired_ns: int
    expires_ns: int | None
    measure: float
    threshold: float
    reference: float
    strength: float
    score: float
    severity: str = ""
    basis: str = ""


class SlotAssigned(Fact, frozen=True, array_like=True, gc=False, tag="slot_assigned"):
    """A symbol got a place; `replaced` is the symbol that had to leave it, None for a free place."""

    slot: str
    symbol: str
    assigned_ns: int
    trigger: TriggerKind
    score: float
    reason: str
    replaced: str | None


class SlotReleased(Fact, frozen=True, array_like=True, gc=False, tag="slot_released"):
    """A symbol lost its place."""

    slot: str
    symbol: str
    released_ns: int
    score: float
    reason: str


class SlotOverflowed(Fact, frozen=True, array_like=True, gc=False, tag="slot_overflowed"):
    """A triggered symbol got no place. `lowest_score` is the lowest of those who could be replaced, 0 for none;
    `places` is how many there are in all (0: not told).
    """

    symbol: str
    overflowed_ns: int
    trigger: TriggerKind
    strength: float
    score: float
    lowest_score: float
    reason: str
    measure: float = 0.0
    market_cap_krw: float = 0.0
    places: int = 0


class ChurnGuardChanged(Fact, frozen=True, array_like=True, gc=False, tag="churn_guard_changed"):
    """Places began to change hands too often, or do so no more; `threshold` is the factor from now on."""

    changed_ns: int
    engaged: bool
    replacements: int
    threshold: float


class SelectionAdvanced(Fact, frozen=True, array_like=True, gc=False, tag="selection_advanced"):
    """Who has a place was thought over, at this moment and in this place of the stream, whether anything came of it or
    not; what came of it stands in front of this. With these a replay makes the same decisions.

    `snapshots` is how many of Track A were taken in first: those of sweep `sweep`, or all until then ("began").
    `detail` is the universe's session and when it was built ("began"; ", unusual hours" if it is a day of those), when
    the sweep began and ended ("swept"), what became of `symbol` ("listing"), the accounts that cannot stream, with
    commas ("accounts_closed"), why a wish has no place ("pinned"; "refused": it is none), or why the places were
    released ("closed"; "unfinished": nobody saw the end of the stream).
    """

    session_date: str
    advanced_ns: int
    step: SelectionStep
    symbol: str
    sweep: int
    snapshots: int
    detail: str


# --- what we missed ------------------------------------------------------------------------------------------


class GapDetected(Fact, frozen=True, array_like=True, gc=False, tag="gap_detected"):
    """Trades of a slotted symbol are missing: those with a cumulative volume above `after_volume` and below
    `before_volume`, which is the cumulative volume before the first trade seen again. Exactly `missing_volume` shares
    in `missing_trades` trades (None where the counts are unknown).
    """

    gap_id: str
    provider: str
    symbol: str
    session_date: str
    detected_ns: int
    from_ns: int
    to_ns: int
    after_volume: float
    before_volume: float
    missing_volume: float
    missing_trades: int | None
    reason: GapReason


class WatchChanged(Fact, frozen=True, array_like=True, gc=False, tag="watch_changed"):
    """From here on in the stream of events nothing of a symbol may be missing, or that is over, or expected to break.
    Whenever the broker acknowledges a registration it is "started", and "interrupted" when that is lost.

    The volume, count and time are how far the symbol was accounted for: by an earlier process ("resumed"), before it
    was watched ("started"), by the exchange itself ("settled"); None where nothing is known. `reason` is that of the
    next gap ("interrupted"), or "asked": the broker told the volume when the symbol was watched already ("started").
    """

    provider: str
    symbol: str
    session_date: str
    changed_ns: int
    step: WatchStep
    reason: str
    cumulative_volume: float | None
    cumulative_trades: int | None
    exchange_time_ns: int | None


class GapRecovered(Fact, frozen=True, array_like=True, gc=False, tag="gap_recovered"):
    """A gap was filled. `complete` says that what came back adds up to what was missing, to the share."""

    gap_id: str
    symbol: str
    recovered_ns: int
    source: RecoverySource
    rows: int
    volume: float
    complete: bool


class GapUnrecoverable(Fact, frozen=True, array_like=True, gc=False, tag="gap_unrecoverable"):
    """A gap stays open for good, and why."""

    gap_id: str
    symbol: str
    decided_ns: int
    reason: str


class BooksChecked(Fact, frozen=True, array_like=True, gc=False, tag="books_checked"):
    """One unbroken time of a symbol in the stream, and whether its books balance.

    `after_volume` is the exchange's cumulative volume before the first trade of the interval, `before_volume` that
    after the last. `difference` is what of it was neither streamed nor recovered; 0 means balanced to the share.
    """

    provider: str
    symbol: str
    session_date: str
    checked_ns: int
    from_ns: int
    to_ns: int
    after_volume: float
    before_volume: float
    streamed_volume: float
    recovered_volume: float
    difference: float


class QualityJudged(Fact, frozen=True, array_like=True, gc=False, tag="quality_judged"):
    """How complete a symbol's trades of one day are, over the times in which it was to be streamed.

    *complete*: every trade was streamed; *recovered*: what was missing was filled trade by trade; *degraded*: part of
    it is known as minute bars or conflated only, or not at all; *missing*: nothing was streamed though it had a place.
    """

    provider: str
    symbol: str
    session_date: str
    judged_ns: int
    verdict: Literal["complete", "recovered", "degraded", "missing"]
    detail: str
    seconds: float
    streamed_trades: int
    streamed_volume: float
    recovered_volume: float
    conflated_volume: float
    missing_volume: float
    gaps: int
    gaps_open: int


class ConnectionChanged(Fact, frozen=True, array_like=True, gc=False, tag="connection_changed"):
    """A stream connection came up, was lost, was refused, or is suspended: after too many attempts in an hour it is
    tried on a slow beat only, and nothing is streamed from here on to the next "connected".
    """

    provider: str
    account: str
    changed_ns: int
    state: Literal["connected", "lost", "refused", "closed", "suspended"]
    reason: str
    registrations: int


# --- with whose keys, when, and who runs ---------------------------------------------------------------------


class TokenRenewed(Fact, frozen=True, array_like=True, gc=False, tag="token_renewed"):
    """An access token was issued, or could not be: then the old one stays in use. Never carries the token."""

    provider: str
    account: str
    renewed_ns: int
    expires_ns: int | None
    cause: str
    succeeded: bool
    error: str


class AccountChecked(Fact, frozen=True, array_like=True, gc=False, tag="account_checked"):
    """The health of an account: has it a valid token, does a REST call get through, is its stream up (None: nobody
    should stream now, or nobody knows), and how many of its places are taken.
    """

    provider: str
    account: str
    checked_ns: int
    token_valid: bool
    rest_answers: bool
    healthy: bool
    detail: str
    stream_connected: bool | None = None
    slots_held: int = 0


class PhaseChanged(Fact, frozen=True, array_like=True, gc=False, tag="phase_changed"):
    """The day went into another phase (requirement 004, OperationScheduler)."""

    session_date: str
    changed_ns: int
    previous: str
    current: str


class ProcessChanged(Fact, frozen=True, array_like=True, gc=False, tag="process_changed"):
    """A supervised process changed its state."""

    process: str
    changed_ns: int
    previous: str
    current: str
    pid: int | None
    reason: str


class AlertRaised(Fact, frozen=True, array_like=True, gc=False, tag="alert_raised"):
    """Something a person should know."""

    raised_ns: int
    severity: Severity
    source: str
    text: str


class BackupCompleted(Fact, frozen=True, array_like=True, gc=False, tag="backup_completed"):
    """A copy of the database was made and checked."""

    completed_ns: int
    path: str
    size_bytes: int
    sha256: str


class SectorAssigned(Fact, frozen=True, array_like=True, gc=False, tag="sector_assigned"):
    """What is known of a stock's sector now; it takes the place of what was known before.

    `sector` is one of the eleven of GICS by its standard name; None: it was looked up, and nobody knows. `source` said
    it in its own word (`said`), and such a word of that source is right in a share of `confidence`.
    """

    region: str
    exchange: str
    symbol: str
    assigned_ns: int
    sector: str | None
    source: str
    confidence: float
    said: str
    industry: str


class EnrichmentCompleted(Fact, frozen=True, array_like=True, gc=False, tag="enrichment_completed"):
    """One region's stocks were given their sectors, as far as that went.

    Of its `securities` so many were `fresh` and left alone, so many were answered by each source, `unsure` ones among
    them; `unknown` to all; and `unanswered`, because a source failed (`detail`): the next run asks again.
    """

    region: str
    started_ns: int
    completed_ns: int
    securities: int
    fresh: int
    kis_code: int
    finance_database: int
    yahoo_screener: int
    yahoo_profile: int
    unsure: int
    unknown: int
    unanswered: int
    retries: int
    detail: str


class InputQuarantined(Fact, frozen=True, array_like=True, gc=False, tag="input_quarantined"):
    """Something from outside that could not be read, kept as it came."""

    source: str
    quarantined_ns: int
    reason: str
    content: bytes


Event = (
    Trade
    | OrderBook
    | ExpectedPrice
    | MarketStateChanged
    | NavObserved
    | Snapshot
    | SweepCompleted
    | DailyBar
    | TradesConflated
    | SamplingChanged
    | MinuteBarRecovered
    | MasterFileChecked
    | ListingChanged
    | UniverseBuilt
    | UniverseMember
    | ContextSynced
    | TriggerFired
    | SlotAssigned
    | SlotReleased
    | SlotOverflowed
    | ChurnGuardChanged
    | GapDetected
    | GapRecovered
    | GapUnrecoverable
    | BooksChecked
    | QualityJudged
    | ConnectionChanged
    | TokenRenewed
    | AccountChecked
    | PhaseChanged
    | ProcessChanged
    | AlertRaised
    | BackupCompleted
    | SectorAssigned
    | EnrichmentCompleted
    | InputQuarantined
    | FundListed
    | FundValued
    | FundNavDay
    | FundMeasured
    | FundRangeFound
    | FundJobEnded
    | MasterFileApproved
    | ListingValued
    | SelectionAdvanced
    | WatchChanged
    | SharesAdjusted
)

EVENT_TYPES: Final[tuple[type[Fact], ...]] = get_args(Event)


def kind_of(event_type: type[Fact]) -> str:
    """The name under which events of this type travel, and that begins their topic on the feed."""
    return str(event_type.__struct_config__.tag)


class Poison(msgspec.Struct, frozen=True):
    """An event that could not be decoded: its bytes and why. It takes its number in the stream like any other."""

    content: bytes
    reason: str
