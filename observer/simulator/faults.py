"""The day's faults: kind, time span, and the calls or frames that each strikes. Pure: rng and market time are passed
in.

Faults come by script, at random in the background, or on request while the simulator runs. A fault is one kind, a span
of market time and, where the kind needs them, a share of calls or frames and an amount of seconds. A seed and a script
give the same faults again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self, get_args

import msgspec

from observer.base.units import NS_PER_S
from observer.simulator.counters import Counters
from observer.simulator.market.instruments import RngSource
from observer.simulator.market.tape import MarketStop, midnight_ns

if TYPE_CHECKING:
    from random import Random


FaultKind = Literal[
    "rest_latency",
    "rest_error",
    "rest_busy",
    "rest_cut_body",
    "rest_stall",
    "rest_reset",
    "rest_refused",
    "maintenance",
    "stream_cut",
    "half_open",
    "malformed",
    "truncated",
    "duplicated",
    "wrong_count",
    "poison",
    "clock_skew",
    "token_revoked",
    "token_expired",
    "approval_revoked",
]
FAULT_MEANINGS: Final[Mapping[FaultKind, str]] = {
    "rest_latency": "a share of the calls is answered by_s machine seconds late",
    "rest_error": "a share of the calls meets HTTP 500 (EGW00002)",
    "rest_busy": "a share of the calls is refused as one too many (HTTP 500, EGW00201), whatever was sent",
    "rest_cut_body": "a share of the answers comes with half of its body, or none, and HTTP 200",
    "rest_stall": "a share of the calls gets no answer; the line is cut when the fault ends",
    "rest_reset": "a share of the calls has its connection cut",
    "rest_refused": "no listener: connections are refused, open ones are cut",
    "maintenance": "every call meets a time-out (EGW00300), an HTML page (200, 502) or OPSQ1002 and its like (200)",
    "stream_cut": "every stream is cut without a close frame, new ones are refused until the end",
    "half_open": "every stream, and each that is opened until the end, stays open and says nothing any more",
    "malformed": "a share of the data frames cannot be read, wholly or in one record",
    "truncated": "a share of the data frames ends in the middle of a record",
    "duplicated": "a share of the data frames comes twice",
    "wrong_count": "a share of the data frames states another number of records than it has",
    "poison": "a share of the trade frames is followed by a false record: volume times 1,000, another day ...",
    "clock_skew": "the times that the broker states of itself (PINGPONG, end of a token) are by_s seconds off",
    "token_revoked": "all tokens are forgotten (EGW00121)",
    "token_expired": "all tokens end before their time (EGW00123)",
    "approval_revoked": "all approval keys are forgotten (OPSP0011)",
}
FAULT_KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
_DAY_NS: Final = 24 * 3_600 * NS_PER_S
_TIME_OF_DAY: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?", re.ASCII)

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
"""A part of all, 0..1."""
Amount = Annotated[float, msgspec.Meta(ge=0)]
"""A number that is not negative."""


class FaultRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request for a fault that begins now, for `for_s` market seconds (0: a moment)."""

    kind: FaultKind
    for_s: Amount = 0.0
    share: Share = 1.0
    by_s: float = 0.0


