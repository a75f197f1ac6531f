"""Which tests a machine of continuous integration may skip: those of what it cannot do, never of what it lacks."""

import re
from pathlib import Path
from typing import Final

SHARED: Final = Path(__file__).parents[2] / "shared"

# By the beginning of a skip's reason, why it is no defect of the machine. Anything else is installed by .ci/run.
ALLOWED: Final = {
    "SQLite ": "the test of both databases has no meaning there",
    "a connection on one machine has no keepalive": "the test of both databases has no meaning there",
    "only root ": "the run is an ordinary user's",
    "this user cannot make control groups here": "a container may forbid it",
    "no file system of our own may be mounted": "a container may forbid it",
    "no file system is mounted read-only here": "a machine need not have one",
    "no file system in memory": "a machine need not have one",
    r"\S+ is not installed: make judges": "each public client has an environment of its own, which `make judges` makes",
    "the samples' libraries are not installed: make judges": "as the public clients",
    r"skipped: \S+ names no folder": "the provider's samples may not be shipped",
}
# Outside the project's own machines: there the samples lie beside the repository, and a lacking one is a defect.
WITHOUT_SAMPLES: Final = r"the real samples are not|no folder of real samples|the reference is not"


def is_allowed(reason: str, *, has_samples: bool | None = None) -> bool:
    """Whether a skip with this reason stays one in continuous integration."""
    has_samples = SHARED.is_dir() if has_samples is None else has_samples
    patterns = [*ALLOWED, *([] if has_samples else [WITHOUT_SAMPLES])]
    return any(re.match(pattern, reason.removeprefix("Skipped: ")) for pattern in patterns)
