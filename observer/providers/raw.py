"""A raw capture: what a broker and we said to each other, before anything was decoded. Pure but for the journal.

Its records lie in journals (`bus.journal`), one for each process and start. The label is "raw <capture id> <provider>
<process>", a record is a `RawRecord` in MessagePack. Master files are no part of it: they are files already.
"""

from collections.abc import Mapping
from typing import Final, Literal, Protocol

import msgspec

from bus.journal import JournalError

SUFFIX: Final = ".journal"

Direction = Literal["sent", "received"]
Channel = Literal["stream", "rest"]


class RawRecord(msgspec.Struct, frozen=True, array_like=True):
    """One frame, one request or one answer, without secrets (`observer.providers.blanking`).

    `connection` counts the connections of the account's stream; for REST it counts the requests, and an answer has
    the number of its request. `time_ns` is market time: of receiving, the same that the decoder was given, or of
    sending. `call`, `status`, `headers` and `query` are empty (0) for frames; an answer repeats what its request asked.
    """

    direction: Direction
    channel: Channel
    account: str
    connection: int
    time_ns: int
    content: bytes
    call: str = ""
    status: int = 0
    headers: Mapping[str, str] = {}
    query: Mapping[str, str] = {}


class RawLabel(msgspec.Struct, frozen=True):
    """What the label of such a journal says."""

    capture_id: str
    provider: str
    process: str

    def __str__(self) -> str:
        """As it stands in the file."""
        return f"raw {self.capture_id} {self.provider} {self.process}"


class FrameRecorder(Protocol):
    """Where the frames of one account's stream are recorded. Synchronous, quick, and it never fails."""

    def frame(self, direction: Direction, connection: int, time_ns: int, content: bytes) -> None:
        """A frame as it came, or as it is sent."""
        ...


class CallRecorder(Protocol):
    """Where one account's REST calls are recorded. Synchronous, quick, and it never fails."""

    def request(self, call: str, headers: Mapping[str, str], query: Mapping[str, str], content: bytes) -> int:
        """A request as it is sent; returns its number, for the answer."""
        ...

    def answer(
        self, number: int, call: str, status: int, headers: Mapping[str, str], query: Mapping[str, str], content: bytes
    ) -> None:
        """An answer as it came, to the request of this number; a refusal too."""
        ...


class _Unrecorded:
    """Records nothing. Satisfies `FrameRecorder` and `CallRecorder`."""

    def frame(self, direction: Direction, connection: int, time_ns: int, content: bytes) -> None:
        pass

    def request(
        self,
        call: str,  # noqa: ARG002 - the names are the Protocol's
        headers: Mapping[str, str],  # noqa: ARG002
        query: Mapping[str, str],  # noqa: ARG002
        content: bytes,  # noqa: ARG002
    ) -> int:
        return 0

    def answer(
        self, number: int, call: str, status: int, headers: Mapping[str, str], query: Mapping[str, str], content: bytes
    ) -> None:
        pass


UNRECORDED: Final = _Unrecorded()
"""For whoever speaks to a broker where no capture can be wanted."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(RawRecord)


def encode(record: RawRecord) -> bytes:
    """A record as a journal's payload."""
    return _encoder.encode(record)


def decode(payload: bytes) -> RawRecord:
    """A journal's payload as a record.

    Raises:
        JournalError: it is something else.
    """
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalError(f"no record of a raw capture: {error}") from error


def read_label(label: str) -> RawLabel:
    """The label of a raw capture's journal.

    Raises:
        JournalError: the journal is something else.
    """
    match label.split(" "):
        case ["raw", capture_id, provider, process]:
            return RawLabel(capture_id, provider, process)
    raise JournalError(f"not a raw capture: its label is {label!r}")
