"""The simulated broker: three listeners on loopback (REST, stream, master files) around one market.

simulator = Simulator(settings, clock)
await simulator.start()     # rest_url, stream_url and files_url are known from here on
await simulator.stop()
"""

import asyncio
from pathlib import Path

from observer.clock import Clock
from observer.simulator.captured import CapturedFrames, captured_frames
from observer.simulator.chance import seeded_chance
from observer.simulator.control import add_control
from observer.simulator.faults import Fault, FaultRequest, Faults, ScriptedDrop, ScriptedFault, second_of_day
from observer.simulator.files import (
    files_application,
    instruments_in,
    made_up_contents,
    published_files,
    real_contents,
)
from observer.simulator.gate import Gate
from observer.simulator.instruments import made_up_instruments
from observer.simulator.ledger import Ledger, Registration
from observer.simulator.listener import Listener
from observer.simulator.market import Market
from observer.simulator.misbehaviour import Misbehaviour
from observer.simulator.rest import rest_application
from observer.simulator.rest_faults import RestMisbehaviour
from observer.simulator.script import FaultScript
from observer.simulator.settings import SimulatorSettings
from observer.simulator.stream import StreamSide
from observer.simulator.tally import SimulatorCounters, Tally
from observer.simulator.timelines import Timelines


def market_of(settings: SimulatorSettings) -> Market:
    """The market of these settings, trade for trade the one that a simulator with them serves.

    Raises:
        DataFileError: the folder of samples has no KOSPI or no KOSDAQ master file.
        ValueError: the session date is no ISO date, or so many symbols cannot be made up.
    """
    return _market_and_contents(settings)[0]


class Simulator:
    """A broker to practise on. Start it once, stop it once."""

    def __init__(self, settings: SimulatorSettings, clock: Clock) -> None:
        """Make the market.

        Raises:
            DataFileError, ValueError: as `market_of`, and for a script with a time that is none.
        """
        self.rest_url = ""
        self.stream_url = ""
        self.files_url = ""
        self._tally = Tally()
        self.market, contents = _market_and_contents(settings)
        self._faults = _faults_of(settings)
        self._gate = gate = Gate(
            settings.seed, settings.app_keys, settings.rest_limit_per_s, settings.rest_limit_per_minute
        )
        misbehaviour = Misbehaviour(self._faults.script, seeded_chance(settings.seed), self._tally)
        self._ledger = Ledger(self.market)
        timelines = Timelines(self.market, trade_fields=settings.trade_fields, book_fields=settings.book_fields)
        self._stream = StreamSide(
            timelines, _captured_of(settings), gate, misbehaviour, self._ledger, clock, self._tally, settings
        )
        files = published_files(contents, self.market, self._faults)
        rest = rest_application(self.market, gate, clock.now_ns, self._tally)
        rest.middlewares.insert(0, RestMisbehaviour(misbehaviour, clock.now_ns).middleware)
        self._rest = Listener(rest, settings.rest_port)
        self._files = Listener(files_application(files, self._faults, clock.now_ns, self._tally), settings.files_port)
        self._streams = Listener(self._stream.application(), settings.stream_port)
        self._script = FaultScript(
            misbehaviour, clock, self._tally, gate=gate, stream=self._stream, rest_listener=self._rest
        )
        add_control(rest, self._script.begin, self.counters, self._ledger)
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make every symbol's day, then listen. Raises OSError when a port is taken; then nothing is left open."""
        for instrument in self.market.instruments:
            self.market.tape(instrument.symbol)
        try:
            self.rest_url = f"http://{await self._rest.start()}"
            self.files_url = f"http://{await self._files.start()}"
            self.stream_url = f"ws://{await self._streams.start()}"
        except OSError:
            await self.stop()
            raise
        self._running = asyncio.create_task(self._script.run(self._faults.script))

    async def stop(self) -> None:
        """Close the streams, then the listeners."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self._script.stop()
        await self._stream.close()
        for listener in (self._rest, self._files, self._streams):
            await listener.stop()

    def begin_fault(self, request: FaultRequest) -> Fault:
        """Let a fault happen now, as POST /simulator/faults does."""
        return self._script.begin(request)

    def registrations(self) -> tuple[Registration, ...]:
        """What was offered to whom and what became of it on the wire, so far."""
        return self._ledger.registrations()

    def counters(self) -> SimulatorCounters:
        """What happened so far."""
        return self._tally.read(self._gate.busiest_seconds)


def _captured_of(settings: SimulatorSettings) -> CapturedFrames:
    return captured_frames(Path(settings.frames_file).read_bytes()) if settings.frames_file else {}


def _faults_of(settings: SimulatorSettings) -> Faults:
    scripted: tuple[ScriptedFault | ScriptedDrop, ...] = (*settings.drops, *settings.faults)
    faults = Faults.of_script(settings.session_date, scripted, settings.listing_appears_at)
    return faults.with_background(settings.session_date, settings.fault_rates, seeded_chance(settings.seed))


def _market_and_contents(settings: SimulatorSettings) -> tuple[Market, dict[str, bytes]]:
    """The market, and its unpacked master files by name."""
    chance = seeded_chance(settings.seed)
    if settings.data:
        contents = real_contents(Path(settings.data))
        instruments = instruments_in(contents)
    else:
        instruments = made_up_instruments(settings.symbols, settings.session_date, chance)
        contents = made_up_contents(instruments, settings.session_date, chance)
    opens_s = second_of_day(settings.opens_at)
    market = Market(
        settings.seed,
        settings.session_date,
        instruments,
        chance,
        opens_s,
        settings.trades_times,
        settings.history_days,
    )
    return market, contents
