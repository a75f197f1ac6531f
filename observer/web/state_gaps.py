"""The day's gaps by line, for the strips. Pure."""

from collections.abc import Callable, Sequence
from typing import Final, Literal

from bus.events import (
    GapDetected,
    GapEmpty,
    GapMeasure,
    GapOpened,
    GapRecovered,
    GapTimesMeasured,
    GapUnrecoverable,
)
from observer.base.units import NS_PER_MINUTE
from observer.web.model import Gaps, GapSpan, Strip

GapState = Literal["open", "recovered", "empty", "lost"]
GapEvent = GapOpened | GapEmpty | GapDetected | GapRecovered | GapUnrecoverable | GapTimesMeasured

STRIPS_MAX: Final = 100
SPANS_MAX: Final = 50  # of a strip
_WORST: Final[tuple[GapState, ...]] = ("open", "lost")


class GapFold:
    """Folds a day's gaps; an event that comes twice changes nothing. `begins_ns` is the day's local midnight."""

    def __init__(self, session_date: str, begins_ns: int) -> None:
        self._session_date = session_date
        self._begins_ns = begins_ns
        self._spans: dict[str, tuple[str, int, int | None]] = {}  # by id: line, begin, end; None while it lasts
        self._outcomes: dict[str, GapState] = {}  # by id; an outcome may come before its gap is read again
        self._times: dict[GapMeasure, float] = {}

    def apply(self, event: GapEvent) -> None:
        """Apply the next event; those of other days are ignored."""
        match event:
            case GapRecovered():
                self._outcomes[event.gap_id] = "recovered"
            case GapUnrecoverable():
                self._outcomes[event.gap_id] = "lost"
            case _ if event.session_date != self._session_date:
                return
            case GapOpened():
                self._spans.setdefault(event.gap_id, (event.symbol, event.from_ns, None))
            case GapDetected():
                self._spans[event.gap_id] = event.symbol, event.from_ns, event.to_ns
            case GapEmpty():
                self._spans[event.gap_id] = event.symbol, event.from_ns, event.to_ns
                self._outcomes[event.gap_id] = "empty"
            case GapTimesMeasured():
                self._times[event.measure] = event.p95_s

    def gaps(self, now_ns: int, known_ms: int, name_of: Callable[[str], str]) -> Gaps:
        """The gaps at this moment (UTC ns), until which those last that are open."""
        by_line: dict[str, list[GapSpan]] = {}
        counts: dict[GapState, int] = dict.fromkeys(("open", "recovered", "empty", "lost"), 0)
        for gap_id, (line, begin_ns, end_ns) in self._spans.items():
            state = self._outcomes.get(gap_id, "open")
            counts[state] += 1
            end_minute = self._minute(max(begin_ns, now_ns if end_ns is None else end_ns))
            by_line.setdefault(line, []).append(GapSpan(self._minute(begin_ns), end_minute, state))
        return Gaps(
            known_ms=known_ms,
            open=counts["open"],
            recovered=counts["recovered"],
            lost=counts["lost"],
            detection_p95_s=self._times.get("detection"),
            closing_p95_s=self._times.get("closing"),
            strips=_strips(by_line, name_of),
        )

    def _minute(self, moment_ns: int) -> float:
        return round((moment_ns - self._begins_ns) / NS_PER_MINUTE, 2)


def _strips(by_line: dict[str, list[GapSpan]], name_of: Callable[[str], str]) -> Sequence[Strip]:
    """The lines, those with open or lost gaps first, then those with the most gaps; each with its newest spans."""

    def rank(line: str) -> tuple[int, int, str]:
        spans = by_line[line]
        return -sum(span.state in _WORST for span in spans), -len(spans), line

    chosen = sorted(by_line, key=rank)[:STRIPS_MAX]
    newest = {line: sorted(by_line[line], key=lambda span: span.begin_minute)[-SPANS_MAX:] for line in chosen}
    return [Strip(line, name_of(line), spans) for line, spans in newest.items()]
