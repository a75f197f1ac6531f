"""The simulated broker: three listeners on loopback (REST, stream, master files) around one market.

simulator = Simulator(settings, clock)
await simulator.start()     # rest_url, stream_url and files_url are known from here on
await simulator.stop()
"""

import asyncio
from pathlib import Path
from typing import Final

from aiohttp import web

from observer.clock import Clock
from observer.simulator.chance import seeded_chance
from observer.simulator.faults import Faults, second_of_day
from observer.simulator.files import (
    files_application,
    instruments_in,
    made_up_contents,
    published_files,
    real_contents,
)
from observer.simulator.gate import Gate
from observer.simulator.instruments import made_up_instruments
from observer.simulator.market import Market
from observer.simulator.rest import rest_application
from observer.simulator.settings import SimulatorSettings
from observer.simulator.stream import StreamSide
from observer.simulator.tally import SimulatorCounters, Tally

_HOST: Final = "127.0.0.1"
_STOP_TIMEOUT_S: Final = 2.0


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
        self._settings = settings
        self._tally = Tally()
        self.market, contents = _market_and_contents(settings)
        faults = Faults.of_script(settings.session_date, settings.drops, settings.listing_appears_at)
        gate = Gate(settings.seed, settings.app_keys, settings.rest_limit_per_s)
        self._stream = StreamSide(
            self.market,
            gate,
            faults,
            clock,
            self._tally,
            registrations_limit=settings.registrations_limit,
            pingpong_interval_s=settings.pingpong_interval_s,
        )
        files = published_files(contents, self.market, faults)
        self._rest_application = rest_application(self.market, gate, clock.now_ns, self._tally)
        self._files_application = files_application(files, faults, clock.now_ns, self._tally)
        self._runners: list[web.AppRunner] = []
        self._outages: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make every symbol's day, then listen. Raises OSError when a port is taken."""
        for instrument in self.market.instruments:
            self.market.tape(instrument.symbol)
        settings = self._settings
        self.rest_url = f"http://{await self._listen(self._rest_application, settings.rest_port)}"
        self.files_url = f"http://{await self._listen(self._files_application, settings.files_port)}"
        self.stream_url = f"ws://{await self._listen(self._stream.application(), settings.stream_port)}"
        self._outages = asyncio.create_task(self._stream.run_outages())

    async def stop(self) -> None:
        """Close the streams, then the listeners."""
        if self._outages is not None:
            self._outages.cancel()
            await asyncio.gather(self._outages, return_exceptions=True)
        await self._stream.close()
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    def counters(self) -> SimulatorCounters:
        """What happened so far."""
        return self._tally.read()

    async def _listen(self, application: web.Application, port: int) -> str:
        """Serve on loopback; returns host:port."""
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_STOP_TIMEOUT_S)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, _HOST, port).start()
        return f"{_HOST}:{runner.addresses[0][1]}"


def _market_and_contents(settings: SimulatorSettings) -> tuple[Market, dict[str, bytes]]:
    """The market, and its unpacked master files by name."""
    chance = seeded_chance(settings.seed)
    if settings.data:
        contents = real_contents(Path(settings.data))
        instruments = instruments_in(contents)
    else:
        instruments = made_up_instruments(settings.symbols, settings.session_date, chance)
        contents = made_up_contents(instruments)
    opens_s = second_of_day(settings.opens_at)
    return Market(settings.seed, settings.session_date, instruments, chance, opens_s), contents
