"""Runs the provider's samples against the simulated host and compares what each brings with the market.

    OBSERVER_JUDGES_SAMPLES=FOLDER python -m tests.judges.samples_judging      # a table; exit status 1 if one fails

FOLDER is a checkout of the provider's public sample repository, whose `examples_llm` has one
sample a call. No line of it is in this repository. Without the variable it says so and has exit status 0.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec

from observer.base.clock import ManualClock
from observer.simulator.kis.simulator import Simulator
from tests.judges.judging import child_lines, is_installed
from tests.simulator.documented_calls import DOCUMENTED
from tests.simulator.simulator_client import APP_KEYS, at, day_of, settings
from tests.simulator.test_simulator_calls import query_of

FOLDER_VARIABLE: Final = "OBSERVER_JUDGES_SAMPLES"
SKIPPED: Final = f"skipped: {FOLDER_VARIABLE} names no folder with the provider's samples (examples_llm)"
CHILD: Final = Path(__file__).with_name("samples.py")
SYMBOLS: Final = 120
TRADES: Final = 10
WITHIN_S: Final = 240.0  # the samples pause between the pages of an answer
PRICED: Final = frozenset({"FHKST01010100", "FHPST01010000"})

# Each stream's sample, below its folder; those of `CERTAIN` have records in the judged minutes.
STREAMS: Final = {
    "H0STCNT0": "domestic_stock/ccnl_krx",
    "H0NXCNT0": "domestic_stock/ccnl_nxt",
    "H0UNCNT0": "domestic_stock/ccnl_total",
    "H0STASP0": "domestic_stock/asking_price_krx",
    "H0NXASP0": "domestic_stock/asking_price_nxt",
    "H0UNASP0": "domestic_stock/asking_price_total",
    "H0STANC0": "domestic_stock/exp_ccnl_krx",
    "H0NXANC0": "domestic_stock/exp_ccnl_nxt",
    "H0STMKO0": "domestic_stock/market_status_krx",
    "H0NXMKO0": "domestic_stock/market_status_nxt",
    "H0UNMKO0": "domestic_stock/market_status_total",
    "H0STNAV0": "etfetn/etf_nav_trend",
    "H0STCNI0": "domestic_stock/ccnl_notice",
}
CERTAIN: Final = ("H0STCNT0", "H0STASP0", "H0STNAV0", "H0STCNI0")

# Names that a sample's own check has and the live host does not send, by TR id, and why.
SLIPS: Final = {
    "FHPST01060000": ({"stck_pbpr"}, "the documents' slip for stck_prpr (docs/kis.md#time-and-sales)"),
}
NOTES: Final = (
    "Own faults of all streams' samples: a frame of several records is read as its last record; a record wider than\n"
    "the sample's list of fields is read shifted, so the documented widths are simulated here; H0STNAV0's list has\n"
    "twelve names for eight fields. Own fault of the common module: a page's headers are seen in small letters only."
)


class Sampled(msgspec.Struct, frozen=True):
    """One sample's result: whether it managed, and in words what it brought or lacks."""

    tr_id: str
    name: str
    manages: bool
    text: str


def folder_of_samples() -> Path | None:
    """The folder with the samples of single calls, if one is given."""
    given = os.environ.get(FOLDER_VARIABLE)
    folder = Path(given) / "examples_llm" if given else None
    return folder if folder and (folder / "kis_auth.py").is_file() else None


def calls_of(samples: Path) -> dict[str, Path]:
    """The sample of each documented call, by TR id; a call without one is left out."""
    found = {}
    for call in DOCUMENTED:
        group = "etfetn" if "/etfetn/" in call.path else call.path.split("/")[2]
        name = call.path.rpartition("/")[2].replace("-", "_")
        path = samples / {"overseas-price": "overseas_stock"}.get(group, group.replace("-", "_")) / name / f"{name}.py"
        if path.is_file():
            found[call.tr_id] = path
    return found


def sampled(samples: Path, folder: Path) -> list[Sampled]:
    """Run all samples with `folder` as their home.

    Raises:
        ChildProcessError: they could not be made ready, or left the loopback address.
    """
    return asyncio.run(_sampled(samples, folder))


