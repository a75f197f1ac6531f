"""What goes wrong on the day, and when: one struct of script, asked with a moment. Pure."""

from typing import Self

import msgspec

from observer.simulator.tape import NS_PER_S, midnight_ns


class ScriptedDrop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At the market time `at` (HH:MM:SS KST) every stream connection is cut, without a close frame; new ones are
    refused for `closed_for_s` market seconds.
    """

    at: str
    closed_for_s: float = 0.0


class StreamOutage(msgspec.Struct, frozen=True):
    """From `start_ns` (inclusive) to `end_ns` (exclusive) there is no stream."""

    start_ns: int
    end_ns: int


class Faults(msgspec.Struct, frozen=True):
    """The script of one session day, in UTC nanoseconds of market time, in the order of time."""

    outages: tuple[StreamOutage, ...]
    listing_appears_ns: int | None

    @classmethod
    def of_script(cls, session_date: str, drops: tuple[ScriptedDrop, ...], listing_appears_at: str) -> Self:
        """Read the script of a day; an empty `listing_appears_at` (HH:MM) means that the listing is there all day.

        Raises:
            ValueError: a time is not HH:MM or HH:MM:SS.
        """
        outages = [_outage(session_date, drop) for drop in drops]
        outages.sort(key=lambda outage: outage.start_ns)
        appears_ns = _moment_ns(session_date, listing_appears_at) if listing_appears_at else None
        return cls(tuple(outages), appears_ns)

    def stream_is_closed(self, now_ns: int) -> bool:
        """Whether a new stream connection is refused."""
        return any(outage.start_ns <= now_ns < outage.end_ns for outage in self.outages)

    def listing_is_shown(self, now_ns: int) -> bool:
        """Whether the master file has the new listing in it."""
        return self.listing_appears_ns is None or now_ns >= self.listing_appears_ns


def _outage(session_date: str, drop: ScriptedDrop) -> StreamOutage:
    start_ns = _moment_ns(session_date, drop.at)
    return StreamOutage(start_ns, start_ns + round(drop.closed_for_s * NS_PER_S))


def second_of_day(text: str) -> int:
    """HH:MM or HH:MM:SS as seconds after midnight. Raises ValueError when it is neither."""
    hour, minute, second = ([int(part) for part in text.split(":")] + [0])[:3]
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        raise ValueError(f"{text!r} is not a time of day HH:MM or HH:MM:SS")
    return hour * 3600 + minute * 60 + second


def _moment_ns(session_date: str, text: str) -> int:
    """The UTC nanoseconds of HH:MM or HH:MM:SS KST of a day."""
    return midnight_ns(session_date) + second_of_day(text) * NS_PER_S
