"""All events of the bus, in the past tense: one tagged union and its version. The public contract.

One file, although it is long: it is a schema with almost no code, and a reader of one event finds its documents and its
neighbours beside it. Files by subject would need this one to join them again.

An event is *flat*: its fields are the columns of the table of its kind, in this order. Times are UTC nanoseconds
(`_ns`); days are ISO dates of the exchange (`session_date`, "2026-11-18"); prices and volumes are doubles, exact for
every price of up to 15 significant digits.

A `symbol` is the id of a *line*: a stock at one venue. At the main venue of its broker it is the stock's own symbol, at
every other venue the symbol with the venue's name (`observer.base.lines`). So no chain of volumes, gap or report mixes
two venues. `venue` is the name of the line's venue, empty in records before version 5.

A field whose type is a struct, a union of structs (`SelectionAdvanced.step`), a row of structs
(`QualityJudged.intervals`) or a mapping (`EtfListed.sources`) is a *document*: its column is JSON text, with a struct's
tag as `kind` (see `observer.store.rows`).

To change the schema, append a field with a default to the end of a struct or add a struct to `Event`, raise
`SCHEMA_VERSION`, put its digest beside it (`python -m tests.bus.schema`), and add a migration (migrations/versions). A
reader takes older versions as they are: absent fields get their defaults. Fields are never removed, renamed or moved.
"""

from typing import Any, Final, Literal, dataclass_transform, get_args, get_origin

import msgspec

from bus.decoding import tag_of

SCHEMA_VERSION: Final = 9
"""Of the events: each change of them has the next number."""

SCHEMA_DIGEST: Final = "25b63b2ea13e59f4c4fa6be4b09831cd40767ea49f3b85edbf6dec6b9c78eb22"
"""Of all events' kinds, fields, types and defaults (tests/bus/schema.py): no change of them goes unnoticed."""

Side = Literal["buy", "sell", "auction", "unknown"]
"""The aggressor of a trade; `unknown` where the broker states none, or one that it does not document."""

MarketSession = Literal["pre", "regular", "after", "closed"]
"""The session that a record itself states."""

Auction = Literal["opening", "closing", "single_price", "intraday"]
"""The auction that an expected price is of; *intraday*: one that ends a stop of the symbol or of the market."""

MarketNotice = Literal[
    "before_hours", "before_hours_ended", "opening_auction", "open", "closing_auction", "closed",
    "closing_price", "closing_price_traded", "closing_price_ended",
    "halted", "breaker", "breaker_to_close", "breaker_ended",
    "sell_sidecar", "sell_sidecar_ended", "buy_sidecar", "buy_sidecar_ended",
]  # fmt: skip
"""What the exchange says of a market as a whole. *halted*, *breaker*: no trade until further notice;
*breaker_to_close*: none until tomorrow. A sidecar delays orders of programs and stops no trading.
"""

TriggerKind = str
"""A kind of trigger: those of `observer.selection.triggers.TRIGGERS`; for slots also "manual" for pins, "context" for
the opening's movers, and "market_cap" for filling free slots.
"""

GapReason = Literal["volume_mismatch", "reconnect", "restart", "token_renewal", "moved"]
GapMeasure = Literal["detection", "closing", "recovery"]
RecoverySource = Literal["time_and_sales", "minute_bars"]
TapeQuality = Literal["complete", "seconds", "spans", "minute_bars", "snapshots"]
TAPE: Final = "tape"
"""Stands in `gap_id` of the trades that the tape fetched: they fill no gap of the stream."""
ListingChange = Literal["initial", "new", "removed", "relisted", "changed"]
"""*initial*: in the first file of its exchange, when nothing says since when it is listed."""
EtfChange = Literal["initial", "new", "removed", "relisted", "changed", "same"]
"""*initial*: in the first list of all."""
BarSource = Literal["broker", "sweep"]
FetchedBars = Literal["daily", "minutes"]
FetchOutcome = Literal["equal", "differs", "unproved", "nothing"]
MinuteDiffers = Literal["prices", "volume", "without_trades", "without_bar"]
EtfJob = Literal["etf_list", "etf_values", "etf_ranges", "etf_measures"]
Severity = Literal["info", "warning", "critical"]
DropReason = Literal["delisted", "halted", "upper_limit", "venue_closed"]
AssignReason = Literal["free_slot", "outranks", "pinned", "kept", "moved", "moved_home"]
"""Why a slot was assigned; "kept" only before version 3, which has `SlotExtended` instead."""

CloseReason = Literal["closed", "unfinished"]
ReleaseReason = Literal[
    "expired", "replaced", "unpinned", "moved", "moved_home", "account_removed", "delisted", "halted", "upper_limit",
    "closed", "unfinished", "venue_closed",
]  # fmt: skip
OverflowReason = Literal["all_slots_hold_higher_scores", "not_above_threshold", "all_slots_pinned", "delisted"]
PinWait = Literal["delisted", "halted", "upper_limit", "all_slots_pinned", "not_in_universe", "venue_closed"]
AllocationStrategy = Literal["round_robin", "priority"]


