"""`observer enrich run` with the requests to Yahoo going elsewhere: `python -m tests.cli.enriching_program ADDRESS`.

It runs in the current folder, in Hong Kong, and the exit status is the command's.
"""

import asyncio
import sys
from pathlib import Path

from observer.cli.enriching import RunOptions, enrich
from observer.config import load_settings
from observer.reference.sectors import SOURCES

MASTERS, TABLES, SNAPSHOT = Path("masters"), Path("tables"), Path("snapshot.csv")


def options(address, **changes):
    fields = {
        "masters": MASTERS,
        "tables": TABLES,
        "snapshot": SNAPSHOT,
        "regions": ("HK",),
        "sources": SOURCES,
        "force_refresh": False,
        "max_age_days": 30.0,
        "dry_run": False,
        "at_once": 1,
        "max_retries": 3,
        "retry_delay_s": 5.0,
        "report": Path("report.txt"),
        "metrics_file": None,
        "prometheus_port": 0,
        "metric_prefix": "observer",
        "verbose": False,
        "as_json": True,
        "yahoo_address": address,
    }
    return RunOptions(**(fields | changes))


if __name__ == "__main__":
    sys.exit(asyncio.run(enrich(load_settings(Path("observer.toml")), options(sys.argv[1]))))
