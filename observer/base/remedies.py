"""One remedy for each state that a part of a system can be in, whichever command or alert names it."""

from collections.abc import Mapping
from typing import Final

DATABASE_IS_DAMAGED: Final = "the database is damaged"
LAKE_IS_DAMAGED: Final = "the lake is damaged"
"""Every text about such damage has these words, so that all alerts of one damage are one (`Alerts`)."""

_RESTORE: Final = "`observer backup restore --yes` puts a whole one in its place"
REMEDIES: Final[Mapping[str, str]] = {
    "database new": "`observer run` or `observer demo` makes one",
    "database missing": _RESTORE,
    "database damaged": _RESTORE,
    "database behind": "`observer run` delivers again what it lacks",
    "package missing": "`observer backup now` makes one",
    "package damaged": "`observer backup now` makes another one",
    "archive damaged": "`observer backup now` makes a package with all that it had",
    "lake damaged": "`observer lake seal DAY` mends it",
}
"""By state. A database is behind when outboxes published more than it has: it is older, or was replaced."""


def database_damaged(what: str) -> str:
    return f"{DATABASE_IS_DAMAGED}: {what}: {REMEDIES['database damaged']}"


def lake_damaged(what: str, day: str) -> str:
    """What to say of a file of the lake, or a manifest, of this day."""
    remedy = REMEDIES["lake damaged"].replace("DAY", day)
    return f"{what}: mount the lake, or {remedy} ({LAKE_IS_DAMAGED})"


class Seen:
    """The damage that the database stated to this process since it was last asked for; of any thread."""

    damage = ""

    def take_damage(self) -> str:
        """The text of the damage; empty where none was stated."""
        text, self.damage = self.damage, ""
        return text


SEEN: Final = Seen()
