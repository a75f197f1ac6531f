"""What the simulated broker saw of a demo day: its ledger and the market's trades, kept for a judge from outside; and
which quality reports are better than the broker's truth.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import httpx
import msgspec

from bus.events import Trade
from observer.base.errors import TransportError
from observer.base.lines import stock_of, venue_of
from observer.gaps.intervals import Interval
from observer.simulator.market.market import Market, OfferedTrade
from observer.store.reader import StoreReader

LEDGER = "ledger.json"
OFFERED = "offered.csv"


class Subscribed(msgspec.Struct, frozen=True):
    """A subscription as the ledger has it: when it was in force (`ended_ns` None: it still is), and what was sent."""

    symbol: str
    view: str
    acknowledged_ns: int
    ended_ns: int | None
    spans: Sequence[msgspec.Raw]


async def keep_ledger(rest_url: str, folder: Path) -> None:
    """Write the running simulator's ledger of subscriptions into the folder.

    Raises:
        TransportError: the simulator does not answer, or refuses.
        OSError: the folder takes no file.
    """
    try:
        async with httpx.AsyncClient(trust_env=False) as client:  # a proxy has no way to this machine's loopback
            answer = await client.get(f"{rest_url}/simulator/registrations")
            answer.raise_for_status()
    except httpx.HTTPError as error:
        raise TransportError(f"the simulator does not give its ledger: {type(error).__name__} {error}") from error
    (folder / LEDGER).write_bytes(answer.content)


def write_offered(market: Market, path: Path) -> None:
    """Write every trade that the market offers on its day, as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(OfferedTrade.__struct_fields__)
        for instrument in market.instruments:
            writer.writerows(msgspec.structs.astuple(trade) for trade in market.offered(instrument.symbol))


def read_ledger(folder: Path) -> Sequence[Subscribed] | None:
    """The kept ledger; None where the day ended before it was kept."""
    path = folder / LEDGER
    return msgspec.json.decode(path.read_bytes(), type=list[Subscribed]) if path.exists() else None


def of_line(market: Market, line_id: str) -> Iterator[OfferedTrade]:
    """The trades that the market offers of a line; the simulated market's main venue is the KRX."""
    venue = venue_of(line_id, "KRX")
    return (each for each in market.offered(stock_of(line_id)) if each.venue == venue)


def overstated(
    reader: StoreReader, market: Market, ledger: Sequence[Subscribed], session_date: str, final_ns: int
) -> Sequence[str]:
    """The lines whose quality report is better than the truth, see `is_overstated`. `final_ns`: the day's end."""
    found: list[str] = []
    for line, slots in reader.stream_times(session_date, final_ns).items():
        report, stored = reader.judged_trades(line, session_date)
        own = [each for each in ledger if (each.symbol, each.view) == (stock_of(line), venue_of(line, "KRX"))]
        offered = of_line(market, line)
        if report is not None and is_overstated(report.slots_quality, stored, slots=slots, ledger=own, offered=offered):
            found.append(line)
    return found


def is_overstated(
    word: str,
    stored: Sequence[Trade],
    *,
    slots: Sequence[Interval],
    ledger: Sequence[Subscribed],
    offered: Iterable[OfferedTrade],
) -> bool:
    """Whether a line's slots are called complete (recovered) though a trade of the market, from a slot's first
    subscription over which the broker sent something to the end of the slot, is not stored as streamed (at all).
    """
    if word not in ("complete", "recovered"):
        return False
    held = {each.cumulative_volume for each in stored if word == "recovered" or each.gap_id is None}
    lacking_ns = [each.exchange_time_ns for each in offered if float(each.cumulative_volume) not in held]
    for slot in slots:
        in_slot = [each for each in ledger if each.spans and each.acknowledged_ns < slot.to_ns]
        begun_ns = [each.acknowledged_ns for each in in_slot if each.ended_ns is None or each.ended_ns > slot.from_ns]
        if begun_ns and any(max(min(begun_ns), slot.from_ns) < each <= slot.to_ns for each in lacking_ns):
            return True
    return False
