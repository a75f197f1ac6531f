"""Runs public clients of the broker against the simulated host, each in its own environment, and compares what each
step brings with the market.

    python -m tests.judges.judging      # the table of all clients; exit status 1 if one fails by the simulator's fault
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from observer.base.clock import ManualClock
from observer.base.local_time import local_ns
from observer.simulator.kis.simulator import Simulator, made_up
from tests.judges.clients import ROWS
from tests.simulator.simulator_client import settings
from tests.waiting import until_async

ENVIRONMENTS: Final = Path(__file__).parents[2] / ".venv" / "judges"
CHILD: Final = Path(__file__).with_name("clients.py")

# Clients judge the end of a token by the machine's own clock, so the simulated day must not be over yet.
SESSION_DAY: Final = "2035-11-21"
WEEKS_BEFORE: Final = "20351101"
KEY, SECRET = "K" * 36, "S" * 180
TRADES: Final = 40
STEPS: Final = ("quote", "daily", "minutes", "book", "trades")
CHILD_S: Final = 100.0


class Judge(msgspec.Struct, frozen=True):
    """What a client offers of `STEPS` and has to manage. `faults`: the steps that it fails by its own fault, with the
    reason. `trade_fields`: the width of a trade's record; `notes`: its other faults, which the steps get around.
    `package`: its name at PyPI where that is another.
    """

    version: str
    steps: tuple[str, ...]
    faults: dict[str, str] = {}
    trade_fields: int = 47
    notes: str = ""
    package: str = ""


JUDGES: Final = {
    "kis-agent": Judge(
        "1.6.1", STEPS, notes="gives all records of a frame as one list of fields; keeps its token in its package"
    ),
    "kis-trader": Judge("0.12.2", STEPS),
    "kis-wrapper": Judge(
        "0.3.0",
        ("quote", "daily", "book", "trades"),
        {"trades": "registers without its approval key and customer type, first with an empty body: refused, as live"},
    ),
    "korea-investment-stock": Judge("0.19.0", ("quote", "daily", "minutes"), notes="has no stream and no book"),
    "mojito2": Judge(
        "0.1.6",
        ("quote", "daily", "minutes", "trades"),
        trade_fields=46,
        notes="cuts trades at 46 fields, so misreads frames of 47; does not declare pandas",
    ),
    "pykis": Judge("0.7.0", ("quote", "daily"), notes="gives a quote's price alone; has no stream"),
    "python-kis": Judge(
        "2.1.6",
        STEPS,
        trade_fields=46,
        notes="refuses trades of 47 fields; does not declare typing-extensions",
    ),
    "python-kis-1": Judge(
        "1.0.6",
        ("quote", "daily", "book", "trades"),
        {
            "book": "refuses blank changes of the levels, as all blank figures",
            "trades": "reads the first record of a frame and drops the others",
        },
        notes="older, other code than 2.x, reads the master files; refuses blank figures; has no minute bars",
        package="python-kis",
    ),
    "vm-stock-kis": Judge("1.0.0", STEPS, trade_fields=46, notes="began as a copy of python-kis"),
}

Result = Literal["ok", "own fault", "OUR FAULT", "MENDED", "-"]
"""OUR FAULT: fails without a reason of its own; MENDED: has a reason and manages; -: not offered."""


class Judgement(msgspec.Struct, frozen=True):
    """What a client made of each step, and what the market has."""

    answers: dict[str, object]
    market: dict[str, object]

    def result(self, judge: Judge, step: str) -> Result:
        """How one step went."""
        if step not in judge.steps:
            return "-"
        is_right = matches(self.answers.get(step), self.market[step])
        if step in judge.faults:
            return "MENDED" if is_right else "own fault"
        return "ok" if is_right else "OUR FAULT"


def matches(answer: object, market: object) -> bool:
    """Whether an answer is the market's. None stands for a value that the client does not show."""
    if isinstance(answer, list) and isinstance(market, list):
        return len(answer) == len(market) > 0 and all(map(matches, answer, market))
    return answer is None or answer == market


def is_installed(name: str) -> bool:
    """Whether the client's environment is there."""
    return (ENVIRONMENTS / name / "bin" / "python").exists()


def judged(name: str, folder: Path, child: str = "") -> Judgement:
    """Run a client's steps with `folder` as its home. `child` names other steps than the client's.

    Raises:
        ChildProcessError: the client could not be made ready, or left the loopback address.
    """

    async def run() -> Judgement:
        judge = JUDGES[name]
        async with _host(judge.trade_fields) as (simulator, clock):
            opened_ns = clock.now_ns()
            answers = await _answers(name, child or name, simulator, clock, folder)
            return Judgement(answers, _expected(simulator, opened_ns))

    return asyncio.run(run())


