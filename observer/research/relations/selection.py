"""What the system decided: the universe, triggers, slots, and each decision on a slot."""

from datetime import date, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from observer.base.local_time import local_datetime
from observer.research.asked import Asked, Day, by_day
from observer.research.lazy import pl
from observer.research.relation import Relation

if TYPE_CHECKING:
    from observer.research.days import DayRelations

OF_SLOTS: Final = ("slot_assignments", "slot_releases", "slot_extensions", "universe_members")
OF_TRIGGERS: Final = ("triggers", "trigger_ends", "slot_assignments", "universe_members")


class Member(msgspec.Struct, frozen=True):
    """The members of a day's universe by rank, of its last build; of several builds the last that was known.

    Attributes:
        day: the day of the market.
        rank: by market value, from 1.
        symbol: the stock.
        venue: where it is traded.
        name: of the listing.
        exchange: that lists it.
        market_cap: in the instrument's currency.
        previous_close: the close of the session before.
        average_volume_20d: shares a day, of 20 sessions.
        average_true_range_14d: in the instrument's currency, of 14 sessions.
        built: when the universe was built.
        considered: the number of listings from which it was chosen.
        close_is_base: whether the close is the exchange's base price, as no bar of that session is known.
        average_volume_days: of which the average volume is made.
        average_true_range_days: of which the average range is made.
        days_from_sweeps: those of these days that are made of sweeps.
        average_sessions: the sessions that the averages cover.
        provider: the broker.
    """

    day: date
    rank: int
    symbol: str
    venue: str
    name: str
    exchange: str
    market_cap: float | None
    previous_close: float | None
    average_volume_20d: float | None
    average_true_range_14d: float | None
    built: datetime
    considered: int
    close_is_base: bool
    average_volume_days: int | None
    average_true_range_days: int | None
    days_from_sweeps: int | None
    average_sessions: str
    provider: str


