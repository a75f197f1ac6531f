"""`[lake]`: its process exists only with the section, and its folder is in the folder of data unless it is named."""

import sys
from pathlib import Path

import pytest
import tomli_w

from observer.config import load_settings
from observer.errors import ConfigError
from observer.lake.settings import LakeSettings
from observer.processes import children_of


def names_of(folder: Path, **sections: object) -> list[str]:
    """The processes of a configuration with these sections."""
    path = folder / "observer.toml"
    path.write_text(tomli_w.dumps(sections))
    return [child.name for child in children_of(load_settings(path), path)]


def test_the_process_exists_only_with_the_section(tmp_path: Path) -> None:
    without, with_lake = names_of(tmp_path), names_of(tmp_path, lake={})
    assert with_lake == [*without, "lake"]
    assert "lake" not in without


def test_the_folder_is_in_the_folder_of_data_unless_it_is_named() -> None:
    assert LakeSettings().folder_in("data") == Path("data/lake")
    assert LakeSettings(folder="/mnt/lake").folder_in("data") == Path("/mnt/lake")


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lake\.foldr: unknown key; did you mean folder\?"):
        names_of(tmp_path, lake={"foldr": "x"})


def test_without_the_extra_the_section_is_a_wrong_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyiceberg", None)
    with pytest.raises(ConfigError, match=r"lake: pyiceberg not installed: pip install 'observer\[lake\]'"):
        names_of(tmp_path, lake={})
    assert "lake" not in names_of(tmp_path)
