"""Faults of the two ends, each a plausible mistake in `bus/delivery.py`. The tests of delivery must find every one."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from bus.delivery import Acknowledged, Admission, Hello, Receiver, Rewind, Sender, Welcome


class NeverFallsBack(Sender):
    def fallen(self, welcome: Welcome, archived: Mapping[str, int]) -> Mapping[str, int]:
        return {}


class HelloOmitsTheArchive(Sender):
    def hello(self, producer: str, archived: Mapping[str, int]) -> Hello:
        return super().hello(producer, {})


class RewindAcknowledges(Sender):
    def rewound(self, stream: str, last_taken: int) -> bool:
        self._advance(stream, last_taken)
        return super().rewound(stream, last_taken)


class OldAcknowledgementCounts(Sender):
    def acknowledged(self, message: Acknowledged) -> None:
        self._advance(message.stream, message.high_water_mark)


class FinishedBySent(Sender):
    def finished(self) -> Sequence[str]:
        *earlier, _current = self._streams.values()
        done = [progress.stream for progress in earlier if progress.sent == progress.appended]
        for stream in done:
            del self._streams[stream]
        return done


class EachWelcomeRewinds(Sender):
    def welcomed(self, welcome: Welcome) -> None:
        self.disconnected()
        super().welcomed(welcome)


class RolledBackKeepsTheAdmitted(Receiver):
    def rolled_back(self, high_water_marks: Mapping[str, int]) -> Sequence[Rewind]:
        return [Rewind(stream, mark) for stream, mark in high_water_marks.items()]


class NewEpochKeepsTheAdmitted(Receiver):
    def began_epoch(self, epoch: str) -> None:
        self.epoch = epoch
        self._committed.clear()


class CommittedIsForgotten(Receiver):
    def committed(self, stream: str, high_water_mark: int) -> None:
        pass


class SkipIgnored(Receiver):
    def admit(self, stream: str, first_sequence: int, count: int) -> Admission:
        return replace(super().admit(stream, first_sequence, count), skip=0)


class AheadTaken(Receiver):
    def admit(self, stream: str, first_sequence: int, count: int) -> Admission:
        if first_sequence <= self._admitted[stream] + 1:
            return super().admit(stream, first_sequence, count)
        self._admitted[stream] = first_sequence + count - 1
        return Admission("take")


class OneAheadTaken(Receiver):
    """`first_sequence > mark + 2`."""

    def admit(self, stream: str, first_sequence: int, count: int) -> Admission:
        if first_sequence != self._admitted[stream] + 2:
            return super().admit(stream, first_sequence, count)
        self._admitted[stream] = first_sequence + count - 1
        return Admission("take", -1)


class HelloOfAnOldEpochCounts(Receiver):
    def has_gone_back(self, hello: Hello, high_water_marks: Mapping[str, int]) -> bool:
        return super().has_gone_back(replace(hello, epoch=self.epoch), high_water_marks)


class HelloForgetsTheAdmitted(Receiver):
    def greeted(self, high_water_marks: Mapping[str, int]) -> None:
        self._admitted |= high_water_marks
        self._committed |= high_water_marks
