"""`observer journal`: shows and verifies a journal (a capture, or a segment of an outbox)."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from bus.codec import Batch, BatchError, decode_events, unpack
from bus.events import Event, Poison, kind_of
from bus.journal import JournalError, JournalReader, cut_torn_tail
from bus.verification import JournalReport, verify
from observer.base.errors import DataFileError
from observer.cli.context import JsonOption, print_error
from observer.cli.frame import Answer
from observer.cli.options import Argument, Option

TORN = 1
HAS_MISSING_RANGES = 3
DAMAGED = 2

FileArgument = Annotated[Path, Argument(help="The journal.")]


class ShownEvent(msgspec.Struct, frozen=True):
    """One event of a journal: its event stream, number, kind and fields; bytes and reason of an unreadable one."""

    stream: str
    sequence: int
    kind: str
    event: dict[str, object]


def show(
    file: FileArgument,
    limit: Annotated[int, Option(min=0, help="At most so many events; 0 for all.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Print a journal's label, batches and events, oldest first. Stops before a torn tail."""
    try:
        reader = JournalReader(file)
    except JournalError as error:
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


def verify_command(
    file: FileArgument,
    cut: Annotated[bool, Option("--cut", help="Cut a torn tail off; nothing that was ever whole goes.")] = False,
) -> Answer:
    """Read a journal to its end and check that it is whole.

    Exit status 0: whole. 1: it ends in a torn tail, which a killed process leaves (0 again once it is cut). 2: not a
    journal, or damaged in the middle. 3: the file is whole, but events are missing between those that it holds, as in
    a capture that was too slow. A capture of some kinds only cannot be checked for that.
    """
    try:
        report = verify(file)
        torn_bytes = cut_torn_tail(file) if cut and report.torn_bytes else 0
    except JournalError as error:
        raise DataFileError(str(error)) from error
    if torn_bytes:
        print_error(f"{torn_bytes:,} bytes cut from {file}")
    return Answer(report, _report_text(report), _exit_status(report, cut=cut))


def _exit_status(report: JournalReport, *, cut: bool) -> int:
    if report.damaged_at is not None:
        return DAMAGED
    if report.torn_bytes and not cut:
        return TORN
    return HAS_MISSING_RANGES if report.has_missing_ranges else 0


def _report_text(report: JournalReport) -> str:
    lines = [f"{report.label}: {report.records:,} batches, {report.events:,} events, {report.size_bytes:,} bytes"]
    for stream, content in report.streams.items():
        absent = f", {content.absent:,} of them absent" if content.absent else ""
        lines.append(f"  {stream} {content.first_sequence:,} to {content.last_sequence:,}{absent}")
    if report.unreadable:
        lines.append(f"{report.unreadable:,} events cannot be read; they go to quarantine")
    if report.torn_bytes:
        lines.append(f"torn: the last {report.torn_bytes:,} bytes are no whole record")
    if report.damaged_at is not None:
        lines.append(f"damaged: at byte {report.damaged_at:,} there is no whole record, but whole ones follow")
    if report.has_missing_ranges:
        lines.append(f"{report.absent:,} events are missing in it")
    return "\n".join(lines)
