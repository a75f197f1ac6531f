"""Mutated master files: `python -m tests.reference.fuzz_masters --count 500000 [--seed N]`.

Each mutation of a small file (bytes flipped, cut, doubled, lines mixed with another exchange's) goes the whole pure
way: parse, judge, events. Never an exception but for DataFileError, every line accounted for, and never an event about
another exchange; a failing seed is printed.

Nearly every mutation leaves a line that cannot be read, and of so small a file that is too much: it fails. So what
could be read of it is judged a second time without those lines, or few would ever be compared with what is known.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

from bus.events import ListingChanged, ListingValued
from observer.providers.kis.listings import listing_abroad, parse_listings
from observer.providers.kis.masters import BadLine, lines_of
from observer.providers.kis.masters_abroad import parse_abroad
from observer.reference.changes import KnownListings, ReferenceSettings
from observer.reference.intake import MasterFile, events_of, judge
from observer.reference.listings import Listing
from observer.simulator.foreign_masters import made_up_foreign_contents
from observer.simulator.instruments import made_up_instruments, made_up_konex
from observer.simulator.masters import file_of, made_up_sector_codes

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


def mutated(content: bytes, others: list[bytes], chance: Random) -> bytes:
    """A few mutations of the bytes, or of the order and origin of the lines."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 if data:
                data[place - 1] = chance.randrange(256)
            case 1:
                del data[place : place + chance.randint(1, 300)]
            case 2:
                data[place:place] = data[place : place + chance.randint(1, 300)]
            case 3:
                data[place:place] = chance.choice((b"\n", b"\t", b"\r", b"\0", b"\x81", "６".encode("cp949"), b" "))
            case 4:
                data += chance.choice(chance.choice(others).splitlines(keepends=True) or [b""])
            case _:
                del data[place:]
    return bytes(data)


def known_of(contents: Mapping[str, bytes]) -> Mapping[str, KnownListings]:
    return {
        exchange: {listing.symbol: (listing, True) for listing in parse_listings(exchange, content)[0]}
        for exchange, content in contents.items()
    }


def check(exchange: str, content: bytes, known: KnownListings) -> str:
    """One file, and the verdict on it; raises AssertionError, or what it should not, where a promise is broken."""
    listings, bad = parse_listings(exchange, content)
    assert len(listings) + len(bad) == len(lines_of(content)), "a line is lost"
    if exchange in ABROAD:
        records, also_bad = parse_abroad(ABROAD[exchange], content)
        assert listings == [listing_abroad(exchange, record) for record in records], "the quick way reads otherwise"
        assert bad == also_bad, "the quick way refuses otherwise"
    verdict = apply(exchange, listings, bad, known)
    if bad:
        apply(exchange, listings, (), known)
    return verdict


def apply(exchange: str, listings: Sequence[Listing], bad: Sequence[BadLine], known: KnownListings) -> str:
    """Judge and publish what was read, and hold what comes of it against the promises."""
    file = MasterFile("kis", exchange, listings, bad, 1, "", 1)
    judged = judge(file, known, SETTINGS, old_size_bytes=None)
    for event in events_of(file, judged):
        if isinstance(event, ListingChanged | ListingValued):
            assert event.exchange == exchange, "another exchange's listing is touched"
    gone = {change.listing.symbol for change in judged.changes if change.kind == "removed"}
    stated = {listing.symbol for listing in listings}
    assert gone <= known.keys() - stated, "removed what is stated"
    if judged.verdict.decision == "updated" and not bad:
        assert gone == known.keys() - stated, "kept what is not stated"
    return judged.verdict.decision


def fuzz(count: int, seed: int) -> Counter[str]:
    """How often there was which verdict, after so many mutations in which no promise was broken."""
    verdicts: Counter[str] = Counter()
    contents = files()
    known = known_of(contents)
    others = list(contents.values())
    names = list(contents)
    for number in range(count):
        chance = Random(f"{seed}/{number}")
        exchange = names[number % len(names)]
        content = mutated(contents[exchange], others, chance)
        try:
            verdicts[check(exchange, content, known[exchange])] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, mutation {number} of {exchange}: {error!r}\n{content!r}") from error
    return verdicts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    verdicts = fuzz(arguments.count, arguments.seed)
    told = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items()))
    sys.stdout.write(f"{arguments.count} mutations, seed {arguments.seed}: every promise held ({told})\n")


if __name__ == "__main__":
    main()
