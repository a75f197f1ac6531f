"""`python -m tests.bench`: how fast and how large this program is on this machine, each figure beside its limit."""

from typing import Final

from observer.cli.app import group_of, run
from observer.cli.commands import Command, Group

BENCHES: Final = Group(
    "Measure speed and size on this machine.",
    {
        "ingest": Command(
            "tests.bench.commands_ingest:ingest", "Measure durable trades per second, beside the bare database."
        ),
        "commit": Command("tests.bench.commands_ingest:commit", "Measure the processor time of small commits."),
        "latency": Command("tests.bench.commands:latency", "Measure the time from publish to acknowledgement."),
        "restart": Command("tests.bench.commands:restart", "Measure the time from kill -9 to the next stored event."),
        "footprint": Command("tests.bench.commands:footprint", "Measure the memory of each process of an idle system."),
        "day": Command(
            "tests.bench.commands_day:day", "Measure processor, memory and bytes of a whole day of both venues."
        ),
        "lake": Command("tests.bench.commands_lake:lake", "Measure sealing, bytes and questions of the lake."),
        "frames": Command("tests.bench.commands:frames", "Measure decoded trade frames per second."),
        "sweep": Command(
            "tests.bench.commands:sweep", "Measure a sweep of the market against the broker's rate limit."
        ),
        "selection": Command(
            "tests.bench.commands:selection", "Measure triggers, allocation and context synchronization."
        ),
        "slots": Command("tests.bench.commands:slots", "Measure the share of made-up surges that the slots stream."),
        "gaps": Command("tests.bench.commands:gaps", "Measure gap detection per streamed trade."),
        "stream": Command("tests.bench.commands:stream", "Measure trades from the broker's socket to the disk."),
        "watched": Command(
            "tests.bench.commands_watched:watched", "Measure what page, exporter and their clients cost the trades."
        ),
        "backup": Command("tests.bench.commands_backup:backup", "Measure acknowledgements beside a backup."),
        "recovery": Command("tests.bench.commands:recovery", "Measure the time from gap detection to stored rows."),
        "tape": Command("tests.bench.commands_tape:tape", "Measure which part of a market's day the tape can hold."),
        "master": Command("tests.bench.commands:master", "Measure parsing, applying and querying all master files."),
        "etf": Command("tests.bench.commands:etf", "Measure the four ETF phases against the broker's rate limit."),
    },
)

if __name__ == "__main__":
    run(group_of("python -m tests.bench", BENCHES), "python -m tests.bench")
