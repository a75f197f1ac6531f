"""The simulated broker: three listeners on loopback (REST, stream, master files) around one market.

simulator = Simulator(settings, clock)
await simulator.start()     # rest_url, stream_url and files_url are known from here on
await simulator.stop()

Beside KIS's calls the REST listener has the simulator's own; no fault but `rest_refused` strikes them, and none is for
a page in a browser (403):

POST /simulator/faults         {"kind": "half_open", "for_s": 30}   ->   the fault with its moments
GET  /simulator/counters                                            ->   Counters
GET  /simulator/registrations                                       ->   the ledger of offered and sent trades
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, get_args
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from observer.base.clock import Clock
from observer.simulator.counters import Counters
from observer.simulator.faults import (
    Fault,
    FaultInjector,
    FaultRequest,
    Faults,
    ScriptedDrop,
    ScriptedFault,
    second_of_day,
)
from observer.simulator.kis.authentication import CALLS_PER_S, PAPER_CALLS_PER_S, Authentication
from observer.simulator.kis.fault_injection import (
    CONTROL_PATH,
    FaultScript,
    Handler,
    LoopbackServer,
    RestFaultInjector,
)
from observer.simulator.kis.files import (
    files_application,
    instruments_in,
    made_up_contents,
    published_files,
    real_contents,
)
from observer.simulator.kis.forgery import Forgery
from observer.simulator.kis.rest import rest_application
from observer.simulator.kis.stream import StreamSide
from observer.simulator.kis.timelines import CapturedFrames, Timelines, captured_frames
from observer.simulator.kis.well_known import WELL_KNOWN
from observer.simulator.kis.wire import Ledger, Registration
from observer.simulator.market.instruments import RngSource, made_up_instruments
from observer.simulator.market.market import Market, View
from observer.simulator.market.rng import seeded_rng
from observer.simulator.settings import SimulatorSettings

_LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost")


def market_of(settings: SimulatorSettings) -> Market:
    """The market of these settings, trade for trade the one that a simulator with them serves.

    Raises:
        DataFileError: the folder of samples has no KOSPI or no KOSDAQ master file.
        ValueError: the session date is no ISO date, or so many symbols cannot be made up.
    """
    return made_up(settings).market


class MadeUp(NamedTuple):
    """The data shared by the simulators of one day: the market, and its unpacked master files by name."""

    market: Market
    contents: dict[str, bytes]


class Simulator:
    """A simulated broker. Start it once, stop it once."""

    def __init__(self, settings: SimulatorSettings, clock: Clock, made: MadeUp | None = None) -> None:
        """Make the market, unless there is one already that was `made_up` of such settings.

        Raises:
            DataFileError, ValueError: as `market_of`, and for a script with a time that is none.
        """
        self.rest_url = ""
        self.stream_url = ""
        self.files_url = ""
        self._counters = Counters()
        self.market, contents = made or made_up(settings)
        self._faults = _faults_of(settings)
        self._authentication = authentication = Authentication(
            settings.seed,
            settings.app_keys,
            settings.rest_limit_per_s or (PAPER_CALLS_PER_S if settings.paper else CALLS_PER_S),
            settings.rest_limit_per_minute,
        )
        fault_injector = FaultInjector(self._faults.script, seeded_rng(settings.seed), self._counters)
        self._ledger = Ledger(self.market)
        timelines = Timelines(
            self.market,
            trade_fields=settings.trade_fields,
            book_fields=settings.book_fields,
            state_fields=settings.state_fields,
            expected_prices=settings.expected_prices,
        )
        self._stream = StreamSide(
            timelines,
            _captured_of(settings),
            authentication,
            fault_injector,
            self._ledger,
            clock,
            self._counters,
            settings,
        )
        files = published_files(contents, self.market, self._faults)
        rest = rest_application(self.market, authentication, clock.now_ns, self._counters, settings)
        rest.middlewares.insert(0, RestFaultInjector(fault_injector, clock.now_ns).middleware)
        self._rest = LoopbackServer(rest, settings.rest_port)
        self._files = LoopbackServer(
            files_application(files, self._faults, clock.now_ns, self._counters), settings.files_port
        )
        self._streams = LoopbackServer(self._stream.application(), settings.stream_port)
        self._script = FaultScript(
            fault_injector,
            clock,
            self._counters,
            authentication=authentication,
            stream=self._stream,
            rest_listener=self._rest,
        )
        add_control(rest, self._script.begin, self.counters, self._ledger, self.forgeries)
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make every symbol's day, then listen. Raises OSError when a port is taken; then nothing is left open."""
        for view in get_args(View):
            for instrument in self.market.instruments:
                self.market.view(view).tape(instrument.symbol)
                await asyncio.sleep(0)  # the process's heartbeat goes on: a large day takes longer than a start may
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
        """Begin a fault, as POST /simulator/faults does."""
        return self._script.begin(request)

    def registrations(self) -> tuple[Registration, ...]:
        """The ledger so far: offered trades by subscription, and their fate on the wire."""
        return self._ledger.registrations()

    def forgeries(self) -> Sequence[Forgery]:
        """The false records sent so far."""
        return self._stream.forgeries

    def counters(self) -> Counters:
        """The current counters."""
        return self._counters.read(self._authentication.busiest_seconds)