@dataclass_transform(frozen_default=True)
class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=tag_of):
    """Base of all events: immutable, flat, encoded as an array that starts with the kind."""


# --- the market ----------------------------------------------------------------------------------------------


class Trade(Fact):
    """One execution, streamed or recovered; `gap_id` is set on recovered ones and only there.

    `cumulative_volume` is the day's volume after this trade and so names the trade within its symbol and day. It is
    also the order of a symbol's trades: exchange times may be whole seconds, with many trades in one.
    `cumulative_trades` is the day's number of trades after it (None where the source has none, as in time-and-sales).

    `receive_time_ns` is the arrival of this record: a recovered trade arrives long after its `exchange_time_ns`.
    `side_inferred`: the source has no side, so it follows from the quotes and the prices before, or is *unknown*.
    `session` is None where the record states none: then it is that of `exchange_time_ns`.
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
    side_inferred: bool = False
    session: MarketSession | None = None
    venue: str = ""


class OrderBook(Fact):
    """The ten best quotes of each side with their volumes; a price is None where no quote stands.

    The stream carries no date: `session_date` is that of `receive_time_ns`. The expected price and volume are those of
    the running auction, None and 0 outside an auction. `session` as in `Trade`.
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
    session: MarketSession | None = None
    venue: str = ""


class ExpectedPrice(Fact):
    """Price and volume that the running auction would trade if it ended now."""

    provider: str
    symbol: str
    session_date: str
    exchange_time_ns: int
    receive_time_ns: int
    price: float
    volume: float
    bid: float | None
    ask: float | None
    venue: str = ""
    session: MarketSession | None = None
    auction: Auction | None = None


class MarketStateChanged(Fact):
    """The exchange reported a symbol's state: halted or not and why, its own codes for the rest, as they came, and the
    name of the venue. `market_notice` is what `market_state` says of the symbol's market; None: nothing that is known.
    """

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
    market_notice: MarketNotice | None = None


class NavObserved(Fact):
    """An ETF's indicative net asset value per share, in its currency."""

    provider: str
    symbol: str
    receive_time_ns: int
    nav: float
    change: float
    open: float | None
    high: float | None
    low: float | None


class Snapshot(Fact):
    """The state of one symbol as a sweep of Track A saw it. `price` and the day's range are None before the first trade
    of the day: the broker's price is the previous close then.
    """

    provider: str
    symbol: str
    session_date: str
    sweep: int
    receive_time_ns: int
    price: float | None
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
    venue: str = ""
    session: MarketSession | None = None


class SweepCompleted(Fact):
    """One pass over the universe: how many symbols were asked for, how many answered, in which market time."""

    provider: str
    session_date: str
    sweep: int
    started_ns: int
    completed_ns: int
    requested: int
    received: int
    requests: int


class VolumeRise(Fact):
    """Between two requests of Track A a symbol without a slot traded so much more than usual that a volume surge begins
    or lasts: the cumulative volumes at both moments (UTC ns), and the usual volume between them. The other fields are
    those of a snapshot at the second moment.
    """

    provider: str
    symbol: str
    session_date: str
    since_ns: int
    receive_time_ns: int
    since_volume: float
    cumulative_volume: float
    usual_volume: float
    price: float
    high: float | None
    low: float | None
    upper_limit: float | None
    cumulative_value: float
    venue: str = ""


class AttentionCompleted(Fact):
    """What Track A asked between the sweep of this number and the next one: how many symbols it requested in so many
    requests, how many answered, and how many volume rises it published.
    """

    provider: str
    session_date: str
    sweep: int
    started_ns: int
    completed_ns: int
    requested: int
    received: int
    requests: int
    rises: int


class DailyBar(Fact):
    """One symbol's day, as traded. On a day without a trade `open`, `high` and `low` are None, and `close` is the
    exchange's: the close before, or the base price. `source`: the broker's bar, or the last snapshot of the day's own
    sweeps. `sessions` are the venue's sessions of that day that the volume holds, in their order with a plus between
    them: "regular", "regular+after", "pre+regular+after"; empty where it is not known.
    """

    provider: str
    symbol: str
    session_date: str
    open: float | None
    high: float | None
    low: float | None
    close: float
    volume: float
    value: float
    source: BarSource = "broker"
    venue: str = ""
    sessions: str = ""