class ScriptedFault(FaultRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault that begins at the market time `at` (HH:MM or HH:MM:SS local time)."""

    at: str


class ScriptedDrop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At the market time `at` (HH:MM:SS local time) every stream connection is cut, without a close frame; new ones are
    refused for `closed_for_s` market seconds.
    """

    at: str
    closed_for_s: float = 0.0


class ScriptedStop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At the market time `at` (HH:MM or HH:MM:SS local time) both venues stop for `for_s` market seconds, as a circuit
    breaker does: the last third is the auction that ends the stop (the real one: 20 minutes, and an auction of 10).
    With `closes` (the third level of a breaker) they stop for the rest of the day, and `for_s` counts nothing. Stopped
    are the symbols of the `exchanges`.
    """

    at: str
    for_s: Annotated[int, msgspec.Meta(gt=0)] = 1_800
    closes: bool = False
    exchanges: tuple[Literal["KOSPI", "KOSDAQ"], ...] = ("KOSPI", "KOSDAQ")

    @property
    def seconds(self) -> tuple[int, int]:
        """Begin and end in seconds after local midnight; of one that closes the market, its first second. Raises
        ValueError: `at` is not a time of day.
        """
        start_s = second_of_day(self.at)
        return start_s, start_s + (1 if self.closes else self.for_s)

    def on(self, session_date: str) -> MarketStop:
        """The stop on a day."""
        start_ns, end_ns = (midnight_ns(session_date) + second * NS_PER_S for second in self.seconds)
        if self.closes:
            end_ns = midnight_ns(session_date) + _DAY_NS
        return MarketStop(start_ns, end_ns - (end_ns - start_ns) // 3, end_ns, self.closes, self.exchanges)


class FaultRates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The random faults of the whole day: shares of the calls or data frames, and numbers per hour of market time."""

    rest_error_share: Share = 0.0
    rest_reset_share: Share = 0.0
    rest_latency_share: Share = 0.0
    rest_latency_s: Amount = 0.0
    malformed_share: Share = 0.0
    truncated_share: Share = 0.0
    duplicated_share: Share = 0.0
    wrong_count_share: Share = 0.0
    stream_cuts_per_hour: Amount = 0.0
    half_opens_per_hour: Amount = 0.0
    tokens_revoked_per_hour: Amount = 0.0
    approvals_revoked_per_hour: Amount = 0.0


class Fault(msgspec.Struct, frozen=True):
    """One fault from `start_ns` (inclusive) to `end_ns` (exclusive), UTC nanoseconds of market time."""

    kind: FaultKind
    start_ns: int
    end_ns: int
    share: float = 1.0
    by_s: float = 0.0

    @classmethod
    def from_now_on(cls, request: FaultRequest, now_ns: int) -> Self:
        """The requested fault, beginning at this moment."""
        return cls(request.kind, now_ns, now_ns + round(request.for_s * NS_PER_S), request.share, request.by_s)

    def runs_at(self, now_ns: int) -> bool:
        """Whether the fault runs at the moment."""
        return self.start_ns <= now_ns < self.end_ns


class Faults(msgspec.Struct, frozen=True):
    """The script of one session day in the order of time, and the time of the new listing (None: listed all day)."""

    script: tuple[Fault, ...]
    listing_appears_ns: int | None = None

    @classmethod
    def of_script(
        cls, session_date: str, scripted: Sequence[ScriptedFault | ScriptedDrop], listing_appears_at: str = ""
    ) -> Self:
        """Read the script of a day; `listing_appears_at` is HH:MM, or empty.

        Raises:
            ValueError: a time is not HH:MM or HH:MM:SS.
        """
        script = sorted((_fault(session_date, each) for each in scripted), key=lambda fault: fault.start_ns)
        appears_ns = _moment_ns(session_date, listing_appears_at) if listing_appears_at else None
        return cls(tuple(script), appears_ns)

    def with_background(self, session_date: str, rates: FaultRates, rng: RngSource) -> Self:
        """The same script with the random faults: shares all day long, and random moments."""
        background = _background(midnight_ns(session_date), rates, rng)
        script = sorted((*self.script, *background), key=lambda fault: fault.start_ns)
        return msgspec.structs.replace(self, script=tuple(script))

    def listing_is_shown(self, now_ns: int) -> bool:
        """Whether the master file contains the new listing at the moment."""
        return self.listing_appears_ns is None or now_ns >= self.listing_appears_ns


def second_of_day(text: str) -> int:
    """HH:MM or HH:MM:SS as seconds after midnight. Raises ValueError when it is neither."""
    found = _TIME_OF_DAY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a time of day HH:MM or HH:MM:SS")
    hour, minute, second = found.groups(default="0")
    return int(hour) * 3600 + int(minute) * 60 + int(second)


def _moment_ns(session_date: str, text: str) -> int:
    """The UTC nanoseconds of HH:MM or HH:MM:SS local time of a day."""
    return midnight_ns(session_date) + second_of_day(text) * NS_PER_S


def _fault(session_date: str, scripted: ScriptedFault | ScriptedDrop) -> Fault:
    start_ns = _moment_ns(session_date, scripted.at)
    if isinstance(scripted, ScriptedDrop):
        return Fault("stream_cut", start_ns, start_ns + round(scripted.closed_for_s * NS_PER_S))
    return Fault.from_now_on(scripted, start_ns)


def _background(start_ns: int, rates: FaultRates, rng: RngSource) -> Iterator[Fault]:
    for kind in FAULT_KINDS:
        if share := getattr(rates, f"{kind}_share", 0.0):
            by_s = rates.rest_latency_s if kind == "rest_latency" else 0.0
            yield Fault(kind, start_ns, start_ns + _DAY_NS, share, by_s)
    per_hour: tuple[tuple[FaultKind, float], ...] = (
        ("stream_cut", rates.stream_cuts_per_hour),
        ("half_open", rates.half_opens_per_hour),
        ("token_revoked", rates.tokens_revoked_per_hour),
        ("approval_revoked", rates.approvals_revoked_per_hour),
    )
    for kind, rate in per_hour:
        for moment_ns in _moments_ns(start_ns, rate, kind, rng):
            yield Fault(kind, moment_ns, moment_ns)


def _moments_ns(start_ns: int, per_hour: float, kind: FaultKind, rng: RngSource) -> Iterator[int]:
    """Independent random moments of a day, with the given average number per hour."""
    if not per_hour:
        return
    generator = rng(f"background/{kind}")
    moment_ns = start_ns + int(generator.expovariate(per_hour) * 3_600 * NS_PER_S)
    while moment_ns < start_ns + _DAY_NS:
        yield moment_ns
        moment_ns += int(generator.expovariate(per_hour) * 3_600 * NS_PER_S)


class FaultInjector:
    """The faults of the day, and one rng for each kind, so that the kinds do not influence each other.

    `_faults` only grows: by the script at first, then by requests.
    """

    def __init__(self, script: Iterable[Fault], rng: RngSource, counters: Counters) -> None:
        self._faults: dict[FaultKind, list[Fault]] = {kind: [] for kind in FAULT_KINDS}
        self._rng: dict[FaultKind, Random] = {kind: rng(f"fault/{kind}") for kind in FAULT_KINDS}
        self._counters = counters
        for fault in script:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        """Add one fault."""
        self._faults[fault.kind].append(fault)

    def running(self, kind: FaultKind, now_ns: int) -> Fault | None:
        """The running fault of this kind; of several the one added last."""
        return next((fault for fault in reversed(self._faults[kind]) if fault.runs_at(now_ns)), None)

    def strikes(self, kind: FaultKind, now_ns: int) -> Fault | None:
        """The fault that strikes this one call or frame, counted; None when none runs, or the rng spares it."""
        fault = self.running(kind, now_ns)
        if fault is None or self._rng[kind].random() >= fault.share:
            return None
        self._counters.faults[kind] += 1
        return fault

    def rng(self, kind: FaultKind) -> Random:
        """The rng for the details of this kind's faults."""
        return self._rng[kind]