@asynccontextmanager
async def _host(trade_fields: int) -> AsyncIterator[tuple[Simulator, ManualClock]]:
    """The simulated host at ten o'clock of the session day."""
    wanted = settings(
        session_date=SESSION_DAY, app_keys={KEY: SECRET}, trade_fields=trade_fields, symbols=10, trades_times=1.0
    )
    clock = ManualClock(local_ns(date.fromisoformat(SESSION_DAY), 10))
    simulator = Simulator(wanted, clock, made_up(wanted))
    await simulator.start()
    try:
        yield simulator, clock
    finally:
        await simulator.stop()


def _symbol(simulator: Simulator) -> str:
    """A stock that trades in every minute: one client pages back minute by minute."""
    market = simulator.market
    return max((i.symbol for i in market.instruments if i.ordinary), key=lambda s: len(market.tape(s)))


async def _answers(name: str, steps: str, simulator: Simulator, clock: ManualClock, folder: Path) -> dict[str, object]:
    symbol = _symbol(simulator)
    asked = {
        "rest": simulator.rest_url,
        "stream": simulator.stream_url,
        "files": simulator.files_url,
        "key": KEY,
        "secret": SECRET,
        "symbol": symbol,
        "today": SESSION_DAY.replace("-", ""),
        "before": simulator.market.daily_bars(symbol)[0].day,
        "weeks_before": WEEKS_BEFORE,
        "now": "100000",
        "trades": TRADES,
        "trade_fields": JUDGES[name].trade_fields,
    }
    return await child_lines(name, [str(CHILD), steps], asked, simulator, clock, folder)


async def child_lines(
    environment: str,
    arguments: Sequence[str],
    asked: Mapping[str, object],
    simulator: Simulator,
    clock: ManualClock,
    folder: Path,
    within_s: float = CHILD_S,
) -> dict[str, Any]:
    """The value or the error of each step that a child process prints, with `folder` as its home.

    Raises:
        ChildProcessError: the child could not be made ready, or left the loopback address.
    """
    child = await asyncio.create_subprocess_exec(
        *(str(ENVIRONMENTS / environment / "bin" / "python"), *arguments),
        cwd=folder,
        env={
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "TZ": "Asia/Seoul",
            "KIS_TOKEN_PATH": str(folder / "token.json"),  # kis-agent's; else it is kept in the installed package
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    moving = asyncio.create_task(_move_on_when_subscribed(simulator, clock))
    try:
        out, err = await asyncio.wait_for(child.communicate(json.dumps(asked).encode()), within_s)
    finally:
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise ChildProcessError(child.returncode, f"{environment}: {err.decode()[-2000:]}")
    lines = [json.loads(line) for line in out.decode().splitlines() if line.startswith('{"step"')]
    return {line["step"]: line.get("value", line.get("error")) for line in lines}


async def _move_on_when_subscribed(simulator: Simulator, clock: ManualClock) -> None:
    """Ten market minutes from the first registration on, a second at a time."""
    await until_async(lambda: simulator.counters().registrations, "a registration", CHILD_S)
    for _ in range(600):
        await clock.advance(1)
        await asyncio.sleep(0.005)


def _expected(simulator: Simulator, now_ns: int) -> dict[str, object]:
    market, symbol = simulator.market, _symbol(simulator)
    state = market.state_at(symbol, now_ns)
    later = [trade for trade in market.offered(symbol) if trade.cumulative_volume > state.cumulative_volume]
    bars = market.minute_bars(symbol, now_ns, 10 * 60, ROWS)
    return {
        "quote": [str(state.price), str(state.cumulative_volume)],
        "daily": [[bar.day, str(bar.close), str(bar.volume)] for bar in market.daily_bars(symbol)[:ROWS]],
        "minutes": [[bar.start_hhmmss, str(bar.close), str(bar.volume)] for bar in bars],
        "book": [str(state.ask), str(state.bid)],
        "trades": [[str(trade.price), str(trade.cumulative_volume)] for trade in later[:TRADES]],
    }


def main() -> int:
    """Print the table of all clients; returns the exit status."""
    sys.stdout.write(f"{'client':<24}{'version':<9}" + "".join(f"{step:<11}" for step in STEPS) + "\n")
    failed = False
    for name, judge in JUDGES.items():
        if not is_installed(name):
            sys.stdout.write(f"{name:<24}{judge.version:<9}not installed: make judges" + "\n")
            failed = True
            continue
        with tempfile.TemporaryDirectory() as folder:
            judgement = judged(name, Path(folder))
        results = [judgement.result(judge, step) for step in STEPS]
        failed |= "OUR FAULT" in results or "MENDED" in results
        sys.stdout.write(f"{name:<24}{judge.version:<9}" + "".join(f"{result:<11}" for result in results) + "\n")
        for step, reason in judge.faults.items():
            sys.stdout.write(f"    {step}: {reason}" + "\n")
        if judge.notes:
            sys.stdout.write(f"    {judge.notes}" + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
