"""`[lake]`: its process exists only with the section, and its folder is in the folder of data unless it is named."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w

from observer.archive.settings import TARGET_VARIABLES, LakeSettings
from observer.base.errors import ConfigError
from observer.base.extras import install_command
from observer.system.config import load_settings
from observer.system.processes import children_of


def names_of(folder, **sections):
    """The processes of a configuration with these sections."""
    return list(revisions_of(folder, **sections))


def revisions_of(folder, **sections):
    """By process, what stands for the settings that it reads."""
    path = folder / "observer.toml"
    path.write_text(tomli_w.dumps(sections))
    return {child.name: child.revision for child in children_of(load_settings(path), path)}


def test_the_process_exists_only_with_the_section(tmp_path):
    without, with_lake = names_of(tmp_path), names_of(tmp_path, lake={})
    assert with_lake == [*without, "lake"]
    assert "lake" not in without


def test_the_folder_is_in_the_folder_of_data_unless_it_is_named():
    assert LakeSettings().folder_in("data") == Path("data/lake")
    assert LakeSettings(folder="/mnt/lake").folder_in("data") == Path("/mnt/lake")


def test_an_unknown_key_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"lake\.foldr: unknown key; did you mean folder\?"):
        names_of(tmp_path, lake={"foldr": "x"})


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"target": "/mnt/nas"}, r"target: must be s3://BUCKET/PREFIX; `folder` takes a path"),
        ({"target": "s3://Bucket_/x"}, r"target: must be s3://BUCKET/PREFIX"),
        ({"target": "s3://bucket", "endpoint": "host:9000"}, r"endpoint: must be http://HOST:PORT or https://HOST"),
        ({"region": "us-east-1"}, r"target: without one, nothing reads endpoint, region and keys_file"),
    ],
)
def test_a_wrong_target_is_refused(tmp_path, section, text):
    with pytest.raises(ConfigError, match=text):
        names_of(tmp_path, lake=section)


def test_only_the_lake_s_process_gets_the_target_s_keys(tmp_path):
    path = tmp_path / "observer.toml"
    path.write_text(tomli_w.dumps({"lake": {"target": "s3://bucket/x", "endpoint": "http://127.0.0.1:9000"}}))
    children = children_of(load_settings(path), path)
    assert [child.name for child in children if set(TARGET_VARIABLES) & set(child.secrets)] == ["lake"]


def test_rows_leave_the_database_only_with_a_lake_and_late_enough(tmp_path):
    selection = tmp_path / "selection.json"
    selection.write_text('{"triggers": {"time_of_day": {"days": 40}}}')
    longer = {"symbol_selection": str(selection)}
    for days, sections, text in (
        (60, {}, r"store\.keep_days = 60: only sealed days are removed from the database: add a section \[lake\]"),
        (29, {"lake": {}}, r"store\.keep_days = 29: must be >= 30: triggers compare a day with 20 sessions before it"),
        (49, {"lake": {}, "run": longer}, r"store\.keep_days = 49: must be >= 50: triggers compare a day with 40"),
    ):
        with pytest.raises(ConfigError, match=text):
            names_of(tmp_path, store={"keep_days": days}, **sections)
    assert "lake" in names_of(tmp_path, store={"keep_days": 50}, lake={}, run=longer)


def test_the_days_to_keep_restart_the_processes_that_read_them(tmp_path):
    kept, more = (revisions_of(tmp_path, store={"keep_days": days}, lake={}) for days in (30, 31))
    assert {"core-writer", "lake"} <= {name for name in kept if kept[name] != more[name]}
    moved = revisions_of(tmp_path, store={"keep_days": 30}, lake={"folder": "elsewhere"})
    assert {name for name in kept if kept[name] != moved[name]} == {"core-writer", "lake"}


def test_without_the_extra_the_section_is_a_wrong_configuration(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiceberg", None)
    with pytest.raises(ConfigError, match=re.escape(f"lake: pyiceberg not installed: {install_command('lake')}")):
        names_of(tmp_path, lake={})
    assert "lake" not in names_of(tmp_path)


def test_the_lakes_process_loads_the_catalogues_libraries_with_its_first_sealing_alone():
    code = "import sys, workers.lake; print(*sorted({'pandas', 'pyarrow', 'pyiceberg'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout == "pyarrow\n"
