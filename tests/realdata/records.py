"""Every real and published example of a record that lies beside the repository, and what our parsers make of it.

    python -m tests.realdata.records      # the list

Examples: each line of kis-frames/frames.jsonl, each frame and record that the gathered notes beside the repository
quote, each master file.
"""

import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from observer.brokers.dialect import Data
from observer.brokers.kis.listings import file_name, parse_listings
from observer.brokers.kis.session import KisSession
from observer.reference.listings.model import EXCHANGES

SHARED: Final = Path(__file__).parents[3] / "shared"
FRAMES: Final = SHARED / "data" / "kis-frames" / "frames.jsonl"
MASTERS: Final = SHARED / "data" / "kis-master"
DOCUMENT: Final = SHARED / "reference" / "kis-api.md"
RECEIVED_NS: Final = 1_790_053_570_000_000_000  # 2026-09-22 14:06:10 KST
# Streams that ours or a configuration of ours can subscribe to.
STREAMED: Final = (
    *("H0STCNT0", "H0NXCNT0", "H0UNCNT0", "H0STASP0", "H0NXASP0", "H0UNASP0"),
    *("H0STANC0", "H0STMKO0", "H0NXMKO0", "H0STNAV0"),
)
_QUOTED: Final = re.compile(r"`([^`]+)`")


class Read(msgspec.Struct, frozen=True):
    """An example, its kind, how many records were read, and what was not, with the reason."""

    source: str
    name: str
    kind: str
    records: int
    unread: str = ""


def examples() -> Iterator[Read]:
    """All of them, in the order of the files."""
    for line in FRAMES.read_text().splitlines():
        sample = json.loads(line)
        yield read_frame(FRAMES.name, sample["id"], sample["raw"])
    for number, line in enumerate(DOCUMENT.read_text().splitlines(), start=1):
        for name, frame in quoted_frames(line):
            yield read_frame(DOCUMENT.name, f"line {number}: {name}", frame)
    for path in sorted(MASTERS.rglob("*.*")):
        yield read_master(path)


def quoted_frames(line: str) -> Iterator[tuple[str, str]]:
    """The stream's texts that a line of the document quotes; a bare record belongs to the TR id that the line names."""
    named = re.search(r"H0[A-Z]{5}\d", line)
    for text in _QUOTED.findall(line):
        if re.match(r"[01]\|H0", text):
            yield text[:30], text
        elif re.match(r"[0-9A-Z]{6}\^", text) and named is not None:
            yield text[:30], f"0|{named[0]}|001|{text}"
        elif text.startswith('{"header":{"tr_id":"PINGPONG"'):
            yield text[:30], text


def read_frame(source: str, name: str, frame: str) -> Read:
    """What a session makes of a frame."""
    session = KisSession("key")
    message = session.read(frame)
    if not isinstance(message, Data):
        return Read(source, name, type(message).__name__, 1)
    parsed = session.parse(message, RECEIVED_NS)
    reason = "" if parsed.broken is None else parsed.broken.reason
    return Read(source, name, frame.split("|")[1], len(parsed.trades) + len(parsed.facts), reason)


def read_master(path: Path) -> Read:
    """What the parser of the file's exchange makes of a master file, packed or not."""
    name, content = path.name.removesuffix(".zip"), path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as packed:
            content = packed.read(packed.namelist()[0])
    exchange = next(each for each in EXCHANGES if file_name(each).lower() == name.lower())
    listings, bad = parse_listings(exchange, content)
    unread = f"{len(bad)} records, the first: {bad[0]}" if bad else ""
    return Read(f"{path.parent.name}/{path.name}", "", exchange, len(listings), unread)


def main() -> int:
    """Print the list, and the streams without an example."""
    found = list(examples())
    for each in found:
        shown = f"{each.source:<28} {each.name:<42} {each.kind:<12} {each.records:>6,} read"
        sys.stdout.write(f"{shown}{f'; not read: {each.unread}' if each.unread else ''}\n")
    missing = [tr_id for tr_id in STREAMED if tr_id not in {each.kind for each in found}]
    sys.stdout.write(f"no real or published example: {', '.join(missing)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
