"""A quality report never claims more than the day's data: one symbol in one slot, from tape to report.

The test plays the day with Track B's gap detector, stale detector and judge. Time is in nanoseconds from the day's
begin; a trade arrives at once, a snapshot is as old as the sweep is slow.
"""

from bisect import bisect_right
from itertools import accumulate
from typing import Literal

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from bus.events import GapDetected, Trade
from observer.gaps.detector import GapDetector, Mark
from observer.gaps.intervals import Interval, VolumeObservation, with_observed
from observer.gaps.reconciliation import Piece, SymbolDay, reconcile
from observer.gaps.stale import StaleDetector
from tests.reach import reaches

SYMBOL, DAY = "005930", "2026-11-18"
FROM, CLOSE, LAST = 200, 900, 1_000  # a slot is given, Track B stops, the market closes
SWEEPS = range(0, LAST, 90)  # one of them is under way when the slot is given

Kind = Literal["stale", "cut", "dead", "off"]


class Fault(msgspec.Struct, frozen=True):
    """An interval without the symbol's trades, and its cause: the connection is up but brings nothing ("stale"), it is
    down ("cut"), Track B is down ("dead"), the whole system is down until the next day ("off").
    """

    kind: Kind
    from_ns: int
    until_ns: int

    def holds(self, at_ns):
        return self.from_ns <= at_ns and (at_ns < self.until_ns or self.kind == "off")


class Scene(msgspec.Struct, frozen=True):
    """A tape (times and volumes), what goes wrong, the end of the symbol's slot, and the volume observations."""

    tape: dict[int, int]
    faults: tuple[Fault, ...] = ()
    leaves_ns: int = CLOSE
    swept_before: bool = True
    sweep_takes_ns: int = 10
    has_bar: bool = True
    fills: bool = False