class TradesConflated(Fact):
    """Two or more trades of one symbol in a time span, conflated to a bar when there is no room to keep each: their
    number, volume and OHLC. `cumulative_volume` and `cumulative_trades` are the day's values after the last of them.
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
    venue: str = ""
    session: MarketSession | None = None


class SamplingChanged(Fact):
    """From this event on, the trades of each symbol are stored one by one (`rate_hz` None), or conflated to `rate_hz`
    rows a second. Every process of Track B begins with this event.
    """

    provider: str
    changed_ns: int
    rate_hz: float | None
    reason: str


class MinuteBarRecovered(Fact):
    """A minute bar that replaces the trades of a gap too long for recovery trade by trade. `receive_time_ns` is its
    arrival (None before version 4).
    """

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
    receive_time_ns: int | None = None
    venue: str = ""
    session: MarketSession | None = None


# --- what exists ---------------------------------------------------------------------------------------------


class MasterFileChecked(Fact):
    """One check of one exchange's master file, with its result.

    `run` identifies the check, for its approval if one is pending. The listings of an exchange's first file are
    `initial`, not `new`. `relisted` listings are counted in `changed` too; in `revalued` listings only the day's values
    changed. Size and digest are of the file's content, empty without a
    download. Download and parse times are machine seconds.
    """

    provider: str
    exchange: str
    checked_ns: int
    outcome: Literal["unchanged", "updated", "pending", "failed"]
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
    initial: int = 0


class MasterFileApproved(Fact):
    """A person approved the changes of a pending run; they are stored in the same transaction as this event."""

    provider: str
    exchange: str
    run: str
    approved_ns: int


class ListingChanged(Fact):
    """A listing appeared, vanished, came back or changed; the fields are its state after the change.

    `previous` is a JSON object with the changed fields' earlier values. Overseas master files give `security_type`
    (index, stock, fund, warrant) and `etp_kind`, Korean ones `group`; a field that the source lacks is empty.
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
    market_cap: float | None
    listed_shares: float | None
    listed_on: str | None
    suspended: bool
    administrative: bool
    preferred: bool
    spac: bool
    changed_fields: str = ""
    english_name: str = ""
    currency: str = ""
    sector_code: str = ""
    security_type: str = ""
    realtime_symbol: str = ""
    etp_kind: str = ""
    previous: str = ""
    run: str = ""


class ListingValued(Fact):
    """Only the day's values of a listing changed in its master file."""

    provider: str
    exchange: str
    symbol: str
    valued_ns: int
    base_price: float | None
    market_cap: float | None


class UniverseBuilt(Fact):
    """The day's universe was fixed; its members are the `UniverseMember`s of the same session and market."""

    provider: str
    market: str
    session_date: str
    previous_session_date: str
    built_ns: int
    symbols: int
    considered: int
    minimum_close: float


class UniverseMember(Fact):
    """One symbol of the day's universe with the history its triggers compare against, in shares of that morning.

    `close_is_base`: no bar of the previous session is known, so `previous_close` is the exchange's base price from the
    latest master file, which may be one session old.

    The averages are of as many sessions as were known, up to 20 and 14: `average_volume_days` bars,
    `average_true_range_days` ranges. `days_from_sweeps` of those bars are from this system's own sweeps, the others are
    the broker's. None before version 4. `average_sessions` are the sessions that the volumes of those bars hold, as
    `DailyBar.sessions`.
    """

    provider: str
    market: str
    session_date: str
    rank: int
    symbol: str
    name: str
    exchange: str
    market_cap: float
    previous_close: float
    average_volume_20d: float | None
    average_true_range_14d: float | None
    close_is_base: bool = False
    average_volume_days: int | None = None
    average_true_range_days: int | None = None
    days_from_sweeps: int | None = None
    venue: str = ""
    average_sessions: str = ""


class VenueEligibility(Fact):
    """Whether a stock trades at a venue on a day, as the broker stated at `observed_ns`. `symbol` is the stock's own,
    not a line's id.
    """

    provider: str
    session_date: str
    symbol: str
    venue: str
    trades: bool
    observed_ns: int


class SharesAdjusted(Fact):
    """The exchange redefined a symbol's share from this session on (a split, a merger of shares, a rights issue): it
    set `base_price` where the previous session closed at `previous_close`. Values of earlier sessions are stored as
    traded; the ratio of the two prices converts them to the new shares.

    `known_from` is the first session whose universe includes the adjustment. Decisions with an older universe do not
    know it.
    """

    provider: str
    symbol: str
    session_date: str
    known_from: str
    base_price: float
    previous_close: float


# --- ETFs ---------------------------------------------------------------------------------------------------


class EtfListed(Fact):
    """One ETF of a day's list, and how it differs from the list before; one that left is reported once.

    None: no source gives the value. `leverage` is the targeted multiple of the index's return (2, 1, -1 ...), rates are
    percent a year, texts are the sources' own. `sources` gives the source of each field that has a value.
    """

    session_date: str
    listed_ns: int
    symbol: str
    change: EtfChange
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
    sources: dict[str, str]


class EtfValued(Fact):
    """An ETF's value: `price` is None on a day without a trade, `aum` is the last price, of whichever day, times listed
    shares, `net_assets` the broker's figure. Figures are as precise as the source's (a NAV has two decimals).

    `premium_percent` is the deviation of price from net asset value (괴리율), `stated_tracking_error_percent` is the
    broker's 추적오차율.
    """

    provider: str
    symbol: str
    session_date: str
    valued_ns: int
    price: float | None
    nav: float | None
    premium_percent: float | None
    listed_shares: float | None
    aum: float | None
    net_assets: float | None
    stated_tracking_error_percent: float | None
    component_count: int | None


