"""`observer enrich run` with other addresses: `python -m tests.reference.enriching_program ADDRESS`.

It runs in the current folder, in Hong Kong, and the exit status is the command's.
"""

import asyncio
import sys
from pathlib import Path

from bus.archive import ArchiveLimits
from observer.base.settings import load_base_settings
from observer.cli.enrich import ingest_of
from observer.reference.sectors.model import SOURCES
from observer.reference.sectors.options import EnrichmentOptions
from observer.reference.sectors.run import enrich, exit_status

MASTERS, TABLES, SNAPSHOT = Path("masters"), Path("tables"), Path("snapshot.csv")


def options(address, **changes):
    fields = {
        "url": "sqlite:///data/o.db",
        "data": Path("data"),
        "outbox": Path("run/outbox/enrich"),
        "archive_limits": ArchiveLimits(),
        "masters": MASTERS,
        "tables": TABLES,
        "snapshot": SNAPSHOT,
        "regions": ("HK",),
        "sources": SOURCES,
        "report": Path("report.txt"),
        "yahoo_address": address,
    }
    return EnrichmentOptions(**(fields | changes))


if __name__ == "__main__":
    ingest = ingest_of(load_base_settings(Path("observer.toml")))
    sys.exit(exit_status(asyncio.run(enrich(options(sys.argv[1]), ingest))))
