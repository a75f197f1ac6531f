"""`observer journal`: what is in a journal (a capture, or a segment of an outbox), and whether it is whole."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from bus.codec import Batch, BatchError, decode_events, unpack
from bus.events import Event, Poison, kind_of
from bus.journal import JournalError, JournalReader, cut_torn_tail
from bus.verification import Verdict, verify
from observer.errors import DataFileError

TORN = 1
HAS_HOLES = 3
DAMAGED = 2

app = typer.Typer(help="Journals: captures, and the segments of outboxes.", no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(help="The journal.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout: one object a line.")]


class ShownEvent(msgspec.Struct, frozen=True):
    """One event of a journal: its place, its kind and its fields; of what cannot be read, the bytes and the reason."""

    stream: str
    sequence: int
    kind: str
    event: dict[str, object]


@app.command()
def show(
    file: FileArgument,
    limit: Annotated[int, typer.Option(min=0, help="At most so many events; 0 for all.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Print the label, and the batches with their events, oldest first; stops before a torn tail."""
    try:
        reader = JournalReader(file)
    except (JournalError, OSError) as error:
        raise DataFileError(str(error)) from error
    try:
        if not as_json:
            sys.stdout.write(f"{reader.label}\n")
        _show_batches(reader, limit, as_json=as_json)
    finally:
        reader.close()


def _show_batches(reader: JournalReader, limit: int, *, as_json: bool) -> None:
    left = limit or sys.maxsize
    for record in reader:
        try:
            batch = unpack(record.payload)
        except BatchError as error:
            raise DataFileError(f"the record that ends at byte {record.end_offset:,} is no batch: {error}") from error
        if left <= 0:
            return
        if not as_json:
            sys.stdout.write(f"{batch.stream} {batch.first_sequence}-{batch.last_sequence} v{batch.schema_version}\n")
        for shown in list(_shown_events(batch))[:left]:
            sys.stdout.write(_line(shown, as_json=as_json))
        left -= batch.count


def _shown_events(batch: Batch) -> Iterator[ShownEvent]:
    for sequence, event in enumerate(decode_events(batch), batch.first_sequence):
        yield ShownEvent(batch.stream, sequence, _kind(event), msgspec.structs.asdict(event))


def _kind(event: Event | Poison) -> str:
    return "unreadable" if isinstance(event, Poison) else kind_of(type(event))


def _line(shown: ShownEvent, *, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode(shown).decode() + "\n"
    fields = " ".join(f"{name}={value}" for name, value in shown.event.items() if value is not None)
    return f"  {shown.sequence} {shown.kind} {fields}\n"


@app.command("verify")
def verify_command(
    file: FileArgument,
    cut: Annotated[bool, typer.Option("--cut", help="Cut a torn tail off; nothing that was ever whole goes.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read a journal to its end and say whether it is whole.

    Exit status 0: whole. 1: it ends in a torn tail, which a killed process leaves (0 again once it is cut). 2: not a
    journal, or damaged in the middle. 3: the file is whole, but events are missing between those that it holds, as in
    a capture that was too slow; only of a capture of some kinds nothing can be told.
    """
    try:
        verdict = verify(file)
        torn_bytes = cut_torn_tail(file) if cut and verdict.torn_bytes else 0
    except (JournalError, OSError) as error:
        raise DataFileError(str(error)) from error
    if as_json:
        sys.stdout.write(msgspec.json.encode(verdict).decode() + "\n")
    else:
        sys.stdout.write(_verdict_text(verdict))
    if torn_bytes:
        sys.stderr.write(f"observer: {torn_bytes:,} bytes cut from {file}\n")
    raise typer.Exit(_exit_status(verdict, cut=cut))


def _exit_status(verdict: Verdict, *, cut: bool) -> int:
    if verdict.damaged_at is not None:
        return DAMAGED
    if verdict.torn_bytes and not cut:
        return TORN
    return HAS_HOLES if verdict.has_holes else 0


def _verdict_text(verdict: Verdict) -> str:
    lines = [f"{verdict.label}: {verdict.records:,} batches, {verdict.events:,} events, {verdict.size_bytes:,} bytes"]
    for stream, content in verdict.streams.items():
        absent = f", {content.absent:,} of them absent" if content.absent else ""
        lines.append(f"  {stream} {content.first_sequence:,} to {content.last_sequence:,}{absent}")
    if verdict.unreadable:
        lines.append(f"{verdict.unreadable:,} events cannot be read; they go to quarantine")
    if verdict.torn_bytes:
        lines.append(f"torn: the last {verdict.torn_bytes:,} bytes are no whole record")
    if verdict.damaged_at is not None:
        lines.append(f"damaged: at byte {verdict.damaged_at:,} there is no whole record, but whole ones follow")
    if verdict.has_holes:
        lines.append(f"{verdict.absent:,} events are missing in it")
    return "\n".join([*lines, ""])