class EtfNavDay(Fact):
    """An ETF's close and net asset value per share on one day, and its index's close where the source has it. On a day
    without a trade (`volume` 0) the close is that of an earlier day.
    """

    provider: str
    symbol: str
    session_date: str
    received_ns: int
    close: float
    nav: float | None
    premium_percent: float | None
    volume: float
    index_close: float | None


class EtfMeasured(Fact):
    """An ETF's mean premium (괴리율) and tracking error (추적오차) over its last 20, 60, 120 and 250 sessions.

    The tracking error is the annualised deviation of the NAV's returns from their target. None with fewer sessions, or
    without an index.
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


class EtfRangeFound(Fact):
    """An ETF's highest and lowest close of the 52 weeks up to a day, and the number of stored closes they are from."""

    symbol: str
    session_date: str
    found_ns: int
    closes: int
    highest_close_52w: float
    lowest_close_52w: float


class EtfJobEnded(Fact):
    """An ETF job ended: the number of ETFs requested and answered, and the source."""

    job: EtfJob
    session_date: str
    started_ns: int
    ended_ns: int
    source: str
    asked: int
    answered: int
    failed: int
    detail: str


# --- what matters now ----------------------------------------------------------------------------------------


class ContextSynced(Fact):
    """Track B loaded Track A's snapshots from before its start; degraded when there were none.

    The thresholds are the averages times 1.5.
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


class TriggerFired(Fact):
    """A trigger condition began to hold for a symbol: `measure` was at least `threshold`, relative to `reference`.

    `severity` is the highest level reached (mild, moderate, severe) for kinds with levels. `basis` names the reference
    for kinds with several (the average day, the average until this time of day, the latest minutes). `expires_ns` is
    the end without a renewal; `TriggerEnded` has the end.
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


class TriggerEnded(Fact):
    """A trigger condition that fired at `fired_ns` held until `held_until_ns`, as far as that was seen, and its life
    ended at `ended_ns`.
    """

    symbol: str
    kind: TriggerKind
    fired_ns: int
    held_until_ns: int
    ended_ns: int


class SlotAssigned(Fact):
    """A symbol got a slot. `replaced` is the symbol that lost the slot, None for a free slot. `expires_ns` is the end
    without an extension, None without an end.
    """

    slot: str
    symbol: str
    assigned_ns: int
    trigger: TriggerKind
    score: float
    reason: AssignReason
    replaced: str | None
    expires_ns: int | None = None
    venue: str = ""


class SlotExtended(Fact):
    """A symbol keeps its slot until `expires_ns` (None without end), by the trigger that holds now, with its score."""

    slot: str
    symbol: str
    extended_ns: int
    trigger: TriggerKind
    score: float
    expires_ns: int | None
    venue: str = ""


class SlotReleased(Fact):
    """A symbol lost its slot. `replaced_by` is the symbol that took the slot, None without a replacement."""

    slot: str
    symbol: str
    released_ns: int
    score: float
    reason: ReleaseReason
    replaced_by: str | None = None
    venue: str = ""


class SlotOverflowed(Fact):
    """A triggered symbol got no slot. `lowest_score` is the lowest score among replaceable symbols, 0 for none; `slots`
    is the number of all slots (0: not reported).
    """

    symbol: str
    overflowed_ns: int
    trigger: TriggerKind
    strength: float
    score: float
    lowest_score: float
    reason: OverflowReason
    measure: float = 0.0
    market_cap: float = 0.0
    slots: int = 0


class ChurnGuardChanged(Fact):
    """The churn guard engaged or disengaged; `threshold` is the replacement factor from now on."""

    changed_ns: int
    engaged: bool
    replacements: int
    threshold: float


@dataclass_transform(frozen_default=True)
class Document(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag=tag_of):
    """Part of an event, stored as one JSON text."""


class AccountSlots(Document, tag=False):
    """Number of symbols that an account can stream."""

    account: str
    slots: int


class DayBegan(Document, tag="began"):
    """A process begins the day: the inputs of its decisions, apart from the events that follow.

    `universe` is the session of its universe ("" for none), `built_ns` the time when that was built, and `snapshots`
    the number of the day's snapshots loaded first; `history_ns` is the time of a later build whose closes and averages
    count instead (`HistoryApplied`), None without one. `settings` are the selection's, in the form of their file;
    `accounts` are in the order of use. `settings_digest` covers settings, accounts, strategy and interval
    (`observer.selection.settings.DaySettings`). `rules` is the version of the decisions themselves.
    """

    universe: str
    built_ns: int | None
    has_usual_hours: bool
    knows_earlier_days: bool
    snapshots: int
    settings_digest: str
    settings: dict[str, Any]
    accounts: tuple[AccountSlots, ...]
    allocation_strategy: AllocationStrategy
    sweep_interval_s: float
    rules: int = 1
    history_ns: int | None = None


