"""Mutated master files: `python -m tests.reference.fuzz_masters --count 500000 [--seed N]`.

Each mutation of a small file (bytes flipped, cut, doubled, lines mixed with another exchange's) goes the whole pure
way: parse, judge, events. Never an exception but for DataFileError, every line accounted for, and never an event about
another exchange; a failing seed is printed.
"""

import argparse
import sys
from collections.abc import Mapping
from random import Random

from bus.events import ListingChanged, ListingValued
from observer.providers.kis.listings import listing_abroad, parse_listings
from observer.providers.kis.masters import lines_of
from observer.providers.kis.masters_abroad import parse_abroad
from observer.reference.changes import KnownListings, ReferenceSettings
from observer.reference.intake import MasterFile, events_of, judge
from observer.simulator.foreign_masters import made_up_foreign_contents
from observer.simulator.instruments import made_up_konex
from observer.simulator.masters import file_of

SETTINGS = ReferenceSettings(max_removed=1_000, max_new=1_000, max_shrink_percent=100.0)
ABROAD = {"NASD": "NAS", "SEHK": "HKS", "SHI": "SHI"}


def files() -> Mapping[str, bytes]:
    foreign = made_up_foreign_contents(Random)
    contents = {exchange: foreign[f"{code.lower()}mst.cod"] for exchange, code in ABROAD.items()}
    contents["KONEX"] = file_of(made_up_konex("2026-11-18", Random))
    contents["IDXCODE"] = b"".join(b"0%04d" % number + "업종".encode("cp949").ljust(40) + b"\n" for number in range(20))
    return {exchange: b"".join(content.splitlines(keepends=True)[:12]) for exchange, content in contents.items()}


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


def check(exchange: str, content: bytes, known: KnownListings) -> None:
    """One file; raises AssertionError, or what it should not, where a promise is broken."""
    listings, bad = parse_listings(exchange, content)
    assert len(listings) + len(bad) == len(lines_of(content)), "a line is lost"
    if exchange in ABROAD:
        records, also_bad = parse_abroad(ABROAD[exchange], content)
        assert listings == [listing_abroad(exchange, record) for record in records], "the quick way reads otherwise"
        assert bad == also_bad, "the quick way refuses otherwise"
    file = MasterFile("kis", exchange, listings, bad, len(content), "", 1)
    judged = judge(file, known, SETTINGS, old_size_bytes=None)
    for event in events_of(file, judged):
        if isinstance(event, ListingChanged | ListingValued):
            assert event.exchange == exchange, "another exchange's listing is touched"
    gone = {change.listing.symbol for change in judged.changes if change.kind == "removed"}
    assert gone <= known.keys() - {listing.symbol for listing in listings}


def fuzz(count: int, seed: int) -> None:
    contents = files()
    known = known_of(contents)
    others = list(contents.values())
    names = list(contents)
    for number in range(count):
        chance = Random(f"{seed}/{number}")
        exchange = names[number % len(names)]
        content = mutated(contents[exchange], others, chance)
        try:
            check(exchange, content, known[exchange])
        except Exception as error:
            raise AssertionError(f"seed {seed}, mutation {number} of {exchange}: {error!r}\n{content!r}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    fuzz(arguments.count, arguments.seed)
    sys.stdout.write(f"{arguments.count} mutations, seed {arguments.seed}: every promise held\n")


if __name__ == "__main__":
    main()
