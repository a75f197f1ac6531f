"""`observer simulator`: the simulated broker, by itself.

It serves with options or with the [simulator] section of a configuration; commands in a second terminal inject faults
and read the counters.
"""

import asyncio
import secrets
import sys
import textwrap
import time
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Final

import click
import httpx
import msgspec
import tomli_w

from observer.base.clock import Clock, ScaledClock
from observer.base.errors import ConfigError, TransportError
from observer.base.local_time import local_ns
from observer.base.signals import stopping_on_signals
from observer.cli.options import Argument, Option
from observer.demo.configuration import DAY
from observer.demo.ledger import write_offered
from observer.simulator.faults import FAULT_MEANINGS, FaultKind, FaultRequest, second_of_day
from observer.simulator.kis.simulator import Simulator, market_of
from observer.simulator.market.sessions import Venue
from observer.simulator.settings import SimulatorSettings
from observer.system.config import load_settings


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ConfigError(f"--day {text}: give a date such as {_DAY}") from None


def _time(text: str) -> str:
    try:
        second_of_day(text)
    except ValueError as error:
        raise ConfigError(f"--start {error}") from None
    return text


SymbolsOption = Annotated[int, Option(min=2, help="Made-up symbols beside the well-known ones.")]
SeedOption = Annotated[int, Option(min=0, help="The same seed gives the same trades.")]
DataOption = Annotated[Path | None, Option(help="Folder of real master files to make the market of.")]
DayOption = Annotated[str, Option(metavar="DATE", parser=_date, help="The day, as an ISO date.")]
NxtOption = Annotated[bool, Option(help="NXT beside the KRX, and the whole day until 20:00.")]
UrlOption = Annotated[str, Option(help="The REST address of a running simulator, e.g. http://127.0.0.1:9443.")]

_DAY: Final = DAY.isoformat()
_CALL_TIMEOUT_S: Final = 10.0
_KINDS_HELP: Final = "\n".join(
    textwrap.fill(f"{kind}: {meaning}.", 76, subsequent_indent="  ") for kind, meaning in FAULT_MEANINGS.items()
)


def simulator(
    port: Annotated[int, Option(min=0, max=65_533, help="REST port; stream, files: the next two. 0: any.")] = 0,
    seed: SeedOption = 7,
    symbols: SymbolsOption = 500,
    data: DataOption = None,
    day: DayOption = _DAY,
    start: Annotated[
        str, Option(metavar="TIME", parser=_time, help="The market time (HH:MM) at which the day begins.")
    ] = "08:50",
    speed: Annotated[float, Option(min=0.001, help="Market seconds per second.")] = 1.0,
    keys: Annotated[Path, Option(help="Keys file; made with new keys where there is none.")] = Path("keys.toml"),
    accounts: Annotated[int, Option(min=1, max=100, help="App keys to make.")] = 1,
    nxt: NxtOption = False,
    config: Annotated[Path | None, Option(help="Take the [simulator] section of this file instead.")] = None,
) -> None:
    """Serve a simulated broker on loopback until ctrl-C. Prints its addresses, then nothing.

    `offered` writes the trades of a market, `fault` lets something go wrong at a running simulator, `counters` and
    `registrations` ask it what it saw. Faults of a script are in the [simulator] section of a configuration:
    [[simulator.faults]] with kind, at, for_s, share, by_s; and [simulator.fault_rates] for what happens at random.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    if config is not None:
        settings = _configured(config)
    else:
        rest, stream, files = (port, port + 1, port + 2) if port else (0, 0, 0)
        settings = SimulatorSettings(
            seed=seed,
            session_date=day,
            symbols=symbols,
            data="" if data is None else str(data),
            app_keys=_app_keys(keys, accounts),
            rest_port=rest,
            stream_port=stream,
            files_port=files,
            venues=_venues(nxt=nxt),
        )
    moment_ns = local_ns(date.fromisoformat(settings.session_date)) + second_of_day(start) * 1_000_000_000
    asyncio.run(_serve(settings, ScaledClock(moment_ns, time.monotonic_ns(), speed)))


def offered(
    out: Annotated[Path | None, Option(help="Write every offered trade to this CSV file.")] = None,
    seed: SeedOption = 7,
    symbols: SymbolsOption = 500,
    data: DataOption = None,
    day: DayOption = _DAY,
    nxt: NxtOption = False,
) -> None:
    """Print the digest of the trades that a market offers. With --out, write them to a file, too."""
    settings = SimulatorSettings(
        seed=seed,
        session_date=day,
        symbols=symbols,
        data="" if data is None else str(data),
        app_keys={},
        venues=_venues(nxt=nxt),
    )
    market = market_of(settings)
    if out is not None:
        write_offered(market, out)
    sys.stdout.write(f"{market.offered_digest()}\n")


def fault(
    kind: Annotated[FaultKind, Argument(metavar="KIND", help="What goes wrong: one of the kinds above.")],
    url: UrlOption,
    for_s: Annotated[float, Option("--for", min=0, help="Market seconds that it lasts (0: a moment).")] = 0.0,
    share: Annotated[float, Option(min=0, max=1, help="Share of the calls or frames that it strikes.")] = 1.0,
    by_s: Annotated[float, Option("--by", help="Seconds of latency, or that the clock is off.")] = 0.0,
) -> None:
    """Inject a fault into a running simulator. It begins now; its times are printed."""
    request = FaultRequest(kind=kind, for_s=for_s, share=share, by_s=by_s)
    _print_answer("POST", f"{url}/simulator/faults", msgspec.json.encode(request))


fault.__doc__ = f"{fault.__doc__}\n\n\b\n{_KINDS_HELP}"  # \b: click leaves these lines as they are


def counters(url: UrlOption) -> None:
    """Print a running simulator's counters. They count calls, refusals, connections, frames, trades, faults."""
    _print_answer("GET", f"{url}/simulator/counters")