class KeptPin(Document, tag=False):
    """A pin of an earlier day. The reason says why the pinned symbol has no slot, None if it has a slot; the end is
    None for a pin without an end.
    """

    symbol: str
    waits_for: PinWait | None
    until_ns: int | None = None


class PinsKept(Document):
    """Pins of earlier days that remain valid, in the order of their requests."""

    pins: tuple[KeptPin, ...]


class SlotsOpened(Document, tag="opened"):
    """The first slots of the day go to the opening's movers."""


class SlotsResumed(Document, tag="resumed"):
    """A process continues with the slots of an earlier process of this day."""


class UniverseEvaluated(Document):
    """All symbols are evaluated after a sweep, with `snapshots` snapshots of it, received in [started, completed]."""

    sweep: int
    started_ns: int
    completed_ns: int
    snapshots: int


class RiseApplied(Document, tag="rise"):
    """A symbol is evaluated with a volume rise of Track A (`VolumeRise`)."""

    symbol: str
    since_ns: int
    since_volume: float
    received_ns: int
    cumulative_volume: float
    high: float | None
    low: float | None
    at_upper_limit: bool


class SlotsEvaluated(Document):
    """The symbols with slots are evaluated."""


class ListingApplied(Document, tag="listing"):
    """A master file's current data of a symbol in the universe."""

    symbol: str
    delisted: bool
    suspended: bool


class HistoryApplied(Document, tag="history"):
    """From now on the closes and averages of the day's build of this time count, which came after the one in force."""

    built_ns: int


class AccountsClosed(Document):
    """From now on exactly these accounts cannot stream."""

    accounts: tuple[str, ...]


class Pinned(Document):
    """A symbol is pinned. `waits_for` is the reason why the symbol has no slot yet, None if it has a slot. `until_ns`
    is the end of the pin, None without an end.
    """

    symbol: str
    waits_for: PinWait | None = None
    until_ns: int | None = None


class PinRefused(Document):
    """A pin request was refused; the symbol is not pinned."""

    symbol: str


class Unpinned(Document):
    """A symbol is unpinned."""

    symbol: str


class SlotsClosed(Document, tag="closed"):
    """All slots are released: the day is over ("unfinished": no process was running at its end)."""

    reason: CloseReason


SelectionStep = (
    DayBegan
    | PinsKept
    | SlotsOpened
    | SlotsResumed
    | UniverseEvaluated
    | SlotsEvaluated
    | RiseApplied
    | ListingApplied
    | HistoryApplied
    | AccountsClosed
    | Pinned
    | PinRefused
    | Unpinned
    | SlotsClosed
)


class SelectionAdvanced(Fact):
    """One step of the selection, with its time and position in the event stream. Its decisions, if any, precede it in
    the stream. A replay of the steps makes the same decisions.
    """

    session_date: str
    advanced_ns: int
    step: SelectionStep


# --- what we missed ------------------------------------------------------------------------------------------


class GapOpened(Fact):
    """The stream of a slotted symbol was cut at `from_ns`: trades after the cumulative volume `after_volume` may be
    missing. `GapDetected` or `GapEmpty` of the same `gap_id` follows when the exchange's volume shows which.
    """

    gap_id: str
    provider: str
    symbol: str
    session_date: str
    opened_ns: int
    from_ns: int
    after_volume: float
    reason: GapReason
    venue: str = ""


class GapEmpty(Fact):
    """Nothing was traded in an opened gap: the exchange's cumulative volume after it, `volume`, is the streamed one."""

    gap_id: str
    provider: str
    symbol: str
    session_date: str
    closed_ns: int
    from_ns: int
    to_ns: int
    volume: float
    venue: str = ""


class GapDetected(Fact):
    """Trades of a slotted symbol are missing: those with a cumulative volume above `after_volume` and below
    `before_volume`, the cumulative volume before the next streamed trade. `missing_volume` is exact in shares,
    `missing_trades` in trades (None where the counts are unknown). From and to are the outage's times where the stream
    was cut, otherwise those of the trades before and after.
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
    venue: str = ""


class Reached(Document, tag=False):
    """A symbol is accounted for up to here: the day's volume, its number of trades if known, and the time."""

    cumulative_volume: float
    cumulative_trades: int | None
    exchange_time_ns: int


class WatchResumed(Document, tag="resumed"):
    """The account of an earlier process is resumed from here. That process streamed until `since_ns`; `gap_id` is the
    gap that it had opened by then, if any.
    """

    reached: Reached
    since_ns: int = 0
    gap_id: str | None = None


class WatchStarted(Document, tag="started"):
    """The broker acknowledged a subscription; `known` is the symbol's volume before it, if known."""

    known: Reached | None = None


class WatchLearned(Document, tag="learned"):
    """The broker returned the day's volume of a symbol that is already watched."""

    known: Reached


class WatchInterrupted(Document, tag="interrupted"):
    """The subscription is lost since `since_ns`; the next gap carries `reason`."""

    reason: GapReason
    since_ns: int = 0


