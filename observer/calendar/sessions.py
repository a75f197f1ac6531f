"""The sessions of the venues on a day, by dated rules (`config/sessions.toml`). Pure; the hours are data.

Times of day become UTC nanoseconds here: a venue's zone has no daylight saving time (`calendar.venues`).
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final, Literal, get_args

import msgspec

from observer.base.local_time import local_ns
from observer.base.spans import united
from observer.base.units import NS_PER_S
from observer.calendar.trading_day import TradingDay

SessionName = Literal["pre", "opening_auction", "regular", "closing_auction", "closing_price", "after", "single_price"]
SecurityKind = Literal["stock", "etf", "etn"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Track = Literal["track_a", "track_b"]

FIRST_SESSION: Final = "first_session"
"""The shift of the first session of each year."""

WEEKDAYS: Final[tuple[Weekday, ...]] = get_args(Weekday)
_WORKING_DAYS: Final = WEEKDAYS[:5]
_CONTINUOUS: Final[tuple[SessionName, ...]] = (
    "regular",
    "closing_auction",
)  # from the opening price to the closing one

_DAY_S: Final = 24 * 3600

_Text = Annotated[str, msgspec.Meta(min_length=1)]


class SessionRule(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"valid_from": "from", "valid_to": "to"},
):
    """A venue's session from `opens` until just before `closes` (local times), from the day `valid_from` to `valid_to`.

    `reports_s`: seconds after the close in which its last trades are reported, until the venue's next session begins.
    """

    venue: Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]+\Z", description="a name of capital letters")]
    session: SessionName
    valid_from: dt.date
    valid_to: dt.date | None = None
    days: tuple[Weekday, ...] = _WORKING_DAYS
    opens: dt.time
    closes: dt.time
    reports_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0
    kinds: tuple[SecurityKind, ...]
    source: _Text
    doubt: str = ""
    reviewed: dt.date

    @property
    def name(self) -> str:
        """Venue and session, as profiles and settings name it."""
        return f"{self.venue}.{self.session}"

    def holds_on(self, day: dt.date) -> bool:
        """Whether the rule holds on this date, whatever the weekday."""
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)


class Shift(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of some sessions of a venue on special days: later by so many seconds, or absent."""

    name: _Text
    venue: str
    sessions: tuple[SessionName, ...]
    opens_later_s: int = 0
    closes_later_s: int = 0
    absent: bool = False
    source: _Text
    doubt: str = ""
    reviewed: dt.date


class SpecialDay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"day": "date"}):
    """A reviewed date, and the name of its shift."""

    day: dt.date
    shift: str
    reviewed: dt.date


class TrackProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a track collects: the named sessions ("KRX.regular"), without their first and their last seconds."""

    sessions: tuple[str, ...]
    starts_after_s: Annotated[int, msgspec.Meta(ge=0)] = 0
    stops_before_s: Annotated[int, msgspec.Meta(ge=0)] = 0


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named choice for both tracks."""

    name: Annotated[str, msgspec.Meta(pattern=r"\A[a-z-]+\Z", description="a name of small letters")]
    track_a: TrackProfile
    track_b: TrackProfile


class SessionRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All rules; `calendar.session_file` reads and checks them."""

    session: tuple[SessionRule, ...] = ()
    shift: tuple[Shift, ...] = ()
    special_day: tuple[SpecialDay, ...] = ()
    profile: tuple[Profile, ...] = ()

    @property
    def session_names(self) -> Sequence[str]:
        """The sessions of all venues ("KRX.regular"), each once."""
        return list(dict.fromkeys(rule.name for rule in self.session))

    @property
    def names(self) -> Sequence[str]:
        """The names that a track's setting may have: profiles and sessions."""
        return [*(profile.name for profile in self.profile), *self.session_names]

    @property
    def shift_names(self) -> Sequence[str]:
        """The names of the shifts, each once."""
        return list(dict.fromkeys(shift.name for shift in self.shift))


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's session of a day, from `opens_ns` until just before `closes_ns` (UTC ns).

    `reported_until_ns`: until just before then a report may bring one of its trades. `doubt`: what no source says.
    """

    venue: str
    name: SessionName
    opens_ns: int
    closes_ns: int
    reported_until_ns: int
    kinds: tuple[SecurityKind, ...]
    doubt: str = ""


class DaySessions(msgspec.Struct, frozen=True):
    """The sessions of a day by venue, each venue's in order and without overlap; none on a day that does not trade.

    `shift` is the name of the shift in force; empty on a usual day.
    """

    day: dt.date
    shift: str
    sessions: tuple[Session, ...]

    def of(self, venue: str) -> Sequence[Session]:
        """The venue's sessions, in order."""
        return [each for each in self.sessions if each.venue == venue]

    def session_at(self, venue: str, instant_ns: int) -> SessionName | None:
        """The session that a trade of this instant belongs to; None outside of all sessions of the venue."""
        for each in self.sessions:
            if each.venue == venue and each.opens_ns <= instant_ns < each.reported_until_ns:
                return each.name
        return None

    def regular_hours(self, venue: str) -> tuple[int, int] | None:
        """From the opening price to the closing price: regular session and closing auction, in UTC ns."""
        found = [each for each in self.of(venue) if each.name in _CONTINUOUS]
        return (found[0].opens_ns, found[-1].closes_ns) if found else None

    def closing_window(self, venue: str) -> tuple[int, int] | None:
        """From when until when (exclusive, UTC ns) a quote shows the finished regular hours and nothing after them."""
        hours = self.regular_hours(venue)
        if hours is None:
            return None
        before = [each for each in self.of(venue) if each.closes_ns <= hours[1]]
        after = [each.opens_ns for each in self.of(venue) if each.opens_ns >= hours[1]]
        return before[-1].reported_until_ns, min(after, default=local_ns(self.day) + _DAY_S * NS_PER_S)


class Window(msgspec.Struct, frozen=True):
    """A span of a venue that a track collects, in UTC ns, `to_ns` exclusive."""

    venue: str
    from_ns: int
    to_ns: int


class Hours(msgspec.Struct, frozen=True):
    """A rule's hours of one day, in seconds of the local day."""

    rule: SessionRule
    opens_s: int
    closes_s: int
    doubt: str


def shift_of(rules: SessionRules, day: TradingDay) -> str:
    """The name of the day's shift: of a reviewed special day, else of the year's first session; empty: none."""
    for special in rules.special_day:
        if special.day == day.day:
            return special.shift
    return FIRST_SESSION if day.is_first_of_year and FIRST_SESSION in rules.shift_names else ""


def sessions_on(rules: SessionRules, day: TradingDay) -> DaySessions:
    """The sessions of all venues on a day."""
    if not day.trades:
        return DaySessions(day.day, "", ())
    return sessions_under(rules, day.day, shift_of(rules, day))


def sessions_under(rules: SessionRules, day: dt.date, shift: str = "") -> DaySessions:
    """The sessions of a date if it trades, under a shift, or if it is no special day; those of a week-end are a
    Monday's.
    """
    weekday = WEEKDAYS[day.weekday()]
    hours = hours_on(rules, day, weekday if weekday in _WORKING_DAYS else "monday", shift)
    return _resolved(day, shift, hours)


def hours_on(rules: SessionRules, day: dt.date, weekday: Weekday, shift: str) -> Sequence[Hours]:
    """The sessions of a date under a shift, sorted by venue and opening; `session_file` refuses rules that overlap."""
    moves = {f"{each.venue}.{session}": each for each in rules.shift if each.name == shift for session in each.sessions}
    found: list[Hours] = []
    for rule in rules.session:
        if not rule.holds_on(day) or weekday not in rule.days:
            continue
        move = moves.get(rule.name)
        if move is None:
            found.append(Hours(rule, _seconds_of(rule.opens), _seconds_of(rule.closes), rule.doubt))
        elif not move.absent:
            opens_s = _seconds_of(rule.opens) + move.opens_later_s
            closes_s = _seconds_of(rule.closes) + move.closes_later_s
            found.append(Hours(rule, opens_s, closes_s, "; ".join(filter(None, (rule.doubt, move.doubt)))))
    return sorted(found, key=lambda each: (each.rule.venue, each.opens_s))


