"""What a worker that is wrongly configured wrote before its end."""

from pathlib import Path
from typing import Final

_TAIL_BYTES: Final = 4_096


def complaint_in(log: Path, name: str) -> str | None:
    """The error with which the worker of this name ended (`observer.system.worker.run`, exit status 2), without its
    name; None if the log ends otherwise or cannot be read.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    prefix = f"{name}: "
    return lines[-1].removeprefix(prefix) if lines and lines[-1].startswith(prefix) else None
