"""Our own modules as programs."""

import sys
from typing import Final

# `-P`: nothing is imported from the folder in which the program starts. A folder `observer` there, as data has, would
# pass for the package.
_PYTHON: Final = (sys.executable, "-P", "-m")


def program(module: str, *arguments: str) -> tuple[str, ...]:
    """The command line that runs this module."""
    return (*_PYTHON, module, *arguments)


def module_of(argv: tuple[str, ...] | list[str]) -> str | None:
    """The module that a command line of `program` runs; None of any other."""
    return argv[len(_PYTHON)] if tuple(argv[: len(_PYTHON)]) == _PYTHON else None
