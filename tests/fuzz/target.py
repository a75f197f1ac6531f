"""A target: one decoder of bytes from outside, judged on one input at a time.

A decoder returns a value or raises one of its errors. Everything else is a finding: another exception, more than
`CPU_S_MAX` seconds of processor time, or more than `GROWTH_BYTES_MAX` of further memory for one input.
"""

import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from observer.base.errors import ObserverError

CPU_S_MAX: Final = 1.0
GROWTH_BYTES_MAX: Final = 64 * 1024 * 1024  # the largest legitimate body is 16 MB, and is decoded once
PACKAGES: Final = ("bus", "observer", "workers")
_ROOT: Final = Path(__file__).parents[2]


class Target(NamedTuple):
    """One decoder.

    `seeds` returns sound inputs. `run` decodes one input and asserts what the value promises. `errors` are those that
    it may raise. `weight` is its share of a campaign's executions. No input is longer than `length_max` bytes.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    run: Callable[[bytes], object]
    errors: tuple[type[Exception], ...] = (ObserverError,)
    weight: float = 1.0
    length_max: int = 4096


class _TooSlowError(BaseException):
    """Raised in the decoder when its time is over; nothing in it handles it."""


class Finding(NamedTuple):
    """What a target made of an input. `place` is the same for all inputs that fail in the same way."""

    target: str
    place: str
    text: str
    content: bytes


def finding_of(target: Target, content: bytes) -> Finding | None:
    """Run the target on one input; None if the outcome is a value or one of its errors. In the main thread only."""
    before_bytes, before_s = peak_bytes(), time.thread_time()
    try:
        with _interrupted_after(CPU_S_MAX):
            target.run(content)
    except target.errors as error:
        try:
            str(error).encode()  # a log, an alert or a terminal shows it
        except UnicodeEncodeError as wrong:
            return Finding(target.name, f"the text of {type(error).__name__}", repr(wrong), content)
    except (Exception, _TooSlowError) as error:  # noqa: BLE001 - that is the question
        return Finding(target.name, f"{type(error).__name__} at {_place(error)}", _shortened(repr(error)), content)
    if (took_s := time.thread_time() - before_s) > CPU_S_MAX:  # in one call of C code
        return Finding(target.name, "time", f"took {took_s:.1f} s", content)
    if (grown_bytes := peak_bytes() - before_bytes) > GROWTH_BYTES_MAX:
        return Finding(target.name, "memory", f"took {grown_bytes / 1e6:.0f} MB", content)
    return None


@contextmanager
def limited_memory(further_bytes: int) -> Iterator[None]:
    """While the block runs, an allocation beyond so many further bytes is a MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    in_use = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (in_use + further_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def _interrupted_after(cpu_s: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _interrupt(_number: int, _frame: object) -> None:
    raise _TooSlowError


signal.signal(signal.SIGPROF, _interrupt)


def peak_bytes() -> int:
    """The largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _place(error: BaseException) -> str:
    """The innermost line of our own code: of the tests only where no other is in the stack."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(_ROOT)]
    sources = [frame for frame in ours if Path(frame.filename).relative_to(_ROOT).parts[0] in PACKAGES]
    frame = (sources or ours)[-1]
    return f"{Path(frame.filename).relative_to(_ROOT)}:{frame.lineno}"


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}..."


def one_of(*runs: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Several decoders as one target: the first byte chooses, `chosen` writes it."""

    def run(content: bytes) -> object:
        return runs[content[0] % len(runs)](content[1:]) if content else None

    return run


def chosen(number: int, *contents: bytes) -> list[bytes]:
    """Seeds for the decoder of this number in `one_of`."""
    return [bytes([number]) + content for content in contents]
