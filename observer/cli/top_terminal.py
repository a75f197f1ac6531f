"""The terminal of `observer top`: a screen of its own, keys without echo, and all of it as before at any end."""

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from observer.base.signals import stopping_on_signals

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[2J"  # the other screen, no cursor, empty
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_HOME: Final = "\x1b[H"
_EMPTY_LINE: Final = "\x1b[2K"  # before a line: behind one of the whole width it would take the last letter
_EMPTY_BELOW: Final = "\x1b[0J"
_ENDS: Final = frozenset(b"qQ")
_KEYS_BYTES: Final = 64


def is_terminal() -> bool:
    """Whether stdout is a terminal that knows how to place a cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Terminal:
    """The terminal on stdout and, where stdin is one, its keys. `changed` is set when the screen is to be drawn."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.changed = asyncio.Event()
        self._console = Console()
        self._has_keys = sys.stdin is not None and sys.stdin.isatty()
        self._attributes: list[Any] | None = None  # of stdin, before it was ours

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """The screen and the keys are ours while the block runs. q, ctrl-C, SIGTERM, SIGHUP and SIGQUIT set
        `stopping`; ctrl-Z gives the terminal back until the process goes on.
        """
        loop = asyncio.get_running_loop()
        handlers: dict[int, Callable[[], None]] = {
            signal.SIGHUP: self.stopping.set,
            signal.SIGQUIT: self.stopping.set,
            signal.SIGTSTP: self._suspend,
            signal.SIGWINCH: self.changed.set,
        }
        with stopping_on_signals(self.stopping):
            for number, handler in handlers.items():
                loop.add_signal_handler(number, handler)
            try:
                self._enter()
                if self._has_keys:
                    loop.add_reader(sys.stdin.fileno(), self._read_keys)
                yield
            finally:
                if self._has_keys:
                    loop.remove_reader(sys.stdin.fileno())
                with contextlib.suppress(OSError, termios.error):  # the terminal may be gone
                    self._leave()
                for number in handlers:
                    loop.remove_signal_handler(number)

    def size(self) -> tuple[int, int]:
        """Its columns and rows now."""
        found = os.get_terminal_size(sys.stdout.fileno())
        return found.columns or 80, found.lines or 24

    def draw(self, lines: Sequence[Text]) -> None:
        """Show these lines, at most as many as it has rows."""
        content = "\r\n".join(f"{_EMPTY_LINE}{line}" for line in rendered(lines, self._console))
        _write(f"{_HOME}{content}{_EMPTY_BELOW if len(lines) < self.size()[1] else ''}")

    def _enter(self) -> None:
        if self._has_keys:
            self._attributes = termios.tcgetattr(sys.stdin.fileno())
            tty.setcbreak(sys.stdin.fileno())
        _write(_ENTER)

    def _leave(self) -> None:
        try:
            _write(_LEAVE)
        finally:
            if self._attributes is not None:
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._attributes)

    def _suspend(self) -> None:
        self._leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._enter()
        self.changed.set()

    def _read_keys(self) -> None:
        keys = os.read(sys.stdin.fileno(), _KEYS_BYTES)
        if not keys or _ENDS & set(keys):
            self.stopping.set()


def rendered(lines: Sequence[Text], console: Console) -> Sequence[str]:
    """The lines as the console's terminal shows them: with its colours, or without."""
    with console.capture() as captured:
        for line in lines:
            console.print(line, soft_wrap=True, highlight=False)
    return captured.get().split("\n")[:-1]


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
