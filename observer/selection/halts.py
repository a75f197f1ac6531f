"""When a halt of trading is over that nobody takes back: its symbol lost its place, and is streamed no more. Pure."""

import msgspec


class Halt(msgspec.Struct, frozen=True):
    """Since when the symbol is halted, as it was told, and its day's volume as a sweep saw it first after that (None:
    none did yet).
    """

    told_ns: int
    volume: float | None = None


def after_sweep(halt: Halt | None, volume: float, seen_ns: int) -> Halt | None:
    """What is left of a halt when a sweep saw this volume of the day at this time: nothing, when it is more than an
    earlier sweep saw in the halt. The first one alone proves nothing: what it shows may be from before.
    """
    if halt is None or seen_ns <= halt.told_ns:
        return halt
    if halt.volume is None:
        return Halt(halt.told_ns, volume)
    return halt if volume <= halt.volume else None