def _universe(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    from observer.research.errors import NotCollected

    if asked.span is None:
        return relations.late(lambda: by_day(_members)(relations, asked).collect(), Member, "universe")
    found = by_day(_members)(relations, asked).collect()
    if found.is_empty() and asked.symbols is None:
        by_then = "" if asked.known_ns is None else f" by {local_datetime(asked.known_ns):%Y-%m-%d %H:%M}"
        raise NotCollected(f"no universe of {asked.span} was built{by_then}: `observer universe build` builds one")
    return found.lazy()


def _members(day: Day) -> "pl.LazyFrame":
    """A build's members are its neighbours in its stream: before it, or after it."""
    builds = day.stored("universes").sort("built_ns", "stream", "sequence").collect()
    rows = day.stored("universe_members").collect()
    if builds.is_empty():
        none = pl.lit(None, dtype=pl.Int64)
        return day.shaped(rows.clear().lazy().with_columns(built_ns=none, considered=none), Member)
    build = builds.row(-1, named=True)
    at, count = build["sequence"], build["symbols"]
    same = rows.filter(pl.col("stream") == build["stream"])
    before, after = (
        same.filter(pl.col("sequence").is_between(first, last))
        for first, last in ((at - count, at - 1), (at + 1, at + count))
    )
    found = (before if before.height >= after.height else after).lazy().sort("rank")
    numbers = {"built_ns": pl.lit(build["built_ns"]), "considered": pl.lit(build["considered"], dtype=pl.Int64)}
    return day.shaped(found.with_columns(**numbers), Member)


class Trigger(msgspec.Struct, frozen=True):
    """The triggers by the time at which they fired.

    Attributes:
        time: when the condition began to hold.
        symbol: the stock.
        venue: where it is traded.
        kind: the condition.
        measure: what was measured; null where nothing is.
        threshold: from which the condition holds.
        reference: what the measure is compared with.
        strength: the measure in thresholds.
        score: by which symbols are ranked.
        severity: of a surge of volume.
        basis: which rule of the condition fired.
        held_until: the last moment at which the condition was seen to hold.
        until: the end of the condition's life; null while it has none.
    """

    time: datetime
    symbol: str
    venue: str | None
    kind: str
    measure: float | None
    threshold: float | None
    reference: float | None
    strength: float | None
    score: float | None
    severity: str | None
    basis: str | None
    held_until: datetime | None
    until: datetime | None


def _triggers(day: Day) -> "pl.LazyFrame":
    from observer.research.shaping import stock_of_id, venue_of_id

    key, venues = ["symbol", "kind", "fired_ns"], day.relations.venues(day.day)
    ends = day.stored("trigger_ends").sort("ended_ns").unique(key, keep="last")
    fired = day.stored("triggers").join(ends.select(*key, "held_until_ns", "ended_ns"), on=key, how="left")
    return day.shaped(
        fired.sort("fired_ns", "stream", "sequence"),
        Trigger,
        time="fired_ns",
        until="ended_ns",
        symbol=stock_of_id("symbol"),
        venue=venue_of_id("symbol", venues),
    )


class Slot(msgspec.Struct, frozen=True):
    """The times in which symbols had slots, with triggers and reasons, by day and begin.

    Attributes:
        since: when the slot was assigned.
        until: when it was released; null while it is held.
        slot: account and number.
        symbol: the stock.
        venue: where it is traded.
        trigger: what it was assigned for.
        score: of the trigger.
        reason: why this slot: free_slot, outranks, moved, moved_home, pinned ...
        replaced: the stock that had it before; null if it was free.
        replaced_venue: the venue of the replaced one.
        release_reason: why it was released; null while it is held.
        replaced_by: the stock that took it; null for none.
        replaced_by_venue: the venue of that one.
        triggers: what it was assigned and extended for, in order.
        expires: when it ends without an extension; null without an end.
    """

    since: datetime
    until: datetime | None
    slot: str
    symbol: str
    venue: str | None
    trigger: str
    score: float | None
    reason: str
    replaced: str | None
    replaced_venue: str | None
    release_reason: str | None
    replaced_by: str | None
    replaced_by_venue: str | None
    triggers: str
    expires: datetime | None


def _slots(day: Day) -> "pl.LazyFrame":
    from observer.research.shaping import stock_of_id, venue_of_id

    holder, venues = ["slot", "symbol"], day.relations.venues(day.day)
    began = day.stored("slot_assignments").sort("assigned_ns", "stream", "sequence").with_columns(at_ns="assigned_ns")
    ended = day.stored("slot_releases").sort("released_ns", "stream", "sequence")
    ended = ended.select(*holder, "replaced_by", at_ns="released_ns", until_ns="released_ns", release_reason="reason")
    extended = day.stored("slot_extensions").sort("extended_ns", "stream", "sequence").select(
        *holder, at_ns="extended_ns", further="trigger", expires_ns="expires_ns"
    )  # fmt: skip
    of_slots = extended.join_asof(
        began.select(*holder, "at_ns", "assigned_ns"), on="at_ns", by=holder, strategy="backward",
        check_sortedness=False,
    ).group_by(*holder, "assigned_ns", maintain_order=True).agg(
        "further", last_expires_ns=pl.col("expires_ns").last(), extensions=pl.len()
    )  # fmt: skip
    joined = began.join_asof(ended, on="at_ns", by=holder, strategy="forward", check_sortedness=False)
    joined = joined.join(of_slots, on=[*holder, "assigned_ns"], how="left")
    every = pl.concat_list(pl.col("trigger"), pl.col("further").fill_null([])).list.unique(maintain_order=True)
    is_extended = pl.col("extensions").is_not_null()
    expires = pl.when(is_extended).then(pl.col("last_expires_ns")).otherwise(pl.col("expires_ns"))
    return day.shaped(
        joined.sort("assigned_ns", "slot").with_columns(expires_ns=expires),
        Slot,
        since="assigned_ns",
        replaced=stock_of_id("replaced"),
        replaced_venue=venue_of_id("replaced", venues),
        replaced_by=stock_of_id("replaced_by"),
        replaced_by_venue=venue_of_id("replaced_by", venues),
        triggers=every.list.join(" "),
    )


class Decision(msgspec.Struct, frozen=True):
    """Each decision on a slot, in the order of the decisions.

    Attributes:
        time: when it was decided.
        symbol: the stock.
        venue: where it is traded; null where the decision does not state it.
        decision: assigned, extended, released or refused.
        slot: account and number; null of a refusal.
        trigger: what it was decided for; null of a release.
        score: of the trigger.
        reason: why; null of an extension.
        other: the stock that was replaced, or that took the slot; null for none.
        expires: when the slot ends without an extension; null without an end.
        strength: of a refused trigger, in thresholds.
        measure: of a refused trigger, what was measured.
        lowest_score: of a refusal, the lowest score that could have been replaced.
        slots: of a refusal, how many slots there were.
        market_cap: of a refused symbol.
    """

    time: datetime
    symbol: str
    venue: str | None
    decision: str
    slot: str | None
    trigger: str | None
    score: float
    reason: str | None
    other: str | None
    expires: datetime | None
    strength: float | None
    measure: float | None
    lowest_score: float | None
    slots: int | None
    market_cap: float | None


_DECISIONS: Final = {
    "slot_assignments": ("assigned", "assigned_ns", {"other": "replaced"}),
    "slot_extensions": ("extended", "extended_ns", {}),
    "slot_releases": ("released", "released_ns", {"other": "replaced_by"}),
    "slot_overflows": ("refused", "overflowed_ns", {}),
}


def _decisions(day: Day) -> "pl.LazyFrame":
    from observer.research.shaping import stock_of_id, venue_of_id

    parts = []
    for kind, (word, moment, names) in _DECISIONS.items():
        rows = day.stored(kind)
        own = {name: pl.col(stored) for name, stored in names.items()}
        parts.append(rows.with_columns(decision=pl.lit(word), time_ns=pl.col(moment), **own))
    joined = pl.concat(parts, how="diagonal").sort("time_ns", "stream", "sequence")
    named = {"symbol": stock_of_id("symbol"), "venue": venue_of_id("symbol", day.relations.venues(day.day))}
    return day.shaped(joined, Decision, other=stock_of_id("other"), **named)


class Subscription(msgspec.Struct, frozen=True):
    """The times in which the broker streamed a symbol with a slot, as it acknowledged them.

    Attributes:
        since: when the broker acknowledged the subscription.
        until: when it ended; null while it lasts.
        symbol: the stock.
        venue: where it is traded.
        slot: account and number.
    """

    since: datetime
    until: datetime | None
    symbol: str
    venue: str | None
    slot: str


_OF_STREAMED: Final = ("selection_steps", "slot_assignments", "slot_extensions", "slot_releases", "watch_changes")


def _subscriptions(day: Day) -> "pl.LazyFrame":
    from observer.research.shaping import stock_of_id, venue_of_id
    from observer.selection.slot_projection import slot_intervals

    rows = [
        (since_ns, until_ns, each.symbol, each.slot)
        for each in slot_intervals(day.relations.events(_OF_STREAMED, day.day, day.known_ns, day.lines))
        for since_ns, until_ns in each.streamed
    ]
    types = {"since_ns": pl.Int64, "until_ns": pl.Int64, "symbol": pl.String, "slot": pl.String}
    found = pl.LazyFrame(rows, schema=types, orient="row").sort("since_ns", "slot")
    venue = venue_of_id("symbol", day.relations.venues(day.day))
    return day.shaped(found, Subscription, symbol=stock_of_id("symbol"), venue=venue)


SELECTION: Final = (
    Relation(
        "universe", Member, _universe, ("universes", "universe_members"), symbols="swept",
        shown=("rank", "symbol", "name", "exchange", "market_cap", "previous_close", "average_volume_20d"),
    ),
    Relation(
        "triggers", Trigger, by_day(_triggers, *OF_TRIGGERS), OF_TRIGGERS, each=("triggers",), counted=("kind",),
        shown=("time", "symbol", "kind", "measure", "threshold", "score", "until"),
    ),
    Relation(
        "slots", Slot, by_day(_slots, *OF_SLOTS), OF_SLOTS, each=("slot_assignments",), counted=("release_reason",),
        shown=("since", "until", "slot", "symbol", "triggers", "score", "reason", "release_reason"),
    ),
    Relation(
        "decisions", Decision, by_day(_decisions), (*_DECISIONS, "universe_members"), each=tuple(_DECISIONS),
        counted=("decision",),
        shown=("time", "symbol", "decision", "slot", "trigger", "score", "reason", "other"),
    ),
    Relation("subscriptions", Subscription, by_day(_subscriptions), (*_OF_STREAMED, "universe_members")),
)  # fmt: skip
