"""Mutated master files: `python -m tests.reference.fuzz_masters --count 500000 [--seed N]`.

Each mutation of a small file (bytes flipped, cut, doubled, lines mixed with another exchange's) goes the whole pure
way: parse, judge, events. Never an exception but for DataFileError, every line accounted for, and never an event about
another exchange; a failing seed is printed.

Nearly every mutation leaves an unreadable line, which fails so small a file. So each file is judged a second time
without those lines; otherwise few files would reach the comparison with the known listings.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

from bus.events import ListingChanged, ListingValued
from observer.brokers.kis.listings import lines_of, parse_listings
from observer.reference.listings.diff import KnownListings, ReferenceSettings
from observer.reference.listings.intake import MasterFile, events_of, judge
from observer.reference.listings.model import Listing, UnreadableLine
from observer.simulator.kis.masters import file_of, made_up_foreign_contents, made_up_sector_codes
from observer.simulator.market.instruments import made_up_instruments, made_up_konex

SETTINGS = ReferenceSettings(max_removed=1_000, max_new=1_000, max_shrink_percent=100.0)
ABROAD = {"NASD": "NAS", "SEHK": "HKS", "SHI": "SHI"}
SESSION = "2026-11-18"
RECORDS = 12


def files() -> Mapping[str, bytes]:
    """A small file of every layout: three fixed widths of Korea, tabs abroad, sector codes."""
    foreign = made_up_foreign_contents(Random)
    contents = {exchange: foreign[f"{code.lower()}mst.cod"] for exchange, code in ABROAD.items()}
    korean = made_up_instruments(100, SESSION, Random)
    for exchange in ("KOSPI", "KOSDAQ"):
        contents[exchange] = file_of(each for each in korean if each.exchange == exchange)
    contents["KONEX"] = file_of(made_up_konex(SESSION, Random))
    contents["IDXCODE"] = made_up_sector_codes()
    shortened = {exchange: content.splitlines(keepends=True)[:RECORDS] for exchange, content in contents.items()}
    assert all(shortened.values()), "a layout has no record to mutate"
    return {exchange: b"".join(lines) for exchange, lines in shortened.items()}


def mutated(content: bytes, others: list[bytes], rng: Random) -> bytes:
    """A few mutations of the bytes, or of the order and origin of the lines."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        index = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if data:
                data[index - 1] = rng.randrange(256)
            case 1:
                del data[index : index + rng.randint(1, 300)]
            case 2:
                data[index:index] = data[index : index + rng.randint(1, 300)]
            case 3:
                data[index:index] = rng.choice((b"\n", b"\t", b"\r", b"\0", b"\x81", "６".encode("cp949"), b" "))
            case 4:
                data += rng.choice(rng.choice(others).splitlines(keepends=True) or [b""])
            case _:
                del data[index:]
    return bytes(data)


def known_of(contents: Mapping[str, bytes]) -> Mapping[str, KnownListings]:
    return {
        exchange: {listing.symbol: (listing, True) for listing in parse_listings(exchange, content)[0]}
        for exchange, content in contents.items()
    }


def check(exchange: str, content: bytes, known: KnownListings) -> str:
    """One file, and the outcome on it; raises AssertionError, or what it should not, where a promise is broken."""
    listings, bad = parse_listings(exchange, content)
    assert len(listings) + len(bad) == len(list(lines_of(content))), "a line is lost"
    outcome = apply(exchange, listings, bad, known)
    if bad:
        apply(exchange, listings, (), known)
    return outcome


def apply(exchange: str, listings: Sequence[Listing], bad: Sequence[UnreadableLine], known: KnownListings) -> str:
    """Judge and publish the parsed listings, and check the resulting events against the promises."""
    file = MasterFile("kis", exchange, listings, bad, 1, "", 1)
    judged = judge(file, known, SETTINGS, old_size_bytes=None)
    for event in events_of(file, judged):
        if isinstance(event, ListingChanged | ListingValued):
            assert event.exchange == exchange, "another exchange's listing is touched"
    gone = {change.listing.symbol for change in judged.changes if change.kind == "removed"}
    stated = {listing.symbol for listing in listings}
    assert gone <= known.keys() - stated, "removed what is stated"
    if judged.outcome.decision == "updated" and not bad:
        assert gone == known.keys() - stated, "kept what is not stated"
    return judged.outcome.decision


def fuzz(count: int, seed: int) -> Counter[str]:
    """How often there was which outcome, after so many mutations in which no promise was broken."""
    outcomes: Counter[str] = Counter()
    contents = files()
    known = known_of(contents)
    others = list(contents.values())
    names = list(contents)
    for number in range(count):
        rng = Random(f"{seed}/{number}")
        exchange = names[number % len(names)]
        content = mutated(contents[exchange], others, rng)
        try:
            outcomes[check(exchange, content, known[exchange])] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, mutation {number} of {exchange}: {error!r}\n{content!r}") from error
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcomes = fuzz(arguments.count, arguments.seed)
    reported = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))
    sys.stdout.write(f"{arguments.count} mutations, seed {arguments.seed}: every promise held ({reported})\n")


if __name__ == "__main__":
    main()
