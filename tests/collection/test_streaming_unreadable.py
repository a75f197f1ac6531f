"""A stream of garbage leaves some rows, two alerts and exact counts, whatever comes."""

import asyncio

from bus.codec import decode_events, unpack
from bus.events import AlertRaised, AlertResolved, InputQuarantined
from bus.outbox import Outbox
from bus.producer import Producer
from bus.segments import Packed
from observer.base.clock import ManualClock
from observer.base.errors import StoreError
from observer.base.units import NS_PER_S
from observer.brokers.quarantine import DAY_BYTES_MAX
from observer.collection.earlier import count_quarantine
from observer.collection.unreadable import QUARANTINE_FULL, QUARANTINE_UNCOUNTED, UnreadableInputs
from observer.monitoring.alerts.process import Alerts
from observer.store.reader import StoreReader

NINE_NS = 1_795_046_400 * NS_PER_S
FRAME = b"0|H0STCNT0|001|" + b"x" * 100_000


class Scene:
    def __init__(self, folder, day_bytes_max):
        self.clock = ManualClock(NINE_NS)
        self.outbox = Outbox(folder / "outbox", "test", "1" * 32)
        self.producer = Producer(self.outbox, f"ipc://{folder}/no-writer")
        self.alerts = Alerts(self.clock, "track-b", self.producer.publish)
        self.inputs = UnreadableInputs(self.producer, self.alerts, self.clock, day_bytes_max)

    def take(self, count, source="kis.trades"):
        for _ in range(count):
            self.inputs.take(InputQuarantined(source, self.clock.now_ns(), "no record", FRAME))

    def published(self):
        """All published events, from the outbox."""
        self.producer.flush()
        sequence = 1
        while sequence <= self.producer.published:
            packed = self.outbox.batch_at(self.outbox.stream, sequence)
            assert isinstance(packed, Packed)
            yield from decode_events(unpack(packed.content))
            sequence = packed.last_sequence + 1


def played(folder, play, day_bytes_max=DAY_BYTES_MAX):
    async def scenario():
        scene = Scene(folder, day_bytes_max)
        await play(scene)
        events = list(scene.published())
        scene.producer.close()
        return events

    return asyncio.run(scenario())


def test_thousands_of_unreadable_frames_are_ten_rows_a_count_and_one_alert(tmp_path):
    async def play(scene):
        scene.take(5_000)
        for _ in range(4):
            await scene.clock.advance(61)
            scene.inputs.state_counts()

    events = played(tmp_path, play)
    rows = [event for event in events if isinstance(event, InputQuarantined)]
    assert [row.reason for row in rows[10:]] == [f"4,990 more with {4_990 * len(FRAME):,} bytes, only counted"]
    assert sum(len(row.content) for row in rows) == 10 * 4_096
    assert [event.identity for event in events if isinstance(event, AlertRaised)] == ["unreadable:kis.trades"]
    assert [event.identity for event in events if isinstance(event, AlertResolved)] == ["unreadable:kis.trades"]
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 100_000


def test_a_flood_of_minutes_is_one_alert(tmp_path):
    async def play(scene):
        for _ in range(30):
            scene.take(20)
            scene.inputs.state_counts()
            await scene.clock.advance(10)
            scene.inputs.state_counts()

    events = played(tmp_path, play)
    assert [event.identity for event in events if isinstance(event, AlertRaised)] == ["unreadable:kis.trades"]
    assert not any(isinstance(event, AlertResolved) for event in events)


def test_a_restart_does_not_begin_the_days_bound_anew(tmp_path):
    async def play(scene):
        scene.inputs.resume(14 * 4_096)
        scene.take(20)
        scene.inputs.finish()

    events = played(tmp_path, play, day_bytes_max=15 * 4_096)
    rows = [event for event in events if isinstance(event, InputQuarantined)]
    assert [bool(row.content) for row in rows] == [True, False]
    assert "input_quarantine_full" in {event.identity for event in events if isinstance(event, AlertRaised)}


def test_a_full_day_raises_an_alert_and_loses_no_count(tmp_path):
    async def play(scene):
        for _ in range(5):
            scene.take(20)
            await scene.clock.advance(61)
        scene.inputs.finish()

    events = played(tmp_path, play, day_bytes_max=15 * 4_096)
    rows = [event for event in events if isinstance(event, InputQuarantined)]
    counted = sum(int(row.reason.split(" ")[0]) for row in rows if not row.content)
    assert counted + sum(bool(row.content) for row in rows) == 100
    assert sum(len(row.content) for row in rows) == 15 * 4_096
    [full] = [event for event in events if isinstance(event, AlertRaised) and event.identity == "input_quarantine_full"]
    assert full.severity == "critical"
    assert "track_b.quarantine_bytes_max" in full.text


class SilentDatabase(StoreReader):
    """A database that answers only the third question: this many bytes."""

    def __init__(self, stored_bytes):
        self._stored_bytes = stored_bytes
        self.questions = []

    def quarantined_input_bytes(self, since_ns, until_ns):
        self.questions.append((since_ns, until_ns))
        if len(self.questions) < 3:
            raise StoreError("the database does not answer")
        return self._stored_bytes


def test_the_quarantine_of_an_earlier_process_is_an_alert_until_the_database_says_how_large_it_is(
    tmp_path,
):
    database = SilentDatabase(stored_bytes=1_000_000)

    async def play(scene):
        await count_quarantine(database, scene.inputs, scene.alerts, NINE_NS, again_s=0.0)
        scene.take(1)

    events = played(tmp_path, play, day_bytes_max=1_000_000)
    assert database.questions == [(NINE_NS - 9 * 3600 * NS_PER_S, NINE_NS)] * 3
    raised = [event.identity for event in events if isinstance(event, AlertRaised)]
    assert (raised[0], raised[-1]) == (QUARANTINE_UNCOUNTED, QUARANTINE_FULL)
    assert [event.identity for event in events if isinstance(event, AlertResolved)] == [QUARANTINE_UNCOUNTED]
    assert not [event for event in events if isinstance(event, InputQuarantined) and event.content]
