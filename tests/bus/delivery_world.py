"""The real `Sender` and `Receiver`, and around them in memory what they work with: an outbox, a network, a database.

The state machine and the explorer do the same things to it. An event is its number; a number that is stated as lost is
stored negative. The network reorders at will: `receive` and `hear` take any message that is under way.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from bus.delivery import (
    Acknowledged,
    Delivered,
    Hello,
    Lost,
    Part,
    Receiver,
    Rewind,
    Sender,
    StreamProgress,
    ToProducer,
    Unknown,
    Welcome,
    last_sequences,
    outcome_of,
)

PRODUCER = "producer"
BATCH = 4  # the most events of one
Ends = tuple[type[Sender], type[Receiver]]


class Database(NamedTuple):
    """What one transaction left."""

    epoch: str
    stored: Mapping[str, tuple[int, ...]]


class BrokenPromise(AssertionError):  # noqa: N818  (it names what happened)
    """The world is in a state that the delivery promise excludes."""


class World:
    """One producer and one writer; `reach` counts what happened, over all copies of a world."""

    def __init__(self, ends: Ends = (Sender, Receiver), credit: int = 7) -> None:
        self.make_sender, self.make_receiver = ends
        self.credit = credit
        self.reach: Counter[str] = Counter()
        self.published: dict[str, int] = {}  # the last number that was ever appended, by stream
        self.held: dict[str, int] = {}  # the last number that the outbox's files know of: a power failure takes a tail
        self.archived: dict[str, int] = {}
        self.noted_epoch = ""
        self.gone: set[tuple[str, int]] = set()  # numbers that no file of the outbox holds any more
        self.database = Database("1", {})
        self.backups = [self.database]  # as each transaction left it
        self.epochs = 1
        self.falls = 0
        self.to_writer: list[Hello | Part] = []
        self.to_producer: list[ToProducer] = []
        self.group: list[Part] = []  # taken by the writer, and not committed
        self.start_producer()
        self.start_writer()

    def marks(self, streams: Iterable[str]) -> dict[str, int]:
        return {stream: len(self.database.stored.get(stream, ())) for stream in streams}

    # --- the producer and its outbox -------------------------------------------------------------------------

    def start_producer(self, unwritten: int = 0) -> None:
        """The process died and a new one opens a new stream; after a power failure the files lack some last events."""
        if self.held:
            self.held[self.current] = max(0, self.held[self.current] - unwritten)
            self.reach["producer restarts with events under way"] += self.sender.under_way > 0
        self.current = f"s{len(self.held)}"
        self.published[self.current] = self.held[self.current] = 0
        here = [StreamProgress(stream, last) for stream, last in self.held.items() if stream not in self.archived]
        self.sender = self.make_sender(here, self.noted_epoch)

    def append(self, count: int) -> None:
        self.published[self.current] += count
        self.held[self.current] += count
        self.sender.appended(self.current, self.held[self.current])

    def damage(self, stream: str, number: int) -> None:
        self.gone.add((stream, number))

    def say_hello(self) -> None:
        self.sender.disconnected()
        self.to_writer.append(self.sender.hello(PRODUCER, self.archived))

    def send(self, size: int) -> None:
        """The next batch, or the statement that its numbers are lost."""
        if not (position := self.sender.next_to_send()):
            return
        stream, first = position
        last = first
        while last < min(first + size - 1, self.held[stream]) and self.is_gone(stream, last + 1) == self.is_gone(
            stream, first
        ):
            last += 1
        if self.is_gone(stream, first):
            self.to_writer.append(Lost(stream, first, last, "damaged"))
        else:
            self.to_writer.append(Delivered(PRODUCER, stream, first, tuple(range(first, last + 1))))
        self.sender.sent(stream, last)

    def is_gone(self, stream: str, number: int) -> bool:
        return (stream, number) in self.gone

    def hear(self, position: int) -> None:
        """The producer receives a message."""
        match self.to_producer.pop(position):
            case Acknowledged() as message:
                self.reach["acknowledgements of another epoch"] += message.epoch != self.sender.epoch
                self.sender.acknowledged(message)
            case Welcome() as message:
                self.hear_welcome(message)
            case Rewind(stream, last_taken):
                under_way = self.sender.under_way
                if not self.sender.rewound(stream, last_taken):
                    self.say_hello()
                self.reach["rewinds obeyed"] += self.sender.under_way < under_way
            case Unknown():
                self.say_hello()
        finished = {stream: self.held[stream] for stream in self.sender.finished() if self.held[stream]}
        self.archived |= finished
        self.reach["streams archived"] += len(finished)

    def hear_welcome(self, welcome: Welcome) -> None:
        for stream, mark in reversed(list(self.sender.fallen(welcome, self.archived).items())):
            self.reach["streams revived"] += self.archived.pop(stream, None) is not None
            self.reach["streams taken back"] += 1
            self.sender.revived(stream, self.held[stream], mark)
        self.sender.welcomed(welcome)
        self.noted_epoch = welcome.epoch

    # --- the network -----------------------------------------------------------------------------------------

    def lose_to_writer(self, position: int) -> None:
        self.reach["messages lost"] += 1
        del self.to_writer[position]

    def lose_to_producer(self, position: int) -> None:
        self.reach["messages lost"] += 1
        del self.to_producer[position]

    def repeat(self, position: int) -> None:
        self.reach["messages repeated"] += 1
        self.to_writer.append(self.to_writer[position])

    # --- the writer and its database; what bus.ingest decides ------------------------------------------------

    def start_writer(self) -> None:
        self.reach["writer restarts with a group waiting"] += bool(self.group)
        self.receiver = self.make_receiver(self.database.epoch)
        self.group = []
        self.newest: Mapping[str, int] = {}

    def receive(self, position: int) -> None:
        """The writer receives a message."""
        message = self.to_writer.pop(position)
        if isinstance(message, Hello):
            self.greet(message)
        elif not self.receiver.knows(message.stream):
            self.to_producer.append(Unknown())
        else:
            self.admit(message)

    def greet(self, hello: Hello) -> None:
        marks = self.marks(hello.acknowledged)
        if self.receiver.has_gone_back(hello, marks | self.marks(self.newest)):
            self.begin_epoch()
        self.receiver.greeted(marks)
        taken = {stream: self.receiver.admitted_mark(stream) for stream in marks}
        self.reach["hellos with a group waiting"] += bool(self.group)
        self.to_producer.append(Welcome(marks, self.credit, self.receiver.epoch, taken))

    def admit(self, part: Part) -> None:
        count = part.last_sequence - part.first_sequence + 1
        admission = self.receiver.admit(part.stream, part.first_sequence, count)
        first = part.first_sequence + admission.skip
        self.reach[f"batches: {admission.decision}"] += 1
        self.reach["batches with a known front"] += admission.skip > 0
        if admission.decision == "ahead":
            self.to_producer.append(Rewind(part.stream, self.receiver.admitted_mark(part.stream)))
        elif admission.decision == "take" and isinstance(part, Lost):
            self.group.append(replace(part, first_sequence=first))
        elif admission.decision == "take":
            self.group.append(replace(part, first_sequence=first, events=part.events[admission.skip :]))

    def commit(self, fate: str = "answered") -> None:
        """One transaction. It is answered; or it succeeds and its answer is lost; or it is refused; or a writer that is
        not dead yet stores the first event of the group before it.
        """
        if not self.group:
            return
        group, self.group = self.group, []
        follows = self.follows(group)
        if follows and fate == "after another writer":
            self.store([first_of(group[0])])
        elif follows and fate != "refused":
            self.store(group)
        if follows and fate == "answered":
            self.committed(group)
            return
        self.reach[f"commits {fate}" if follows else "groups that do not follow"] += 1
        marks = self.marks({**last_sequences(group), **self.newest})
        match outcome_of(group, marks, self.newest):
            case "stored":
                self.committed(group)
            case "refused":
                self.group = group
            case "went back":
                self.begin_epoch()
            case "other":
                self.to_producer.extend(self.receiver.rolled_back({part.stream: marks[part.stream] for part in group}))
                self.reach["groups rolled back"] += 1

    def follows(self, group: list[Part]) -> bool:
        """The database takes nothing but the next numbers of each stream, and only if it holds the writer's commits."""
        if any(len(self.database.stored.get(stream, ())) < last for stream, last in self.newest.items()):
            return False
        marks = self.marks(last_sequences(group))
        for part in group:
            if part.first_sequence != marks[part.stream] + 1:
                return False
            marks[part.stream] = part.last_sequence
        return True

    def store(self, group: list[Part]) -> None:
        stored = dict(self.database.stored)
        for part in group:
            lost = isinstance(part, Lost)
            self.reach["numbers stored as lost"] += part.count if lost else 0
            numbers = range(-part.first_sequence, -part.last_sequence - 1, -1) if lost else part.events
            stored[part.stream] = stored.get(part.stream, ()) + tuple(numbers)
        self.replace_database(Database(self.database.epoch, stored))
        self.reach["commits"] += 1
        self.reach["commits in a later epoch"] += self.epochs > 1

    def committed(self, group: list[Part]) -> None:
        self.newest = last_sequences(group)
        for stream, last in self.newest.items():
            self.receiver.committed(stream, last)
            self.to_producer.append(Acknowledged(stream, last, self.receiver.epoch))

    def begin_epoch(self) -> None:
        self.epochs += 1
        self.reach["epochs begun"] += 1
        self.reach["epochs begun with a group waiting"] += bool(self.group)
        self.replace_database(Database(str(self.epochs), self.database.stored))
        self.receiver.began_epoch(self.database.epoch)
        self.group.clear()
        self.newest = {}
        self.to_producer.append(Unknown())

    def replace_database(self, database: Database) -> None:
        self.database = database
        self.backups.append(database)

    def put_back(self, back: int) -> None:
        """A backup takes the database's place, or a server loses its last commits; the writer runs on."""
        del self.backups[len(self.backups) - back :]
        self.database = self.backups[-1]
        self.falls += 1
        self.reach["databases put back"] += 1

    # --- the promise -----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises BrokenPromise where this state breaks it."""
        for stream, numbers in self.database.stored.items():
            if [abs(number) for number in numbers] != list(range(1, len(numbers) + 1)):
                raise BrokenPromise(f"not each number once and in order: {stream} {numbers}")
            if len(numbers) > self.published[stream]:
                raise BrokenPromise(f"stored and never appended: {stream} {numbers}")
            if any(number < 0 and (stream, -number) not in self.gone for number in numbers):
                raise BrokenPromise(f"stated as lost and still there: {stream} {numbers}")
        if self.sender.under_way >= self.credit + BATCH:
            raise BrokenPromise(f"more under way than the credit and one batch: {self.sender!r}")
        if self.epochs - 1 > self.falls:
            raise BrokenPromise(f"epoch {self.epochs} after {self.falls} falls of the database")

    def is_delivered(self) -> bool:
        marks = self.marks(self.held)
        return not self.sender.unacknowledged and all(marks[stream] >= last for stream, last in self.held.items())

    def settle(self) -> None:
        """From now on the network behaves: everything that the outbox knows of arrives or is stated as lost, no event
        is sent twice, and silence follows. Two hellos wait for the writer, which was away.
        """
        self.to_writer.clear()
        self.to_producer.clear()
        self.commit()
        self.say_hello()
        self.say_hello()
        duplicates = self.receiver.duplicates
        for _ in range(10 + sum(self.held.values())):
            while self.to_writer:
                self.receive(0)
            self.commit()
            while self.to_producer:
                self.hear(0)
                while self.sender.next_to_send():
                    self.send(BATCH)
            if not self.to_writer:
                break
        self.check()
        if self.to_writer or not self.is_delivered():
            raise BrokenPromise(f"not delivered: {self.sender!r}, {self.database} of {self.held}, {self.to_writer}")
        if self.receiver.duplicates != duplicates:
            raise BrokenPromise(f"sent again though nothing was lost: {self.sender!r}")


def first_of(part: Part) -> Part:
    """The part's first number alone."""
    if isinstance(part, Lost):
        return replace(part, last_sequence=part.first_sequence)
    return replace(part, events=part.events[:1])