class WatchObserved(Document, tag="observed"):
    """The exchange reported this volume, and the stream has had the time to deliver every trade until then."""

    reached: Reached


class WatchSettled(Document, tag="settled"):
    """The exchange's own volume accounts for the symbol; its watch ends."""

    reached: Reached


class WatchStopped(Document, tag="stopped"):
    """The symbol's watch ends."""


WatchChange = (
    WatchResumed | WatchStarted | WatchLearned | WatchInterrupted | WatchObserved | WatchSettled | WatchStopped
)


class WatchChanged(Fact):
    """A symbol's watch starts, is interrupted or ends at this position of the event stream. While it is watched, no
    trade may be missing.
    """

    provider: str
    symbol: str
    session_date: str
    changed_ns: int
    change: WatchChange


class GapRecovered(Fact):
    """A gap was filled. `complete`: the recovered volume equals the missing volume, to the share. `rows` are stored for
    the gap; what the tape has of it is in the volume alone.
    """

    gap_id: str
    symbol: str
    recovered_ns: int
    source: RecoverySource
    rows: int
    volume: float
    complete: bool
    venue: str = ""


class GapUnrecoverable(Fact):
    """A gap stays open for good, and why."""

    gap_id: str
    symbol: str
    decided_ns: int
    reason: str
    venue: str = ""


class GapTimesMeasured(Fact):
    """How soon the gaps of a day were detected and filled until now, in machine seconds: percentiles of `gaps` gaps, of
    which `met` meet the target. A restart of gap recovery goes on with the day's count.

    *detection*: from the cut (else from the trade that shows the gap) to the committed row; *closing*: from the end of
    the outage (else from the detection) to the outcome; *recovery*: from the first call to the published rows.
    """

    session_date: str
    measured_ns: int
    measure: GapMeasure
    gaps: int
    met: int
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float


class ReconciliationResult(Fact):
    """Reconciliation of one uninterrupted streaming interval of a symbol.

    `after_volume` is the exchange's cumulative volume before the first trade of the interval, `before_volume` that
    after the last. `difference` is the volume neither streamed nor recovered; 0 means balanced to the share.
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
    venue: str = ""


class StreamedTime(Document, tag=False):
    """A time in which the broker streamed a symbol: from the acknowledgement of its subscription to its end."""

    from_ns: int
    to_ns: int


class QualityJudged(Fact):
    """How complete a symbol's trades of one day are, in two words: within its slots, and within the whole day.

    `slots_quality` covers the times in which the symbol had a slot. *complete*: every trade was streamed, or none was
    made; *recovered*: recovery filled every gap trade by trade; *degraded*: some trades are missing, or known only as
    minute bars or conflated rows, or nothing shows what a cut missed; *missing*: the symbol traded and nothing was
    streamed; *unknown*: nothing was streamed, and no source shows whether the symbol traded. `missing_at_most` is the
    upper bound of the shares that were traded in these times and are not stored trade by trade; None if unknown.

    `day_quality` covers the session from the open to the close. *whole*: every trade is stored; *part*: some trades are
    not stored; *unknown*: no source has the volume of the whole day. `volume_share` (0 to 1) is the part of
    `day_volume` that is stored trade by trade. `time_share` is the part of the session in which the broker streamed the
    symbol, that is the sum of `intervals`. Both are None if unknown, or on a day without a trade. `seconds` is the time
    with a slot.
    """

    provider: str
    symbol: str
    session_date: str
    judged_ns: int
    slots_quality: Literal["complete", "recovered", "degraded", "missing", "unknown"]
    detail: str
    seconds: float
    streamed_trades: int
    streamed_volume: float
    recovered_volume: float
    conflated_volume: float
    missing_volume: float
    gaps: int
    gaps_open: int
    day_quality: Literal["whole", "part", "unknown"] = "unknown"
    missing_at_most: float | None = None
    day_volume: float | None = None
    volume_share: float | None = None
    time_share: float | None = None
    intervals: tuple[StreamedTime, ...] = ()
    venue: str = ""


class ConnectionChanged(Fact):
    """A market data stream's connection came up, was lost, was refused, or is suspended. Suspended: after too many
    attempts in an hour only a slow retry goes on, and nothing is streamed until the next "connected".
    """

    provider: str
    account: str
    changed_ns: int
    state: Literal["connected", "lost", "refused", "closed", "suspended"]
    reason: str
    subscriptions: int


# --- with whose keys, when, and who runs ---------------------------------------------------------------------


class TokenRenewed(Fact):
    """An access token was issued, or its issue failed: then the old one stays in use. The event never carries the
    token.
    """

    provider: str
    account: str
    renewed_ns: int
    expires_ns: int | None
    cause: str
    succeeded: bool
    error: str


class AccountChecked(Fact):
    """The health of an account: whether its token is valid, whether a REST call succeeds, whether its market data
    stream is up (None while not streaming, or unknown), and its number of used slots.
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


