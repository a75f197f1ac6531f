"""Every interleaving of a small world, breadth first: the first broken promise is found by its shortest trace."""

import copy
import time
from collections import Counter, deque
from collections.abc import Hashable, Iterator, Mapping
from typing import NamedTuple

from bus.delivery import Receiver, Sender, StreamProgress
from tests.bus.delivery_world import BrokenPromise, Ends, World

Action = tuple[str, tuple[object, ...]]
Bounds = Mapping[str, int]
UNDER_WAY = 2  # batches in the network; more wait until one of them arrives or is lost


class Explored(NamedTuple):
    """What an exploration reached, and the trace of actions to a broken promise, if there is one."""

    states: int
    steps: int
    seconds: float  # of the processor
    reach: Counter[str]
    broken: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        reach = ", ".join(f"{count:,} {what}" for what, count in sorted(self.reach.items()))
        text = f"{self.states:,} states, {self.steps:,} steps, {self.seconds:.1f} s: {reach}"
        return "\n  ".join([text, *self.trace, self.broken]) if self.broken else text


class _Node(NamedTuple):
    world: World
    left: dict[str, int]
    trace: tuple[object, ...]  # (the trace before, the action)


def explore(bounds: Bounds, ends: Ends = (Sender, Receiver), credit: int = 2) -> Explored:
    """Go through every state that is reachable with at most so many of each bounded action (`actions`). From each, what
    was appended must arrive once the network behaves.
    """
    began_s = time.process_time()
    first = World(ends, credit)
    reach = first.reach
    waiting = deque([_Node(first, dict(bounds), ())])
    seen, settled = {key(first, dict(bounds))}, set[int]()
    steps = 0
    while waiting:
        world, left, trace = waiting.popleft()
        for bounded, (name, arguments) in actions(world, left):
            steps += 1
            after, still = copied(world), left
            if bounded:
                still = left | {bounded: left[bounded] - 1}
            path = (trace, f"{name}{arguments}")
            try:
                getattr(after, name)(*arguments)
                after.check()
                state = key(after, still)
                if state in seen:
                    continue
                seen.add(state)
                settle(after, settled)
            except BrokenPromise as error:
                return Explored(len(seen), steps, time.process_time() - began_s, reach, str(error), unrolled(path))
            waiting.append(_Node(after, still, path))
    return Explored(len(seen), steps, time.process_time() - began_s, reach, "", ())


def settle(world: World, settled: set[int]) -> None:
    """Let the network behave, once for all the states that differ in their messages under way alone."""
    quiet = copied(world)
    quiet.reach = Counter()
    quiet.to_writer.clear()
    quiet.to_producer.clear()
    state = key(quiet, {})
    if state not in settled:
        settled.add(state)
        quiet.settle()


def actions(world: World, left: Bounds) -> Iterator[tuple[str, Action]]:
    """What can happen next, each with the bound that it uses up, if any."""
    if left.get("appends"):
        yield "appends", ("append", (1,))
    messages = len(world.to_writer)
    if not any(type(message).__name__ in ("Hello", "Welcome") for message in world.to_writer + world.to_producer):
        yield "", ("say_hello", ())
    elif left.get("hellos"):
        yield "hellos", ("say_hello", ())
    if messages < UNDER_WAY and (position := world.sender.next_to_send()):
        stream, number = position
        for size in range(1, min(2, world.held[stream] - number + 1) + 1):
            yield "", ("send", (size,))
    if messages < UNDER_WAY and left.get("repeats"):
        yield from (("repeats", ("repeat", (position,))) for position in range(messages))
    for receive, lose, count in (
        ("receive", "lose_to_writer", messages),
        ("hear", "lose_to_producer", len(world.to_producer)),
    ):
        for position in range(count):
            if not position or left.get("overtakings"):
                yield "overtakings" if position else "", (receive, (position,))
            if left.get("losses"):
                yield "losses", (lose, (position,))
    if world.group:
        yield "", ("commit", ())
        if left.get("troubles"):
            for fate in ("unanswered", "refused", "after another writer"):
                yield "troubles", ("commit", (fate,))
    if left.get("writer restarts"):
        yield "writer restarts", ("start_writer", ())
    if left.get("producer restarts"):
        yield "producer restarts", ("start_producer", ())
    if left.get("power failures") and world.held[world.current]:
        yield "power failures", ("start_producer", (1,))
    if left.get("put-backs"):
        for back in range(1, len(world.backups)):
            yield "put-backs", ("put_back", (back,))
    if left.get("damages"):
        for stream, last in world.held.items():
            for number in range(1, last + 1):
                if (stream, number) not in world.gone:
                    yield "damages", ("damage", (stream, number))


def copied(world: World) -> World:
    """A world that goes its own way from here; both count into one reach."""
    other = copy.copy(world)
    for name, value in vars(world).items():
        if type(value) in (dict, list, set):
            setattr(other, name, value.copy())
    for name in ("sender", "receiver"):
        end = copy.copy(getattr(world, name))
        setattr(other, name, end)
        for field, value in vars(end).items():
            if type(value) is dict:
                setattr(end, field, {each: copy.copy(progress) for each, progress in value.items()})
    return other


def key(world: World, left: Bounds) -> int:
    """The same for worlds in which the same actions have the same outcomes from here on."""
    backups = [(each.epoch, marks_of(each.stored)) for each in world.backups] if left.get("put-backs") else []
    return hash(
        (
            tuple(left.values()),
            frozenset(world.published.items()),
            frozenset(world.held.items()),
            frozenset(world.archived.items()),
            frozenset(world.gone),
            (world.noted_epoch, world.epochs, world.falls, world.database.epoch, frozenset(world.newest.items())),
            marks_of(world.database.stored),
            tuple(backups),
            tuple(map(repr, world.to_writer)),
            tuple(map(repr, world.to_producer)),
            tuple(map(repr, world.group)),
            tuple(frozen(value) for value in vars(world.sender).values()),
            tuple(frozen(value) for name, value in vars(world.receiver).items() if name != "duplicates"),
        )
    )


def marks_of(stored: Mapping[str, tuple[int, ...]]) -> Hashable:
    return frozenset(stored.items())


def frozen(value: object) -> Hashable:
    if type(value) is not dict:
        return value
    each = [
        (stream, (mark.sent, mark.acknowledged, mark.appended) if isinstance(mark, StreamProgress) else mark)
        for stream, mark in value.items()
    ]
    return tuple(each) if each and isinstance(next(iter(value.values())), StreamProgress) else frozenset(each)


def unrolled(path: tuple[object, ...]) -> tuple[str, ...]:
    trace = []
    while path:
        path, action = path
        trace.append(action)
    return tuple(reversed(trace))
