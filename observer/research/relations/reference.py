"""What there is: listings and their changes, checks of master files, ETFs; and the alerts of the system."""

from datetime import date, datetime
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from observer.base.errors import ConfigError, NoDataError
from observer.research.asked import Asked
from observer.research.lazy import pl
from observer.research.relation import Relation

if TYPE_CHECKING:
    from observer.research.days import DayRelations

Kind = Literal["stock", "etf", "etn", "index", "warrant", "other"]
_FOR_EVER_NS: Final = 2**63 - 1


class Listing(msgspec.Struct, frozen=True):
    """The listed instruments at the end of a day, or as they are known now, by exchange and symbol.

    Attributes:
        symbol: of the instrument.
        exchange: that lists it.
        name: in the exchange's language.
        english_name: empty where no file states it.
        isin: empty where no file states it.
        kind: stock, etf, etn, index, warrant or other.
        currency: empty where no file states it.
        market_cap: in the currency.
        listed_shares: their number.
        listed_on: the first day of the listing; null if it is not known.
        suspended: whether trading is.
        administrative: whether the exchange watches it.
        preferred: whether it is a preferred share.
        spac: whether it is a company for acquisitions.
        change: that the last file with a change showed.
        changed: when that file was read.
    """

    symbol: str
    exchange: str
    name: str
    english_name: str
    isin: str
    kind: str
    currency: str
    market_cap: float | None
    listed_shares: float | None
    listed_on: date | None
    suspended: bool | None
    administrative: bool | None
    preferred: bool | None
    spac: bool | None
    change: str
    changed: datetime


class ListingOptions(msgspec.Struct, frozen=True):
    """Which listings.

    Attributes:
        kind: of this kind of instrument only.
        exchange: of this exchange only.
    """

    kind: Kind | None = None
    exchange: str | None = None