class PhaseChanged(Fact):
    """The day entered another phase."""

    session_date: str
    changed_ns: int
    previous: str
    current: str


class ProcessChanged(Fact):
    """A supervised process changed its state."""

    process: str
    changed_ns: int
    previous: str
    current: str
    pid: int | None
    reason: str


class AlertRaised(Fact):
    """A condition began that the operator must know, or its severity changed.

    `identity` names the condition within its source ("disk_full", "token:main"). The alert is open until an
    `AlertResolved` of the same source and identity. An alert with `until_ns` reports an event without an end of its
    own: it counts as open until then. `job` names the job whose failure the alert reports.
    """

    raised_ns: int
    severity: Severity
    source: str
    text: str
    job: str | None = None
    identity: str = "unnamed"  # only in records of the first version
    until_ns: int | None = None


class AlertRepeated(Fact):
    """An open alert was reported again, `count` times so far; at most one a minute for each identity."""

    repeated_ns: int
    source: str
    identity: str
    count: int
    text: str


class AlertResolved(Fact):
    """The condition of an open alert ended; `count` is how often it was reported while it lasted."""

    resolved_ns: int
    source: str
    identity: str
    count: int
    text: str


class BackupCompleted(Fact):
    """A copy of the database was made and checked."""

    completed_ns: int
    path: str
    size_bytes: int
    sha256: str