def _captured_of(settings: SimulatorSettings) -> CapturedFrames:
    return captured_frames(Path(settings.frames_file).read_bytes()) if settings.frames_file else {}


def _faults_of(settings: SimulatorSettings) -> Faults:
    scripted: tuple[ScriptedFault | ScriptedDrop, ...] = (*settings.drops, *settings.faults)
    faults = Faults.of_script(settings.session_date, scripted, settings.listing_appears_at)
    return faults.with_background(settings.session_date, settings.fault_rates, seeded_rng(settings.seed))


def made_up(settings: SimulatorSettings) -> MadeUp:
    """Make the day of these settings. Raises as `market_of`."""
    rng = seeded_rng(settings.seed)
    if settings.real_day_trades:
        return _real_day(settings, rng)
    if settings.data:
        contents = real_contents(Path(settings.data))
        instruments = instruments_in(contents)
    else:
        instruments = (*WELL_KNOWN, *made_up_instruments(settings.symbols, settings.session_date, rng))
        contents = made_up_contents(instruments, settings.session_date, rng)
    opens_s = second_of_day(settings.opens_at)
    market = Market(
        settings.seed,
        settings.session_date,
        instruments,
        rng,
        opens_s,
        settings.trades_times,
        settings.history_days,
        settings.venues,
        [stop.on(settings.session_date) for stop in settings.market_stops],
        settings.nxt_value_ratio,
    )
    return MadeUp(market, contents)


def _real_day(settings: SimulatorSettings, rng: RngSource) -> MadeUp:
    # Only such a day needs NumPy, whose import would slow every other simulator down.
    from observer.simulator.market.real_day import RealDayMarket, with_etfs

    made = made_up_instruments(settings.symbols, settings.session_date, rng)
    instruments = (*WELL_KNOWN, *with_etfs(made))
    market = RealDayMarket(
        settings.seed,
        settings.session_date,
        instruments,
        rng,
        settings.real_day_trades,
        second_of_day(settings.opens_at),
        settings.history_days,
    )
    return MadeUp(market, made_up_contents(instruments, settings.session_date, rng))


def add_control(
    application: web.Application,
    begin: Callable[[FaultRequest], Fault],
    counters: Callable[[], Counters],
    ledger: Ledger,
    forgeries: Callable[[], Sequence[Forgery]],
) -> None:
    """Add the simulator's own calls to the application of the REST host."""
    application.middlewares.append(_refuse_pages)

    async def begin_fault(request: web.Request) -> web.Response:
        try:
            wanted = msgspec.json.decode(await request.read(), type=FaultRequest)
        except msgspec.DecodeError as error:
            return _json({"error": str(error)}, status=400)
        return _json(begin(wanted))

    application.router.add_post(f"{CONTROL_PATH}faults", begin_fault)
    shown = {"counters": counters, "registrations": ledger.registrations, "forgeries": forgeries}
    for name, content in shown.items():
        application.router.add_get(f"{CONTROL_PATH}{name}", partial(_show, content))


async def _show(content: Callable[[], object], request: web.Request) -> web.Response:
    del request
    return _json(content())


@web.middleware
async def _refuse_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse the simulator's own calls to pages in a browser.

    A page of any site can call a loopback address: it then sends its Origin. Or it lets its own name resolve to this
    address, to be of one origin with it: then Host has that name.
    """
    if not request.path.startswith(CONTROL_PATH):
        return await handler(request)
    if (origin := request.headers.get("Origin")) is not None:
        return _json({"error": f"Origin: {origin!a}: the simulator's own calls are for programs, not for pages"}, 403)
    if _hostname(host := request.headers.get("Host", "")) not in _LOOPBACK_NAMES:
        return _json({"error": f"Host: {host!a}: call 127.0.0.1 or localhost"}, 403)
    return await handler(request)


def _hostname(host: str) -> str | None:
    """The name in a Host header, without its port; None for a header that names none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # brackets of an IPv6 address that do not close
        return None


def _json(content: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")
