"""Verifies the stored listings against the file in force."""

from collections.abc import Sequence

import msgspec

from observer.brokers.broker import Broker
from observer.reference.listings.diff import difference, revalued
from observer.reference.listings.files import LocalFiles
from observer.store.listings import ListingReader


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange: the numbers of listings in the file and in the database, and their differences. Listings without a
    name or a currency are `incomplete`, which is no difference: the broker's own file has one of them.
    """

    exchange: str
    stated: int
    listed: int
    missing: int
    surplus: int
    different: int
    incomplete: int
    problems: Sequence[str]


def verify_exchange(reader: ListingReader, local: LocalFiles, broker: Broker, exchange: str) -> Verified:
    """Compare the database with the broker's file in force; a file pending approval is not in force."""
    listed = reader.listings(exchange)
    path = local.path(exchange)
    stated = broker.listings(exchange, path.read_bytes())[0] if path.exists() else []
    known = {listing.symbol: (listing, True) for listing in listed}
    changes = difference(known, stated)
    kinds = [change.kind for change in changes]
    missing = kinds.count("new") + kinds.count("initial")
    different = kinds.count("changed") + len(revalued(known, stated))
    incomplete = sum(not (listing.name or listing.english_name) or not listing.currency for listing in listed)
    figures = {
        "no file": int(not path.exists()),
        "not in the database": missing,
        "not in the file": kinds.count("removed"),
        "different": different,
    }
    return Verified(
        exchange=exchange,
        stated=len(stated),
        listed=len(listed),
        missing=missing,
        surplus=kinds.count("removed"),
        different=different,
        incomplete=incomplete,
        problems=[name if name == "no file" else f"{count} {name}" for name, count in figures.items() if count],
    )
