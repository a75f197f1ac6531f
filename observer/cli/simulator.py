"""`observer simulator`: the broker to practise on, by itself."""

import csv
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from observer.practice import DAY
from observer.simulator.market import OfferedTrade
from observer.simulator.settings import SimulatorSettings
from observer.simulator.simulator import market_of

app = typer.Typer(help="The simulated broker and its market.", no_args_is_help=True)

SymbolsOption = Annotated[int, typer.Option(min=1, help="Made-up symbols on the market.")]
SeedOption = Annotated[int, typer.Option(min=0, help="The market is a function of it, trade for trade.")]
DataOption = Annotated[Path | None, typer.Option(help="Folder of real KIS master files to make the market of.")]
DayOption = Annotated[str, typer.Option(help="The day, as an ISO date.")]


_DAY = DAY.isoformat()


@app.command()
def offered(
    out: Annotated[Path | None, typer.Option(help="Write every offered trade to this CSV file.")] = None,
    seed: SeedOption = 7,
    symbols: SymbolsOption = 500,
    data: DataOption = None,
    day: DayOption = _DAY,
) -> None:
    """Print the digest of the trades that a market offers, and optionally write them to a file to compare with."""
    settings = SimulatorSettings(
        seed=seed, session_date=day, symbols=symbols, data="" if data is None else str(data), app_keys={}
    )
    market = market_of(settings)
    if out is not None:
        with out.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(OfferedTrade.__struct_fields__)
            for instrument in market.instruments:
                writer.writerows(msgspec.structs.astuple(trade) for trade in market.offered(instrument.symbol))
    sys.stdout.write(f"{market.offered_digest()}\n")