async def _sampled(samples: Path, folder: Path) -> list[Sampled]:
    wanted = settings(symbols=SYMBOLS, rest_limit_per_s=100, trade_fields=46, book_fields=59, state_fields=11)
    clock = ManualClock(at(15, 10))
    simulator = Simulator(wanted, clock, day_of(SYMBOLS, wanted.trades_times))
    paths = calls_of(samples)
    by_tr_id = {call.tr_id: call for call in DOCUMENTED}
    symbol = query_of(simulator.market, by_tr_id["FHKST01010100"])["FID_INPUT_ISCD"]
    etf = query_of(simulator.market, by_tr_id["FHPST02400000"])["FID_INPUT_ISCD"]
    price = str(simulator.market.state_at(symbol, clock.now_ns()).price)
    volume = simulator.market.state_at(symbol, clock.now_ns()).cumulative_volume
    await simulator.start()
    key, secret = next(iter(APP_KEYS.items()))
    asked: dict[str, Any] = {
        "rest": simulator.rest_url,
        "stream": simulator.stream_url,
        "key": key,
        "secret": secret,
        "symbol": symbol,
        "samples": str(samples),
        "trades": TRADES,
        "certain": CERTAIN,
        "keys": {"H0STNAV0": etf, "H0STCNI0": "judge"},
        "calls": {
            tr_id: (str(path), _in_small_letters(query_of(simulator.market, by_tr_id[tr_id])))
            for tr_id, path in paths.items()
        },
        "streams": {tr_id: str(samples / at_ / f"{Path(at_).name}.py") for tr_id, at_ in STREAMS.items()},
    }
    try:
        lines = await child_lines("samples", [str(CHILD)], asked, simulator, clock, folder, WITHIN_S)
    finally:
        await simulator.stop()
    later = {
        (str(trade.price), str(trade.cumulative_volume))
        for trade in simulator.market.offered(symbol)
        if trade.cumulative_volume > volume
    }
    return [_of_call(tr_id, path, lines.get(tr_id), price) for tr_id, path in paths.items()] + [
        _of_stream(tr_id, name, lines.get(f"stream {tr_id}"), later) for tr_id, name in STREAMS.items()
    ]


def _in_small_letters(query: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in query.items()}


def _of_call(tr_id: str, path: Path, answer: Any, price: str) -> Sampled:
    if not isinstance(answer, dict) or "error" in answer:
        return Sampled(tr_id, path.stem, manages=False, text=str(answer and answer["error"]))
    slips, _ = SLIPS.get(tr_id, (set(), ""))
    lacks = set(answer["lacks"]) - slips
    is_right = answer["rows"] > 0 and not lacks and (tr_id not in PRICED or answer["price"] == price)
    without = f"; without {' '.join(sorted(lacks))}" if lacks else ""
    return Sampled(tr_id, path.stem, is_right, f"{answer['rows']} rows{without}")


def _of_stream(tr_id: str, name: str, answer: Any, later: set[tuple[str, str]]) -> Sampled:
    if not isinstance(answer, dict):
        return Sampled(tr_id, Path(name).name, manages=False, text="no result")
    rows = answer["rows"]
    is_right = answer["acknowledged"] and (bool(rows) or tr_id not in CERTAIN)
    if tr_id == "H0STCNT0":
        is_right = is_right and {(row[2], row[13]) for row in rows} <= later
    text = f"{'acknowledged' if answer['acknowledged'] else 'not acknowledged'}, {len(rows)} records"
    return Sampled(tr_id, Path(name).name, is_right, text)


def main() -> int:
    """Print the table; returns the exit status."""
    samples = folder_of_samples()
    if samples is None or not is_installed("samples"):
        sys.stdout.write((SKIPPED if samples is None else "skipped: not installed: make judges") + "\n")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        results = sampled(samples, Path(folder))
    for each in results:
        result = "ok" if each.manages else "OUR FAULT"
        sys.stdout.write(f"{each.tr_id:<15}{each.name:<34}{result:<11}{each.text}\n")
        if each.tr_id in SLIPS:
            names, reason = SLIPS[each.tr_id]
            sys.stdout.write(f"    own fault: names {' '.join(sorted(names))}: {reason}\n")
    sys.stdout.write(NOTES + "\n")
    return int(not all(each.manages for each in results))


if __name__ == "__main__":
    sys.exit(main())