class Played:
    """The day as it went."""

    def __init__(self, scene):
        self.scene = scene
        self._totals = list(accumulate(scene.tape[at_ns] for at_ns in sorted(scene.tape)))
        self.pieces: list[Piece] = []
        self.gaps: list[GapDetected] = []
        self.observations: list[VolumeObservation] = []
        self.has_end = True
        self._begin_process()

    def volume_at(self, at_ns):
        before = bisect_right(sorted(self.scene.tape), at_ns)
        return float(self._totals[before - 1]) if before else 0.0

    def is_in_a_gap(self, at_ns):
        return any(gap.after_volume < self.volume_at(at_ns) <= gap.before_volume for gap in self.gaps)

    def fault(self, at_ns):
        return next((fault.kind for fault in self.scene.faults if fault.holds(at_ns)), None)

    def _begin_process(self):
        self._detector, self._stale_detector, self._swept = GapDetector(), StaleDetector(), None

    def play(self):
        """Every nanosecond of the stream, and its end."""
        before: Kind | None = None
        for at_ns in range(FROM, self.scene.leaves_ns + 1):
            now = self.fault(at_ns)
            if at_ns == FROM and now not in ("dead", "off"):
                self._register(at_ns)
            elif now != before:
                self._changed(before, now, at_ns)
            before = now
            if now is None and at_ns in self.scene.tape:
                self._take(at_ns)
            if now != "off":
                self._see_sweeps(at_ns, is_there=now != "dead")
        self._end(before)

    def _register(self, at_ns):
        seen = self._snapshot_before(at_ns)
        self._detector.start(SYMBOL, seen)
        if seen is None:
            asked = self.volume_at(at_ns)
            self._detector.start(SYMBOL, self._mark(asked, at_ns))
            self._stale_detector.subscribed_anew(SYMBOL, asked)
            self.observations.append(VolumeObservation(at_ns + 1, asked, at_ns))

    def _changed(self, before, now, at_ns):
        if before == "dead" and now != "off":
            self._take_over()
            self._detector.start(SYMBOL)
        if now in ("dead", "off"):
            self._begin_process()
        elif now == "cut" or before == "cut":
            self._detector.interrupted(SYMBOL, "reconnect")
            self._stale_detector.subscribed_anew(SYMBOL)

    def _take_over(self):
        """The stored volume, or the volume known before the slot assignment."""
        seen = self._snapshot_before(FROM)
        marks = [self._mark(piece.cumulative_volume, piece.received_ns) for piece in self.pieces[-1:]]
        self._detector.resume(marks or ([] if seen is None else [seen]))

    def _snapshot_before(self, at_ns):
        asked = [each for each in SWEEPS if each + self.scene.sweep_takes_ns < at_ns] if self.scene.swept_before else []
        return self._mark(self.volume_at(asked[-1]), asked[-1]) if asked else None

    def _mark(self, volume, at_ns):
        return Mark(SYMBOL, DAY, volume, None, at_ns)

    def _take(self, at_ns):
        volume, total = float(self.scene.tape[at_ns]), self.volume_at(at_ns)
        trade = Trade("kis", SYMBOL, DAY, at_ns, at_ns, 1.0, volume, total, None, "buy", None, None, None)
        seen = self._detector.observe(trade)
        assert seen != "duplicate"
        self.gaps += [seen] if isinstance(seen, GapDetected) else []
        self.pieces.append(Piece(at_ns, volume, total))

    def _see_sweeps(self, at_ns, *, is_there):
        asked_ns = at_ns - self.scene.sweep_takes_ns
        if asked_ns not in SWEEPS:
            return
        volume = self.volume_at(asked_ns + self.scene.sweep_takes_ns // 2)
        self.observations.append(VolumeObservation(at_ns, volume, asked_ns))
        if is_there:
            self._swept = volume
            if self._stale_detector.after_sweep({SYMBOL: volume}, self._detector.reached):
                self._detector.interrupted(SYMBOL, "moved")
                self._stale_detector.subscribed_anew(SYMBOL)

    def _end(self, last):
        left_ns = self.scene.leaves_ns
        if last in ("dead", "off"):
            self.has_end = False
            self._begin_process()
            self._take_over()
            self._detector.start(SYMBOL)
            left_ns = LAST
        elif SYMBOL not in self._detector.unsettled():
            reported = self.volume_at(left_ns) if left_ns == CLOSE else self._swept
            if reported is not None and self._stale_detector.is_behind(
                SYMBOL, reported, self._detector.reached(SYMBOL)
            ):
                self._detector.interrupted(SYMBOL, "volume_mismatch")
        if SYMBOL in self._detector.unsettled() and (self.has_end or last == "dead" or self.scene.has_bar):
            volume = self.volume_at(left_ns)
            self.observations.append(VolumeObservation(left_ns, volume, left_ns))
            gap = self._detector.settle(SYMBOL, volume, left_ns, "kis")
            self.gaps += [gap] if gap is not None else []

    def judged(self):
        filled = [
            Piece(LAST, float(volume), total, gap_id=gap.gap_id)
            for gap in self.gaps
            for at_ns, volume in self.scene.tape.items()
            if self.scene.fills and gap.after_volume < (total := self.volume_at(at_ns)) <= gap.before_volume
        ]
        interval = Interval(FROM, self.scene.leaves_ns, has_end=self.has_end)
        at_most = self.volume_at(LAST) if self.scene.has_bar else None
        return reconcile(
            SymbolDay(
                provider="kis", symbol=SYMBOL, session_date=DAY, pieces=[*self.pieces, *filled], gaps=self.gaps,
                intervals=[with_observed(interval, [FROM], self.observations, at_most)],
                day_volume=at_most,
            ),
            LAST,
        )[1]  # fmt: skip

    def missed(self):
        """Times of the detectable trades that were not streamed while the symbol had its slot. Not detectable: trades
        between the subscription and the first sweep or trade after it, and between the last sweep and the release.
        """
        came = {piece.received_ns for piece in self.pieces}
        received = [piece.received_ns - 1 for piece in self.pieces[:1]]
        received += [
            observation.received_ns
            for observation in self.observations
            if observation.began_ns is not None and observation.began_ns >= FROM
        ]
        from_ns = min(received, default=LAST)
        until_ns = self.scene.leaves_ns
        if self.has_end and until_ns != CLOSE:
            until_ns = max(
                (observation.began_ns or 0 for observation in self.observations if observation.received_ns <= until_ns),
                default=0,
            )
        return [at_ns for at_ns in sorted(self.scene.tape) if from_ns < at_ns <= until_ns and at_ns not in came]


def played(scene):
    day = Played(scene)
    day.play()
    return day, day.judged()


@st.composite
def scenes(draw, kinds=("stale", "cut", "dead", "off")):
    span = draw(st.sampled_from([(1, LAST), (FROM + 1, CLOSE - 1)]))  # of the second, every trade can have come
    times = draw(st.lists(st.integers(*span), min_size=draw(st.integers(0, 20)), max_size=40, unique=True))
    edges = sorted(draw(st.lists(st.integers(FROM, CLOSE + 50), max_size=8, unique=True)))
    faults = tuple(
        Fault(draw(st.sampled_from(kinds)), *each) for each in zip(edges[::2], edges[1::2], strict=False) if kinds
    )
    leaves_ns = draw(st.sampled_from([CLOSE, CLOSE, 640, 450]))
    absent = any(fault.holds(leaves_ns) for fault in faults if fault.kind in ("dead", "off"))
    return Scene(
        tape={at_ns: draw(st.integers(1, 99)) for at_ns in sorted(times)},
        faults=faults,
        leaves_ns=CLOSE if absent else leaves_ns,  # Track B is down and releases no slot
        swept_before=draw(st.booleans()),
        sweep_takes_ns=draw(st.sampled_from([1, 10, 40])),
        has_bar=draw(st.booleans()),
        fills=draw(st.booleans()),
    )


OFF = Scene({250: 10, 300: 20, 700: 30}, (Fault("off", 500, 501),), has_bar=False)
STALE_TO_THE_END = Scene({250: 10, 300: 20, 850: 30}, (Fault("stale", 310, 950),))
STALE_TO_THE_FIRST = Scene(
    {250: 10, 271: 20, 272: 30}, (Fault("stale", 201, 272),), swept_before=False, sweep_takes_ns=1
)


@reaches(
    complete_nothing_missed=5,
    degraded_something_missed=17,
    recovered_something_missed=1,
    fault_stale=27,
    fault_cut=7,
    fault_dead=14,
    fault_off=13,
)
@given(scenes())
@example(OFF)
@example(STALE_TO_THE_FIRST)
@example(msgspec.structs.replace(OFF, has_bar=True))
@example(STALE_TO_THE_END)
@example(msgspec.structs.replace(STALE_TO_THE_END, tape={250: 10, 630: 20}, leaves_ns=640, sweep_takes_ns=1))
def test_a_complete_day_misses_nothing_and_missing_volume_is_in_a_gap_or_reported(reach, scene):
    day, quality = played(scene)
    missed = day.missed()
    reach.count(f"{quality.slots_quality}_{'something' if missed else 'nothing'}_missed")
    for fault in scene.faults:
        reach.count(f"fault_{fault.kind}")
    filled = scene.fills * sum(scene.tape[at_ns] for at_ns in missed if day.is_in_a_gap(at_ns))
    unseen = "the end is unobserved" in quality.detail or "before an unobserved end" in quality.detail
    if missed:
        assert quality.slots_quality != "complete"
    if not unseen:
        assert quality.missing_volume >= sum(scene.tape[at_ns] for at_ns in missed) - filled
    came = {piece.received_ns for piece in day.pieces}
    assert quality.missing_volume <= sum(volume for at_ns, volume in scene.tape.items() if at_ns not in came)
    if quality.slots_quality == "recovered":
        assert all(day.is_in_a_gap(at_ns) for at_ns in missed)


@reaches(bounded_and_lacking=6, filled=1, unknown=18, whole=1)
@given(scenes())
@example(OFF)
@example(STALE_TO_THE_END)
def test_no_more_is_missing_in_the_slot_than_the_report_says_at_most(reach, scene):
    day, quality = played(scene)
    came = {piece.received_ns for piece in day.pieces}
    lacking = [at_ns for at_ns in scene.tape if FROM < at_ns <= scene.leaves_ns and at_ns not in came]
    filled = [at_ns for at_ns in lacking if scene.fills and day.is_in_a_gap(at_ns)]
    reach.count("unknown" if quality.missing_at_most is None else "bounded_and_lacking" if lacking else "bounded")
    reach.count("filled", bool(filled))
    reach.count("whole", quality.day_quality == "whole")
    if quality.missing_at_most is not None:
        assert quality.missing_at_most >= sum(scene.tape[at_ns] for at_ns in set(lacking) - set(filled))
    if quality.day_quality == "whole":
        assert all(at_ns in came or (scene.fills and day.is_in_a_gap(at_ns)) for at_ns in scene.tape)


@reaches(complete_with_trades=24)
@given(scenes(kinds=()))
def test_a_day_without_faults_is_complete_or_silent_and_requests_nothing(reach, scene):
    day, quality = played(scene)
    assert day.gaps == []
    assert quality.missing_volume == 0
    assert quality.slots_quality == "complete" or day.pieces == []
    reach.count("complete_with_trades", quality.slots_quality == "complete" and bool(day.pieces))
