"""What the simulated broker saw of a demo day, kept for a judge from outside: its ledger, the market's trades, and how
fast the day ran.
"""

import csv
from pathlib import Path

import httpx
import msgspec

from observer.errors import TransportError
from observer.simulator.market.market import Market, OfferedTrade

LEDGER = "ledger.json"
OFFERED = "offered.csv"
PACE = "pace.json"


async def keep_ledger(rest_url: str, folder: Path) -> None:
    """Write the running simulator's ledger of subscriptions.

    Raises:
        TransportError: the simulator does not answer, or refuses.
    """
    try:
        async with httpx.AsyncClient(trust_env=False) as client:  # a proxy has no way to this machine's loopback
            answer = await client.get(f"{rest_url}/simulator/registrations")
            answer.raise_for_status()
    except httpx.HTTPError as error:
        raise TransportError(f"the simulator does not give its ledger: {error}") from error
    (folder / LEDGER).write_bytes(answer.content)


def write_offered(market: Market, path: Path) -> None:
    """Write every trade that the market offers on its day, as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(OfferedTrade.__struct_fields__)
        for instrument in market.instruments:
            writer.writerows(msgspec.structs.astuple(trade) for trade in market.offered(instrument.symbol))


def write_pace(speed: float, path: Path) -> None:
    """Write the day's speed, in market seconds a second."""
    path.write_bytes(msgspec.json.encode({"speed": speed}))