def registrations(url: UrlOption) -> None:
    """Print a running simulator's subscriptions. Also print the trades offered to each, and those sent whole."""
    _print_answer("GET", f"{url}/simulator/registrations")


def _print_answer(method: str, url: str, content: bytes = b"") -> None:
    """Print the simulator's answer. Raises TransportError without one, ConfigError when the request is refused."""
    try:
        answer = httpx.request(method, url, content=content, timeout=_CALL_TIMEOUT_S)
    except httpx.HTTPError as error:
        raise TransportError(f"no simulator answers at {url}: {error}; `observer simulator` starts one") from error
    except httpx.InvalidURL as error:
        raise ConfigError(f"{url} is not a URL: {error}; give one such as http://127.0.0.1:9443") from error
    if answer.is_error:
        raise ConfigError(f"the simulator refused: {answer.text}")
    sys.stdout.write(f"{answer.text}\n")


async def _serve(settings: SimulatorSettings, clock: Clock) -> None:
    broker = Simulator(settings, clock)
    await broker.start()
    try:
        urls = {"rest": broker.rest_url, "stream": f"{broker.stream_url}/tryitout", "files": broker.files_url}
        sys.stdout.write("".join(f"{name:<7}{url}\n" for name, url in urls.items()))
        sys.stdout.flush()
        stopping = asyncio.Event()
        with stopping_on_signals(stopping):
            await stopping.wait()
    finally:
        await broker.stop()


def _venues(*, nxt: bool) -> tuple[Venue, ...]:
    return ("KRX", "NXT") if nxt else ("KRX",)


def _configured(path: Path) -> SimulatorSettings:
    settings = load_settings(path).simulator
    if settings is None:
        raise ConfigError(f"{path} has no [simulator] section")
    return settings


def _app_keys(path: Path, accounts: int) -> dict[str, str]:
    """App keys with their secrets, from a keys file like a user's; without one, write a new file readable by its owner
    only.
    """
    if not path.exists():
        path.touch(mode=0o600)
        names = ["main", *(f"account{number}" for number in range(2, accounts + 1))]
        path.write_text(tomli_w.dumps({name: _new_keys() for name in names}))
    try:
        entries = tomllib.loads(path.read_text())
        return {entry["app_key"]: entry["app_secret"] for entry in entries.values()}
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no keys file: a table for each account, with app_key and app_secret") from error


def _new_keys() -> dict[str, str]:
    """New keys with the lengths of real keys."""
    return {"app_key": f"PS{secrets.token_hex(17)}", "app_secret": secrets.token_urlsafe(135)}