def _listings(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    from observer.research.arguments import end_of
    from observer.research.errors import NotCollected
    from observer.research.listings import instruments

    options = asked.options
    until_ns = min(_FOR_EVER_NS if asked.span is None else end_of(asked.span), asked.known_ns or _FOR_EVER_NS)
    changes = relations.listing_changes(until_ns)
    if not changes:
        first = relations.database("listings").first_files()
        read = f"the first was read on {min(first.values())}" if first else "`observer master update` reads them"
        raise NotCollected(f"no master file was read by then: {read}")
    found = relations.of_symbols(instruments(changes, options.kind, relations.zone), asked.symbols)
    if options.exchange is None:
        return found.lazy()
    of_exchange = found.filter(exchange=options.exchange)
    if of_exchange.is_empty() and options.kind is None and asked.symbols is None:
        there = ", ".join(found["exchange"].unique().sort()) or "none"
        raise NoDataError(f"no instrument of {options.exchange} is stored: the exchanges are {there}")
    return of_exchange.lazy()


def _new_listings(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    from observer.research.arguments import begin_of, end_of
    from observer.research.listings import instruments

    begin_ns = 0 if asked.span is None else begin_of(asked.span)
    end_ns = _FOR_EVER_NS if asked.span is None or asked.span.is_open else end_of(asked.span)
    changes = relations.listing_changes(end_ns)
    if not changes:
        return _listings(relations, msgspec.structs.replace(asked, options=ListingOptions(), span=None))  # raises
    new = [each for each in changes if each.change == "new" and each.changed_ns >= begin_ns]
    return relations.of_symbols(instruments(new, None, relations.zone), asked.symbols).lazy()


class Lifetime(msgspec.Struct, frozen=True):
    """Whether a symbol was listed on a day, since when, and how that is known.

    Attributes:
        symbol: of the instrument.
        on: the day.
        status: listed, not listed or unknown.
        since: the first day of the listing; null if it is not known.
        exchange: whose files say so.
        name: of the listing.
        evidence: how it is known.
    """

    symbol: str
    on: date
    status: str
    since: date | None
    exchange: str
    name: str
    evidence: str


def _lifetimes(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    from observer.research.errors import unknown_symbol
    from observer.research.listings import frame_of, listed_on

    if asked.span is None or asked.symbols is None:
        raise ConfigError("a lifetime is of a symbol and a day: name both")
    database, found = relations.database("listings"), []
    for symbol in asked.symbols:
        changes = relations.listing_changes(asked.known_ns, symbol)
        if not changes:
            raise unknown_symbol(symbol, relations.rows.known_symbols())
        found.append(listed_on(symbol, asked.span.first, changes, database.first_files()))
    return pl.concat([frame_of(each) for each in found]).lazy()


class ListingChange(msgspec.Struct, frozen=True):
    """The changes that master files showed, oldest first: of a symbol those of other symbols of the same security, too.

    Attributes:
        changed: when the file was read.
        exchange: that lists it.
        symbol: of the instrument.
        change: initial (in an exchange's first file), new, changed, removed or relisted.
        name: in the exchange's language.
        english_name: empty where no file states it.
        isin: empty where no file states it.
        changed_fields: their names; empty but for a change.
        previous: the values before, as JSON; empty but for a change.
        group: the exchange's group of securities.
        base_price: of the next session.
        market_cap: in the currency.
        listed_shares: their number.
        listed_on: the first day of the listing; null if it is not known.
        suspended: whether trading is.
        administrative: whether the exchange watches it.
        preferred: whether it is a preferred share.
        spac: whether it is a company for acquisitions.
        currency: empty where no file states it.
        sector_code: of the exchange.
        security_type: of files abroad.
        realtime_symbol: by which the broker streams it.
        etp_kind: of files abroad.
        provider: whose file it is.
        run: the check that applied it.
    """

    changed: datetime
    exchange: str
    symbol: str
    change: str
    name: str
    english_name: str
    isin: str
    changed_fields: str
    previous: str
    group: str
    base_price: float | None
    market_cap: float | None
    listed_shares: float | None
    listed_on: date | None
    suspended: bool
    administrative: bool
    preferred: bool
    spac: bool
    currency: str
    sector_code: str
    security_type: str
    realtime_symbol: str
    etp_kind: str
    provider: str
    run: str


def _listing_changes(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    rows = relations.table("listing_changes", asked, "changed_ns", None)
    if asked.symbols is not None:
        own = rows.filter(pl.col("symbol").is_in(list(asked.symbols))).collect()
        if own.is_empty():
            raise NoDataError(f"no listing {', '.join(asked.symbols)} was ever seen")
        same = own.lazy().filter(pl.col("isin") != "").select("exchange", "isin").unique()
        others = rows.join(same, on=["exchange", "isin"], how="semi")
        rows = pl.concat([own.lazy(), others]).unique(["stream", "sequence"])
    return relations.shaped(rows.sort("changed_ns", "stream", "sequence"), ListingChange)


class MasterCheck(msgspec.Struct, frozen=True):
    """The checks of master files, newest first.

    Attributes:
        checked: when.
        exchange: whose file it is.
        outcome: unchanged, updated, pending (for a person's approval) or failed.
        reason: of the outcome.
        records: in the file.
        quarantined: records that cannot be read.
        new: listings.
        changed: listings.
        removed: listings.
        relisted: listings.
        revalued: listings with another price or value only.
        initial: listings of an exchange's first file.
        size_bytes: of the file.
        sha256: of the file; null where none was downloaded.
        download_s: seconds.
        parse_s: seconds.
        provider: whose file it is.
        run: names it.
    """

    checked: datetime
    exchange: str
    outcome: str
    reason: str
    records: int
    quarantined: int
    new: int
    changed: int
    removed: int
    relisted: int
    revalued: int
    initial: int
    size_bytes: int
    sha256: str | None
    download_s: float
    parse_s: float
    provider: str
    run: str


def _master_checks(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    from observer.research.errors import NotCollected

    rows = relations.table("master_file_checks", asked, "checked_ns", None)
    if asked.span is not None and rows.head(1).collect().is_empty():
        raise NotCollected("no master file was checked then: `observer master update` downloads and checks them")
    newest_first = [True, False, True]
    return relations.shaped(rows.sort("checked_ns", "exchange", "sequence", descending=newest_first), MasterCheck)


class EtfFacts(msgspec.Struct, frozen=True):
    """What a list of ETFs and ETNs states of each.

    Attributes:
        symbol: of the ETF.
        name: in the exchange's language.
        group: EF for an ETF, EN for an ETN.
        isin: null if it is not known.
        full_name: null if it is not known.
        english_name: null if it is not known.
        issuer: null if it is not known.
        index_name: what it follows.
        index_provider: who computes the index.
        region: of the index.
        asset_class: of the index.
        replication: how it follows the index.
        tax_type: of its gains.
        leverage: the multiple of the index.
        expense_ratio_percent: percent a year.
        listed_shares: their number.
        creation_unit_shares: that are made or redeemed at once.
        listed_on: the first day of the listing, as stated.
    """

    symbol: str
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


class Etf(EtfFacts, frozen=True):
    """The ETFs and ETNs that ever stood in a list, with their last data, by symbol.

    Attributes:
        active: whether it stands in the last list.
        first_seen: when it first stood in a list.
        first_seen_as: initial in the first list of all, or new.
        listed: when the last list with it was read.
        valued: when it was last valued.
        price: the last price.
        nav: the net asset value of a share.
        premium_percent: the price above the net asset value, in percent.
        aum: the assets under management.
        net_assets: of the fund.
        stated_tracking_error_percent: as the broker states it.
        component_count: of the basket.
        measured: when it was last measured.
        nav_days: the days that measures are made of.
        premium_20d_percent: the mean of 20 sessions.
        premium_60d_percent: the mean of 60 sessions.
        premium_120d_percent: the mean of 120 sessions.
        premium_250d_percent: the mean of 250 sessions.
        tracking_error_20d_percent: of 20 sessions.
        tracking_error_60d_percent: of 60 sessions.
        tracking_error_120d_percent: of 120 sessions.
        tracking_error_250d_percent: of 250 sessions.
        found: when the range was found.
        highest_close_52w: of 52 weeks.
        lowest_close_52w: of 52 weeks.
        sources: of the fields, as JSON.
    """

    active: bool
    first_seen: datetime
    first_seen_as: str
    listed: datetime
    valued: datetime | None
    price: float | None
    nav: float | None
    premium_percent: float | None
    aum: float | None
    net_assets: float | None
    stated_tracking_error_percent: float | None
    component_count: int | None
    measured: datetime | None
    nav_days: int | None
    premium_20d_percent: float | None
    premium_60d_percent: float | None
    premium_120d_percent: float | None
    premium_250d_percent: float | None
    tracking_error_20d_percent: float | None
    tracking_error_60d_percent: float | None
    tracking_error_120d_percent: float | None
    tracking_error_250d_percent: float | None
    found: datetime | None
    highest_close_52w: float | None
    lowest_close_52w: float | None
    sources: str


def _etfs(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    from observer.research.errors import NotCollected

    rows = relations.table("etfs", asked, "", asked.symbols)
    if asked.span is None and rows.head(1).collect().is_empty():
        which = "no ETF is stored" if asked.symbols is None else f"no list of ETFs ever had {', '.join(asked.symbols)}"
        raise NotCollected(f"{which}: the running system lists them each day, or `observer etf update` now")
    return relations.shaped(rows.sort("symbol"), Etf)


class EtfListing(EtfFacts, frozen=True):
    """The last list of ETFs and ETNs of a day, by symbol.

    Attributes:
        day: the day of the market.
        listed: when it was read.
        change: initial, new, changed, same or removed.
        changed_fields: their names; empty but for a change.
        sources: of the fields, as JSON.
    """

    day: date
    listed: datetime
    change: str
    changed_fields: str
    sources: str


def _etf_lists(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    rows = relations.history("etf_lists", asked)
    is_last = pl.col("listed_ns") == pl.col("listed_ns").max().over("session_date")
    last = rows.filter(is_last).filter(pl.col("change") != "removed")
    return relations.shaped(last.sort("session_date", "symbol"), EtfListing)


def _etf_changes(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    rows = relations.table("etf_lists", asked, "listed_ns", asked.symbols).filter(pl.col("change") != "same")
    return relations.shaped(rows.sort("listed_ns", "stream", "sequence"), EtfListing)


class Alert(msgspec.Struct, frozen=True):
    """The alerts, from their raising to their end, in the order of their raising: those that were open in the asked
    days, or all.

    Attributes:
        since: when it was raised.
        severity: info, warning or critical.
        process: that reported it.
        identity: names it.
        count: how often it was reported.
        last: when it was reported last.
        resolved: when its condition ended; null while it holds.
        until: when it ends by itself; null if it does not.
        text: what is wrong, with the remedy.
    """

    since: datetime
    severity: str
    process: str
    identity: str
    count: int
    last: datetime
    resolved: datetime | None
    until: datetime | None
    text: str


def _alerts(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    from observer.research.arguments import begin_of, end_of

    reader = relations.database("alerts")
    if asked.span is None:
        found = reader.alerts()
    else:
        found = reader.alerts(begin_of(asked.span), None if asked.span.is_open else end_of(asked.span))
    types = {
        "since_ns": pl.Int64, "severity": pl.String, "source": pl.String, "identity": pl.String, "count": pl.Int64,
        "last_ns": pl.Int64, "resolved_ns": pl.Int64, "until_ns": pl.Int64, "text": pl.String,
    }  # fmt: skip
    rows = [tuple(getattr(each, name) for name in types) for each in found]
    return relations.shaped(pl.LazyFrame(rows, schema=types, orient="row"), Alert, process="source")


REFERENCE: Final = (
    Relation(
        "listings", Listing, _listings, span="now", options=ListingOptions, counted=("kind",),
        shown=("symbol", "exchange", "name", "kind", "currency", "listed_on", "suspended"),
    ),
    Relation("new_listings", Listing, _new_listings, span="since", shown=("changed", "exchange", "symbol", "name")),
    Relation("lifetimes", Lifetime, _lifetimes, span="now", needs_symbol=True),
    Relation(
        "listing_changes", ListingChange, _listing_changes, span="since", counted=("change",),
        shown=("changed", "exchange", "symbol", "change", "name", "changed_fields", "previous"),
    ),
    Relation(
        "master_checks", MasterCheck, _master_checks, span="since", symbols="no", counted=("outcome",),
        shown=("checked", "exchange", "outcome", "records", "quarantined", "new", "changed", "removed", "reason"),
    ),
    Relation(
        "etfs", Etf, _etfs, span="now", counted=("group",),
        shown=("symbol", "name", "leverage", "expense_ratio_percent", "price", "nav", "aum", "premium_20d_percent",
               "tracking_error_250d_percent"),
    ),
    Relation(
        "etf_lists", EtfListing, _etf_lists, ("etf_lists",), counted=("change",), span="history",
        shown=("symbol", "change", "group", "name", "leverage", "expense_ratio_percent", "listed_shares"),
    ),
    Relation(
        "etf_changes", EtfListing, _etf_changes, span="since", counted=("change",),
        shown=("day", "symbol", "change", "name", "changed_fields"),
    ),
    Relation("alerts", Alert, _alerts, span="since", symbols="no", counted=("severity",)),
)  # fmt: skip
