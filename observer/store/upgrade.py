"""A change of the schema on a person's command: the plan, and its execution."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from observer.base.errors import DatabaseInUseError, StoreError
from observer.base.files import as_owner
from observer.base.instance import Instance, instance_url
from observer.store import engine as opened
from observer.store.backup import kept_before_migration
from observer.store.engine import known_revisions, parse_url, reading, schema_revision, sqlite_path
from observer.store.owner import migrate_own, require_unused
from observer.store.schema import SCHEMA_REVISION, unknown_schema


class Step(msgspec.Struct, frozen=True):
    """A migration: the revision that it makes, and a description of its change."""

    revision: str
    text: str


class Upgrade(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of an upgrade: present and target revision, the steps (none for a current database), the place of the
    copy, and the reason why the database cannot be changed now (empty: it can).
    """

    database: str
    revision: str
    target: str = SCHEMA_REVISION
    steps: Sequence[Step] = ()
    copy: str = ""
    copy_bytes: int | None = None
    refused: str = ""


def planned_upgrade(url: str, instance: Instance, copies: Path) -> Upgrade:
    """What `upgrade` would do; `copies` is the folder for a dump of PostgreSQL.

    Raises:
        StoreError: there is no database, it does not answer, or no migration knows its schema.
    """
    url = instance_url(url, instance)
    with reading(url) as connection:
        revision, shown = schema_revision(connection.engine), str(connection.engine.url)
    if revision is None:
        raise StoreError(f"{shown}: there is no schema of Observer in it: `observer run` makes one")
    if revision == SCHEMA_REVISION:
        return Upgrade(database=shown, revision=revision)
    if revision not in known_revisions():
        raise StoreError(f"{shown}: {unknown_schema(revision)}")
    return Upgrade(
        database=shown,
        revision=revision,
        steps=_steps_from(revision),
        copy=str(kept_before_migration(url, revision, copies)),
        copy_bytes=_file_bytes(url),
        refused=_refusal(url),
    )


def _steps_from(revision: str) -> Sequence[Step]:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(opened.alembic_config()).iterate_revisions("head", revision)
    return [Step(each.revision, each.doc) for each in reversed(list(scripts))]


def _file_bytes(url: str) -> int | None:
    """The size of an SQLite file, which the copy will have. None for PostgreSQL, whose dump is smaller than the
    database.
    """
    parsed = parse_url(url)
    return sqlite_path(parsed).stat().st_size if parsed.get_backend_name() == "sqlite" else None


def _refusal(url: str) -> str:
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = sqlite_path(parsed)
        owner = path.stat().st_uid
        if owner != os.geteuid():  # the copy, which the way back puts in its place, would belong to another user
            return f"{path} belongs to another user: {as_owner(owner)}"
    try:
        require_unused(url)
    except DatabaseInUseError as error:
        return str(error)
    return ""


def upgrade(url: str, instance: Instance, copies: Path) -> None:
    """Copy the database, and bring it to the schema of this code.

    Raises:
        DatabaseInUseError: a process writes it, or a living system owns it; nothing was changed.
        ConfigError: it belongs to another instance; nothing was changed.
        StoreError: as `observer.store.engine.migrate`.
    """
    migrate_own(url, instance, copies)
