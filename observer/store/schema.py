"""The schema's revision, and the texts of errors about a database of something else.

Without SQLAlchemy: the process that hosts the supervisor does not load it.
"""

from typing import Final

from observer.base.instance import Instance

SCHEMA_REVISION: Final = "0011"
"""The newest migration, and the only schema that this code reads and writes. Each change of a table or of an index is a
migration of its own (migrations/versions), with the next number."""

ESCAPES: Final = "write @ : / ? # and % in its password as %40 %3A %2F %3F %23 and %25"


def unknown_schema(revision: str) -> str:
    """The text of an error about a database of another program."""
    return (
        f"its schema is {revision}, this program knows {SCHEMA_REVISION} and cannot convert it: "
        "use the version of Observer that wrote it, or give another [store] url"
    )


def other_owner(database: str, owner: Instance, instance: Instance) -> str:
    """The text of an error about a database of another instance."""
    return (
        f"{database}: this database belongs to instance '{owner.name}' (market {owner.market}), "
        f"not to '{instance.name}' (market {instance.market}); use another [store] url or [instance] name"
    )