def windows_of(rules: SessionRules, day: DaySessions, track: Track, names: Iterable[str]) -> Sequence[Window]:
    """What a track collects on a day, by venue and time; windows of a venue neither overlap nor touch.

    Args:
        rules: they hold the profiles.
        day: the day's sessions.
        track: the part of a profile.
        names: profiles, and sessions such as "KRX.after", of `rules.names`; others add nothing.
    """
    profiles = {profile.name: profile for profile in rules.profile}
    chosen: list[Window] = []
    for name in names:
        profile = profiles.get(name)
        part = getattr(profile, track) if profile is not None else TrackProfile(sessions=(name,))
        chosen += _trimmed(part, day)
    return _merged(chosen)


def span_of(windows: Sequence[Window]) -> tuple[int, int] | None:
    """From the begin of the first window of all venues to the end of the last one, in UTC ns; None without any."""
    if not windows:
        return None
    return min(each.from_ns for each in windows), max(each.to_ns for each in windows)


def trading_hours(*days: DaySessions) -> Iterator[Window]:
    """Of each venue, the time from its first opening to the last report of a trade, breaks included."""
    sessions = [each for day in days for each in day.sessions]
    for venue in dict.fromkeys(each.venue for each in sessions):
        of_venue = [each for each in sessions if each.venue == venue]
        yield Window(venue, min(each.opens_ns for each in of_venue), max(each.reported_until_ns for each in of_venue))


def with_reports(windows: Iterable[Window], day: DaySessions) -> Iterator[Window]:
    """The windows; one that ends with a session lasts until the session's last trades are reported."""
    for window in windows:
        ends = (each.reported_until_ns for each in day.of(window.venue) if each.closes_ns == window.to_ns)
        yield Window(window.venue, window.from_ns, max(ends, default=window.to_ns))


def _resolved(day: dt.date, shift: str, hours: Sequence[Hours]) -> DaySessions:
    midnight_ns = local_ns(day)
    sessions: list[Session] = []
    for number, each in enumerate(hours):
        closes_ns = midnight_ns + each.closes_s * NS_PER_S
        reported_ns = closes_ns + each.rule.reports_s * NS_PER_S
        following = hours[number + 1] if number + 1 < len(hours) else None
        if following is not None and following.rule.venue == each.rule.venue:
            reported_ns = min(reported_ns, midnight_ns + following.opens_s * NS_PER_S)
        sessions.append(
            Session(
                venue=each.rule.venue,
                name=each.rule.session,
                opens_ns=midnight_ns + each.opens_s * NS_PER_S,
                closes_ns=closes_ns,
                reported_until_ns=reported_ns,
                kinds=each.rule.kinds,
                doubt=each.doubt,
            )
        )
    return DaySessions(day, shift, tuple(sessions))


def _trimmed(part: TrackProfile, day: DaySessions) -> Iterator[Window]:
    """The windows of the part's sessions, without the first and last seconds of the whole."""
    named = [each for each in day.sessions if f"{each.venue}.{each.name}" in part.sessions]
    if not named:
        return
    first_ns = min(each.opens_ns for each in named) + part.starts_after_s * NS_PER_S
    last_ns = max(each.closes_ns for each in named) - part.stops_before_s * NS_PER_S
    for each in named:
        from_ns, to_ns = max(each.opens_ns, first_ns), min(each.closes_ns, last_ns)
        if from_ns < to_ns:
            yield Window(each.venue, from_ns, to_ns)


def _merged(windows: Sequence[Window]) -> Sequence[Window]:
    by_venue: dict[str, list[tuple[int, int]]] = {}
    for each in windows:
        by_venue.setdefault(each.venue, []).append((each.from_ns, each.to_ns))
    return [Window(venue, *span) for venue in sorted(by_venue) for span in united(by_venue[venue])]


def _seconds_of(time: dt.time) -> int:
    return time.hour * 3600 + time.minute * 60 + time.second
