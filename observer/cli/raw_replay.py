"""`observer replay --raw`: the records of a raw capture through the decoders of its broker again."""

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import typer
from rich.console import Console
from rich.status import Status

from observer.brokers import PROVIDER
from observer.errors import ConfigError, DataFileError
from observer.providers.kis.replayed import Decoded, RawDecoder
from observer.providers.raw import RawRecord
from observer.providers.raw_folder import RawJournal, merged, paths_in

_INCOMPLETE: Final = 1
_SHOW_EVERY: Final = 5_000  # records


class ReplayedFact(msgspec.Struct, frozen=True):
    """One line of `--out`: whose record gave it, by which way that came and when, and the fact's fields by name."""

    account: str
    channel: str
    time_ns: int
    kind: str
    value: Mapping[str, object]


class RawReplaySummary(msgspec.Struct, frozen=True):
    """What a raw capture holds. `kinds` counts what was decoded; `refused` answers were the broker's no, `malformed`
    ones could not be read (as live), `unknown` ones have no decoder.
    """

    folder: str
    files: int
    records: int
    kinds: Mapping[str, int]
    refused: int
    malformed: int
    unknown: int
    torn_bytes: int


def replay_raw(folder: Path, out: Path | None, *, as_json: bool) -> None:
    """Decode all of the folder's records, in the order of their times.

    Raises:
        DataFileError: there is no raw capture in the folder, or none that there is a decoder for.
        ConfigError: the file cannot be written, or is there already.
        typer.Exit: with status 1, when an answer has no decoder or a journal a torn tail.
    """
    with _journals(folder) as journals, _lines(out) as write:
        summary = _replay(folder, journals, write)
    _tell(summary, as_json=as_json)
    if summary.unknown or summary.torn_bytes:
        raise typer.Exit(_INCOMPLETE)


@contextlib.contextmanager
def _journals(folder: Path) -> Iterator[list[RawJournal]]:
    with contextlib.ExitStack() as stack:
        journals: list[RawJournal] = []
        for path in paths_in(folder):
            journal = RawJournal(path)
            stack.callback(journal.close)
            if journal.label.provider != PROVIDER:
                raise DataFileError(f"{path} is of {journal.label.provider}, which there is no decoder for")
            journals.append(journal)
        if not journals:
            raise DataFileError(f"there is no raw capture in {folder}")
        yield journals


@contextlib.contextmanager
def _lines(out: Path | None) -> Iterator[Callable[[RawRecord, msgspec.Struct], None]]:
    """What writes a fact as a line, or does nothing when no file is wanted."""
    if out is None:
        yield lambda _record, _fact: None
        return
    try:
        file = out.open("xb")
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}") from error
    with file:
        yield lambda record, fact: _write(file, record, fact)


def _write(file: BinaryIO, record: RawRecord, fact: msgspec.Struct) -> None:
    value = msgspec.structs.asdict(fact)
    line = ReplayedFact(record.account, record.channel, record.time_ns, type(fact).__name__, value)
    file.write(msgspec.json.encode(line) + b"\n")


def _replay(
    folder: Path, journals: list[RawJournal], write: Callable[[RawRecord, msgspec.Struct], None]
) -> RawReplaySummary:
    decoders = {journal.path: RawDecoder() for journal in journals}
    kinds: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    with Status("", console=Console(stderr=True)) as status:
        for number, (journal, record) in enumerate(merged(journals), start=1):
            decoded: Decoded = decoders[journal.path].decode(record)
            outcomes[decoded.outcome] += 1
            for fact in decoded.facts:
                kinds[type(fact).__name__] += 1
                write(record, fact)
            if number % _SHOW_EVERY == 0:
                status.update(f"{folder}: {number:,} records")
    return RawReplaySummary(
        folder=str(folder),
        files=len(journals),
        records=outcomes.total(),
        kinds=dict(sorted(kinds.items())),
        refused=outcomes["refused"],
        malformed=outcomes["malformed"],
        unknown=outcomes["unknown"],
        torn_bytes=sum(journal.torn_bytes for journal in journals),
    )


def _tell(summary: RawReplaySummary, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
        return
    sys.stdout.write(f"{summary.folder}: {summary.records:,} records in {summary.files} files\n")
    for kind, count in summary.kinds.items():
        sys.stdout.write(f"{count:>12,} {kind}\n")
    for what in ("refused", "malformed", "unknown"):
        if count := getattr(summary, what):
            sys.stdout.write(f"{count:>12,} answers {what}\n")
    if summary.torn_bytes:
        sys.stderr.write(f"observer: torn tails of {summary.torn_bytes:,} bytes hold no whole record\n")
