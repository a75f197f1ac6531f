"""What goes wrong on the day, and when: by script, by chance in the background, or asked for while it runs. Pure.

Every fault is one kind, a span of market time and, where it needs them, the share of calls or frames that it strikes
and an amount of seconds. A seed and a script give the same faults again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final, Literal, Self, get_args

import msgspec

from observer.simulator.instruments import ChanceSource
from observer.simulator.tape import NS_PER_S, midnight_ns

FaultKind = Literal[
    "rest_latency",
    "rest_error",
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
    "clock_skew",
    "token_revoked",
    "token_expired",
    "approval_revoked",
]
FAULT_MEANINGS: Final[Mapping[FaultKind, str]] = {
    "rest_latency": "a share of the calls is answered by_s machine seconds late",
    "rest_error": "a share of the calls meets HTTP 500 (EGW00002)",
    "rest_stall": "a share of the calls gets no answer; the line is cut when the fault ends",
    "rest_reset": "a share of the calls has its connection cut",
    "rest_refused": "nobody listens: connections are refused, those that are there are cut",
    "maintenance": "every call meets the gateway's time-out (HTTP 500, EGW00300)",
    "stream_cut": "every stream is cut without a close frame, new ones are refused until the end",
    "half_open": "every stream, and each that is opened until the end, stays open and says nothing any more",
    "malformed": "a share of the data frames cannot be read, wholly or in one record",
    "truncated": "a share of the data frames ends in the middle of a record",
    "duplicated": "a share of the data frames comes twice",
    "wrong_count": "a share of the data frames states another number of records than it has",
    "clock_skew": "the times that KIS states of itself (PINGPONG, end of a token) are by_s seconds off",
    "token_revoked": "all tokens are forgotten (EGW00121)",
    "token_expired": "all tokens end before their time (EGW00123)",
    "approval_revoked": "all approval keys are forgotten (OPSP0011)",
}
FAULT_KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
_DAY_NS: Final = 24 * 3_600 * NS_PER_S

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
"""A part of all, 0..1."""
Amount = Annotated[float, msgspec.Meta(ge=0)]
"""A number that is not negative."""


class FaultRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault that is wanted from now on, for `for_s` market seconds (0: it is a moment)."""

    kind: FaultKind
    for_s: Amount = 0.0
    share: Share = 1.0
    by_s: float = 0.0


class ScriptedFault(FaultRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault that begins at the market time `at` (HH:MM or HH:MM:SS KST)."""

    at: str


class ScriptedDrop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At the market time `at` (HH:MM:SS KST) every stream connection is cut, without a close frame; new ones are
    refused for `closed_for_s` market seconds.
    """

    at: str
    closed_for_s: float = 0.0


class FaultRates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The background of the whole day: shares of the calls or data frames, and how many in an hour of market time."""

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
        """The fault that a request asks for at this moment."""
        return cls(request.kind, now_ns, now_ns + round(request.for_s * NS_PER_S), request.share, request.by_s)

    def runs_at(self, now_ns: int) -> bool:
        """Whether the moment is in it."""
        return self.start_ns <= now_ns < self.end_ns


class Faults(msgspec.Struct, frozen=True):
    """The script of one session day in the order of time; when the new listing appears (None: it is there all day)."""

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

    def with_background(self, session_date: str, rates: FaultRates, chance: ChanceSource) -> Self:
        """The same script with what happens by chance: shares all day long, and moments as they fall."""
        background = _background(midnight_ns(session_date), rates, chance)
        script = sorted((*self.script, *background), key=lambda fault: fault.start_ns)
        return msgspec.structs.replace(self, script=tuple(script))

    def listing_is_shown(self, now_ns: int) -> bool:
        """Whether the master file has the new listing in it."""
        return self.listing_appears_ns is None or now_ns >= self.listing_appears_ns


def second_of_day(text: str) -> int:
    """HH:MM or HH:MM:SS as seconds after midnight. Raises ValueError when it is neither."""
    hour, minute, second = ([int(part) for part in text.split(":")] + [0])[:3]
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        raise ValueError(f"{text!r} is not a time of day HH:MM or HH:MM:SS")
    return hour * 3600 + minute * 60 + second


def _moment_ns(session_date: str, text: str) -> int:
    """The UTC nanoseconds of HH:MM or HH:MM:SS KST of a day."""
    return midnight_ns(session_date) + second_of_day(text) * NS_PER_S


def _fault(session_date: str, scripted: ScriptedFault | ScriptedDrop) -> Fault:
    start_ns = _moment_ns(session_date, scripted.at)
    if isinstance(scripted, ScriptedDrop):
        return Fault("stream_cut", start_ns, start_ns + round(scripted.closed_for_s * NS_PER_S))
    return Fault.from_now_on(scripted, start_ns)


def _background(start_ns: int, rates: FaultRates, chance: ChanceSource) -> Iterator[Fault]:
    shares: tuple[tuple[FaultKind, float, float], ...] = (
        ("rest_error", rates.rest_error_share, 0.0),
        ("rest_reset", rates.rest_reset_share, 0.0),
        ("rest_latency", rates.rest_latency_share, rates.rest_latency_s),
        ("malformed", rates.malformed_share, 0.0),
        ("truncated", rates.truncated_share, 0.0),
        ("duplicated", rates.duplicated_share, 0.0),
        ("wrong_count", rates.wrong_count_share, 0.0),
    )
    for kind, share, by_s in shares:
        if share:
            yield Fault(kind, start_ns, start_ns + _DAY_NS, share, by_s)
    per_hour: tuple[tuple[FaultKind, float], ...] = (
        ("stream_cut", rates.stream_cuts_per_hour),
        ("half_open", rates.half_opens_per_hour),
        ("token_revoked", rates.tokens_revoked_per_hour),
        ("approval_revoked", rates.approvals_revoked_per_hour),
    )
    for kind, rate in per_hour:
        for moment_ns in _moments_ns(start_ns, rate, kind, chance):
            yield Fault(kind, moment_ns, moment_ns)


def _moments_ns(start_ns: int, per_hour: float, kind: FaultKind, chance: ChanceSource) -> Iterator[int]:
    """Moments of a day that come independently of each other, so many an hour on average."""
    if not per_hour:
        return
    generator = chance(f"background/{kind}")
    moment_ns = start_ns + int(generator.expovariate(per_hour) * 3_600 * NS_PER_S)
    while moment_ns < start_ns + _DAY_NS:
        yield moment_ns
        moment_ns += int(generator.expovariate(per_hour) * 3_600 * NS_PER_S)