class SectorAssigned(Fact):
    """The sector of a stock; it replaces the earlier assignment.

    `sector` is the standard name of one of the eleven GICS sectors; None: the look-up had no result. `said` is the term
    of the `source`. `confidence` is the share of correct answers among this source's answers with the same term.
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


class EnrichmentCompleted(Fact):
    """The sector look-up of one region's stocks ended.

    Counts of `securities`: `fresh` ones were left alone, each source answered its share, `unsure` answers are included
    in those; `unknown` to every source; `unanswered` because a source failed (`detail`), so that the next run asks
    again.
    """

    region: str
    started_ns: int
    completed_ns: int
    securities: int
    fresh: int
    sector_code: int
    finance_database: int
    yahoo_screener: int
    yahoo_profile: int
    unsure: int
    unknown: int
    unanswered: int
    retries: int
    detail: str


class VolumePoints(Document, tag=False):
    """A symbol's cumulative volume (shares) as the last snapshot in each ten minutes of a session saw it, at so many
    seconds after local midnight. Three rows of one length; `buckets` are the ten minutes, counted from midnight.
    """

    buckets: tuple[int, ...]
    at_s: tuple[float, ...]
    volumes: tuple[float, ...]


class VolumeMeans(Document, tag=False):
    """The means of a symbol's `VolumePoints` over several sessions, in steps of ten minutes. `days` counts the sessions
    that have a value. All four rows have the same length.
    """

    buckets: tuple[int, ...]
    at_s: tuple[float, ...]
    volumes: tuple[float, ...]
    days: tuple[int, ...]


class VolumeProfiled(Fact):
    """A symbol's volume by time of day in one finished session, and the means of the last `sessions` sessions.

    The session's volumes are in the shares of that session; the rows are empty if no sweep covered the symbol. The
    means cover the sessions from `first_session` to this session, each in its own shares. A session is complete with
    `symbols` events of this kind; with fewer it counts as not profiled.
    """

    session_date: str
    symbol: str
    profiled_ns: int
    symbols: int
    sessions: int
    first_session: str
    points: VolumePoints
    means: VolumeMeans
    venue: str = ""


class TapeSpan(Document, tag=False):
    """Trades of a line that are not stored: those with a cumulative volume in (after, up to], and the seconds between
    which they were traded (UTC ns).
    """

    after_volume: float
    upto_volume: float
    from_ns: int
    to_ns: int


class TapePage(Fact):
    """One call of the tape for a line's trades up to the second `asked_ns`. The page's new trades precede it, with
    "tape" in place of a gap's id.

    From this event on the database holds the trades with a cumulative volume in (`after_volume`, `upto_volume`], traded
    between `from_ns` and `to_ns`. `trades` counts the trades of the answer, `stored` the new trades among them,
    `volume` the shares of the new trades. `unreachable` are the spans that the page proves to be unavailable.
    """

    provider: str
    symbol: str
    session_date: str
    fetched_ns: int
    asked_ns: int
    trades: int
    stored: int
    volume: float
    after_volume: float
    upto_volume: float
    from_ns: int
    to_ns: int
    unreachable: tuple[TapeSpan, ...] = ()
    venue: str = ""


class TapeProgressed(Fact):
    """The tape of a day until now: its lines, the calls made and the trades that they brought, and of the lines' volume
    of the day what is stored trade by trade, what is unreachable, and the unknown spans.

    `seconds_left` is an estimate at the configured share of the limit; None before anything is known. `is_done`:
    nothing is left to ask.
    """

    provider: str
    session_date: str
    progressed_ns: int
    lines: int
    complete_lines: int
    calls: int
    trades: int
    day_volume: float
    held_volume: float
    unreachable_volume: float
    unreachable_seconds: int
    unknown_spans: int
    seconds_left: float | None
    is_done: bool


class TapeJudged(Fact):
    """How complete a line's stored trades are on one day, with a slot or without.

    *complete*: every trade is stored, to the share; *seconds*: only trades of the seconds in `unreachable` are missing;
    *spans*: trades in `unknown` are missing too, or the last sweep lacks the line, so that the line's volume of the day
    is not known; *minute_bars*: minute bars alone; *snapshots*: neither trades nor minute bars. `day_volume` is the
    exchange's volume of the day, `held_volume` the part that is stored trade by trade, `fetched_trades` the number of
    trades that the tape fetched.
    """

    provider: str
    symbol: str
    session_date: str
    judged_ns: int
    quality: TapeQuality
    day_volume: float
    held_volume: float
    fetched_trades: int
    unreachable: tuple[TapeSpan, ...]
    unknown: tuple[TapeSpan, ...]
    venue: str = ""


class InputQuarantined(Fact):
    """An external input that could not be read, stored unchanged."""

    source: str
    quarantined_ns: int
    reason: str
    content: bytes


class MinuteBarFetched(Fact):
    """An official minute bar, as a backfill fetched it. `value` is the minute's own. `source`: the call for the bars of
    the session day, or that for past days. Of a minute that was fetched twice the later row counts.
    """

    provider: str
    symbol: str
    session_date: str
    minute_start_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    value: float
    source: Literal["session_day", "past_day"]
    received_ns: int
    venue: str = ""


class BarsFetched(Fact):
    """A span of a symbol's official bars that a backfill fetched whole. The bars precede this event in the stream.

    The span reaches from `first_date` to `session_date`, one day for minute bars. *equal*: the sum of the minute bars
    is the `daily_volume` of the daily bar; *differs*: the sums differ, or rows were `unreadable`; *unproved*: daily
    bars, or minute bars of a day without a daily bar; *nothing*: the broker has no bars of the span. `bars` and
    `volume` describe the broker's bars. `calls` counts the calls for this span; a call that brought several days counts
    for the newest day.
    """

    provider: str
    symbol: str
    session_date: str
    first_date: str
    kind: FetchedBars
    outcome: FetchOutcome
    bars: int
    unreadable: int
    volume: float
    daily_volume: float | None
    calls: int
    received_ns: int
    venue: str = ""


class MinuteDifference(Document, tag=False):
    """A minute whose official bar is not that of the stored trades. A volume is None where a side has no bar."""

    minute_start_ns: int
    differs: MinuteDiffers
    official_volume: float | None
    stored_volume: float | None


class BarsChecked(Fact):
    """The official minute bars of a symbol's day beside bars made of its stored trades.

    `minutes` have an official bar or stored trades. Of them `equal` have one bar in both, `other_volume` two volumes,
    `other_prices` the same volume and other prices; `without_trades` have no stored trade, as while the symbol was not
    streamed, and `without_bar` no official bar. `differences` are the minutes that are not equal, those without trades
    left out.
    """

    provider: str
    symbol: str
    session_date: str
    checked_ns: int
    minutes: int
    equal: int
    other_volume: int
    other_prices: int
    without_trades: int
    without_bar: int
    official_volume: float
    stored_volume: float
    differences: tuple[MinuteDifference, ...]
    venue: str = ""


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
    | TriggerEnded
    | SlotAssigned
    | SlotExtended
    | SlotReleased
    | SlotOverflowed
    | ChurnGuardChanged
    | GapOpened
    | GapEmpty
    | GapDetected
    | GapRecovered
    | GapUnrecoverable
    | GapTimesMeasured
    | ReconciliationResult
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
    | EtfListed
    | EtfValued
    | EtfNavDay
    | EtfMeasured
    | EtfRangeFound
    | EtfJobEnded
    | MasterFileApproved
    | ListingValued
    | SelectionAdvanced
    | WatchChanged
    | SharesAdjusted
    | AlertRepeated
    | AlertResolved
    | VolumeRise
    | AttentionCompleted
    | VenueEligibility
    | VolumeProfiled
    | MinuteBarFetched
    | BarsFetched
    | BarsChecked
    | TapePage
    | TapeProgressed
    | TapeJudged
)

EVENT_TYPES: Final[tuple[type[Fact], ...]] = get_args(Event)


def kind_of(event_type: type[Fact]) -> str:
    """The kind of this event type, which is also the start of its topic on the feed."""
    return str(event_type.__struct_config__.tag)


def is_document(annotation: object) -> bool:
    """Whether a field of this type is a document: a struct, a union of structs, a row of structs, or a mapping."""
    alternatives = get_args(annotation) or (annotation,)
    return get_origin(annotation) is dict or any(
        isinstance(each, type) and issubclass(each, Document) for each in alternatives
    )


class Poison(msgspec.Struct, frozen=True):
    """An event that could not be decoded: its bytes and the error. A poison event keeps its sequence number."""

    content: bytes
    reason: str
