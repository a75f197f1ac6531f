"""Secrets in this process's environment: taken out of it, and handed only to the children that need them.

A program that is started inherits every variable, and /proc shows what a process began with. So a secret stays in this
module, from its first use on.
"""

import os
from collections.abc import Collection, Mapping
from typing import Final

from observer.supervisor.linux import blank_variable

_withheld: Final[dict[str, str]] = {}  # of this process; nothing else of it has them any more


def withhold(names: Collection[str]) -> Mapping[str, str]:
    """Take these variables out of the environment, also out of what /proc shows, and return those that are known.

    A variable that was set again meanwhile counts with its new value.
    """
    for name in names:
        if (value := os.environ.pop(name, None)) is not None:
            _withheld[name] = value
            blank_variable(name)
    return {name: _withheld[name] for name in names if name in _withheld}


def forget_withheld() -> None:
    """Begin as a new process does, without any; for tests, which are many systems in one process."""
    _withheld.clear()
