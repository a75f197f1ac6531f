"""`observer decisions`: recomputes a day's decisions from stored data, and compares."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import msgspec
from rich.console import Console

from bus.events import AccountSlots, DayBegan, Event, SelectionAdvanced
from observer.base.errors import NoDataError, NotReplayableError
from observer.base.local_time import local_datetime
from observer.brokers.accounts.clients import capacity_of
from observer.brokers.broker import broker_named
from observer.brokers.time_and_sales import page_trades_of
from observer.cli.context import DayArgument, SettingsOption, stored_day
from observer.cli.frame import Answer
from observer.cli.removed import require_hot
from observer.cli.steps import steps
from observer.cli.tables import show_text
from observer.collection.decisions import DecisionComparison, DecisionReplay, verified
from observer.collection.earlier import earlier_days
from observer.reference.universe.eligibility import KOREAN_STOCKS
from observer.selection.selector import Selector
from observer.selection.settings import DaySettings, settings_differences, stored_settings
from observer.store.reader import StoreReader
from observer.store.slots import day_bounds
from observer.system.config import Settings


def verify(day: DayArgument = None, *, settings: SettingsOption) -> Answer:
    """Recompute a day's decisions and compare them with the stored. Triggers, slots and gaps, event for event.

    Reads the database, also one that a capture was replayed into, and uses the settings that are stored with the day:
    after a reload within the day, from that step on the new ones. Names the settings that changed within the day, and
    those that the configuration of today has otherwise. Exit status 1: a decision differs; 3: not all can be
    recomputed.
    """
    with StoreReader(settings.store.url) as reader:
        asked = stored_day(reader, day, settings.run)
        if not reader.slot_events(asked.session_date):
            raise NoDataError(
                f"no decisions of {asked.session_date} are stored yet: the first comes at the context sync"
            )
        began = first_steps(reader, asked.session_date)
        require_hot(settings, asked.session_date, before=max(map(compared_days, began), default=0))
        with steps(Console(stderr=True)) as step:
            step(f"recomputing the decisions of {asked.session_date}")
            comparison = verified_day(reader, asked.session_date)
    within, differing = changes_within(began), changed_settings(began, settings)
    lines = [f"{asked.title}:", _reported(comparison), *within]
    if differing:
        lines.append(f"configuration differs from the day's, which was used: {'; '.join(differing)}")
    return Answer(
        {"day": asked.session_date, **_as_map(comparison, within, differing)},
        partial(show_text, "\n".join(lines)),
        status=0 if comparison.is_same else 1 if comparison.difference is not None else 3,
    )


def verified_day(reader: StoreReader, session_date: str) -> DecisionComparison:
    """Recompute the stored decisions of a day, with the settings stored with them.

    Raises:
        StoreError: the database does not answer.
    """
    midnight_ns, ends_ns = day_bounds(session_date)

    def new_selector(began: DayBegan) -> Selector:
        settings = stored_settings(began)
        members = reader.universe(began.universe, KOREAN_STOCKS, began.built_ns)
        return Selector(members, settings, earlier_days(reader, session_date, midnight_ns, settings.selection, began))

    snapshots = reader.snapshots(session_date, midnight_ns, ends_ns)
    members_of = partial(reader.universe, session_date, KOREAN_STOCKS)
    return verified(reader.decision_events(session_date), DecisionReplay(new_selector, snapshots, members_of))


def first_steps(reader: StoreReader, session_date: str) -> Sequence[tuple[int, DayBegan]]:
    """The first step of each of the day's processes, with its time (UTC ns); in order.

    Raises:
        StoreError: the database does not answer.
    """
    steps = [event for event in reader.slot_events(session_date) if isinstance(event, SelectionAdvanced)]
    return [(event.advanced_ns, event.step) for event in steps if isinstance(event.step, DayBegan)]


def compared_days(began: tuple[int, DayBegan]) -> int:
    """With how many sessions before it the process compared the day; none where its settings cannot be read now."""
    try:
        return stored_settings(began[1]).selection.triggers.time_of_day.days
    except NotReplayableError:
        return 0


def changes_within(began: Sequence[tuple[int, DayBegan]]) -> Sequence[str]:
    """One line for each process of the day that had other settings than the one before: its time, and the keys."""
    return [
        f"settings changed at {local_datetime(at_ns):%H:%M:%S}: {'; '.join(_differences(before, after))}"
        for (_, before), (at_ns, after) in pairwise(began)
        if before.settings_digest != after.settings_digest
    ]


def _differences(before: DayBegan, after: DayBegan) -> Sequence[str]:
    try:
        changes = settings_differences(stored_settings(before), stored_settings(after))
    except NotReplayableError as error:
        return [str(error)]
    return [f"{each.key}: {each.before} before, {each.after} from then on" for each in changes]


def changed_settings(began: Sequence[tuple[int, DayBegan]], settings: Settings) -> Sequence[str]:
    """The differences of the configuration from the settings of the day's last process; empty without any."""
    current = DaySettings(
        selection=settings.selection,
        accounts=tuple(
            AccountSlots(account.account_id, capacity_of(settings.clients, account))
            for account in settings.pool.by_priority
        ),
        allocation_strategy=settings.pool.allocation_strategy,
        sweep_interval_s=settings.track_a.interval_s,
        page_trades=page_trades_of(broker_named(settings.pool.provider).time_and_sales),
    )
    if not began or began[-1][1].settings_digest == current.digest:
        return []
    try:
        stored = stored_settings(began[-1][1])
        of_universe = {"windows": stored.windows, "openings_ns": stored.openings_ns, "left_free": stored.left_free}
        changes = settings_differences(stored, msgspec.structs.replace(current, **of_universe))
    except NotReplayableError as error:
        return [str(error)]
    return [f"{each.key}: {each.before} stored, {each.after} now" for each in changes]


def _as_map(comparison: DecisionComparison, within: Sequence[str], differing: Sequence[str]) -> dict[str, object]:
    difference = comparison.difference
    return {
        "is_same": comparison.is_same,
        "same": comparison.same,
        "difference": difference
        and {
            "number": difference.number,
            "recorded": _named(difference.recorded),
            "replayed": _named(difference.replayed),
        },
        "unclear": comparison.unclear,
        "settings_changed": within,
        "settings_differ": differing,
    }


def _named(event: Event | None) -> dict[str, object] | None:
    """The events as maps: they are arrays on the bus, JSON output has names."""
    return None if event is None else {"kind": type(event).__name__, **msgspec.structs.asdict(event)}


def _reported(comparison: DecisionComparison) -> str:
    counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(comparison.same.items())) or "none"
    lines = [f"{sum(comparison.same.values()):,} decisions came out the same: {counts}"]
    if (difference := comparison.difference) is not None:
        lines += [
            f"decision {difference.number:,} did not:",
            f"  recorded: {difference.recorded or 'nothing'}",
            f"  replayed: {difference.replayed or 'nothing'}",
        ]
    if comparison.unclear:
        lines.append(f"from there on nothing can be said: {comparison.unclear}")
    return "\n".join(lines)
