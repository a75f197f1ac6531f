"""The look at a database before a system starts, on both kinds."""

import os
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from observer.base.errors import ConfigError, DatabaseInUseError, StoreError
from observer.base.instance import Instance
from observer.base.units import NS_PER_S
from observer.store.admission import _without_secret, require_admission, require_own_file
from observer.store.owner import claim
from observer.store.reader import StoreReader
from observer.store.schema import SCHEMA_REVISION
from observer.store.systems import started_ticks, this_system
from tests.conformance.conftest import SERVER_URL, run_on_server
from tests.store.raw import execute, query

KOREA = Instance()
NOW_NS = 1_763_424_000_000_000_000


@pytest.fixture
def other(tmp_path):
    """Another living system on this machine."""
    pid = os.getppid()
    return msgspec.structs.replace(this_system(tmp_path / "other"), pid=pid, pid_started=started_ticks(pid) or 0)


def look(url, folder, now_ns=NOW_NS):
    system, address = this_system(folder / "run"), make_url(url)
    if address.get_backend_name() == "sqlite":
        assert address.database is not None
        require_own_file(Path(address.database), KOREA, system, now_ns)
    else:
        require_admission(url, KOREA, system)


def test_an_empty_database_and_one_s_own_are_admitted(database_url, tmp_path):
    look(database_url, tmp_path)
    claim(database_url, KOREA, ["kis"], 0, this_system(tmp_path / "run"))
    look(database_url, tmp_path)


def test_a_database_of_another_living_system_is_refused_with_its_host_pid_and_folder(database_url, tmp_path, other):
    claim(database_url, KOREA, ["kis"], 0, other)
    with pytest.raises(DatabaseInUseError) as refusal:
        look(database_url, tmp_path)
    named = f"pid {other.pid} on {other.host}, runtime folder {other.runtime}, since 20"
    assert f"another system owns this database: {named}" in str(refusal.value)
    assert "stop it (observer ctl shutdown), or give another [store] url" in str(refusal.value)


def test_a_database_of_a_dead_system_is_admitted(database_url, tmp_path, other):
    claim(database_url, KOREA, ["kis"], 0, msgspec.structs.replace(other, pid_started=1))
    look(database_url, tmp_path)


def test_a_database_of_another_machine_is_admitted_when_its_heartbeat_is_old(database_url, tmp_path, other):
    claim(database_url, KOREA, ["kis"], 0, other)
    execute(database_url, "UPDATE owner SET host = 'elsewhere', machine = 'elsewhere'")
    [(heartbeat_ns,)] = query(database_url, "SELECT heartbeat_ns FROM owner")
    with pytest.raises(DatabaseInUseError, match="on elsewhere"):
        look(database_url, tmp_path, heartbeat_ns)
    execute(database_url, f"UPDATE owner SET heartbeat_ns = heartbeat_ns - {61 * NS_PER_S}")
    look(database_url, tmp_path, heartbeat_ns)


def test_a_database_of_another_instance_is_refused(database_url, tmp_path):
    claim(database_url, Instance(name="second"), ["kis"], 0)
    with pytest.raises(ConfigError, match="belongs to instance 'second'"):
        look(database_url, tmp_path)


def test_a_schema_of_a_later_program_is_refused_with_the_remedy(database_url, tmp_path):
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    try:
        with pytest.raises(StoreError, match=r"its schema is 9999, .* use the version of Observer that wrote it"):
            look(database_url, tmp_path)
    finally:
        execute(database_url, f"UPDATE alembic_version SET version_num = '{SCHEMA_REVISION}'")


def test_a_database_that_does_not_store_unicode_is_refused_with_the_remedy(tmp_path):
    name = f"observer_test_{os.getpid()}_ascii"
    run_on_server("CREATE DATABASE {} ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'", name)
    url = SERVER_URL.set(database=name).render_as_string(hide_password=False)
    text = r"its encoding is SQL_ASCII, .* `createdb --encoding=UTF8 --template=template0 NAME`$"
    try:
        for opens in (lambda: look(url, tmp_path), lambda: claim(url, KOREA, ["kis"], 0), lambda: StoreReader(url)):
            with pytest.raises(StoreError, match=text):
                opens()
    finally:
        run_on_server("DROP DATABASE {} WITH (FORCE)", name)


@pytest.mark.parametrize("password", [":sesame", ":open@sesame", ":se%same", ":open:sesame", ":a/sesame", ""])
def test_a_password_is_in_no_refusal(password, tmp_path):
    url = f"postgresql+psycopg://reader{password}@127.0.0.1:5432/observer_test_absent?password=sesame%"
    with pytest.raises((ConfigError, StoreError)) as refusal:
        require_admission(url, KOREA, this_system(tmp_path))
    assert "same" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_password_with_a_sign_that_ends_it_is_refused_without_it():
    with pytest.raises(StoreError, match="%40") as refusal:
        StoreReader("postgresql://reader:open@sesame@127.0.0.1:5432/test")
    assert "sesame" not in str(refusal.value)


@given(st.text(min_size=3), st.text(), st.text())
def test_a_text_that_repeats_a_password_is_never_shown(password, before, after):
    url = f"postgresql://reader:{quote(password, safe='')}@host/name"
    error = ValueError(f"{before}{password}{after}")
    shown = _without_secret(error, url)
    assert shown.startswith("the address cannot be used") or password not in shown
