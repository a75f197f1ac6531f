"""`[web]` of the configuration: the process that it brings, and what is said where its libraries are missing."""

import sys
from pathlib import Path

import pytest

from observer.base.errors import ConfigError
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.system.config import load_settings
from observer.system.processes import children_of


def settings_of(folder, web_port=8765, **changes):
    path = write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7, web_port=web_port))
    for key, value in changes.items():
        path.write_text(path.read_text().replace("[web]\n", f'[web]\n{key} = "{value}"\n'))
    return load_settings(path)


def test_the_page_s_process_runs_only_with_its_section_and_gets_no_keys(tmp_path):
    configured, plain = (children_of(settings_of(tmp_path, port), tmp_path) for port in (8765, 0))
    [web] = [child for child in configured if child.name == "web"]
    assert not web.secrets
    assert {child.name for child in configured} - {child.name for child in plain} == {"web"}


def test_the_token_s_file_is_in_the_runtime_folder_unless_one_is_named(tmp_path):
    files = [settings.web.token_file_in("run") for settings in found(tmp_path) if settings.web is not None]
    assert files == [Path("run/web.token"), Path("elsewhere/token")]


def found(folder):
    return [settings_of(folder), settings_of(folder, token_file="elsewhere/token")]


def test_without_the_extra_the_section_is_a_wrong_configuration(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "litestar", None)
    expected = r"web: litestar not installed: .* -m pip install 'litestar>=.*' 'uvicorn>="
    with pytest.raises(ConfigError, match=expected) as failure:
        settings_of(tmp_path)
    assert "\n" not in str(failure.value)
    assert settings_of(tmp_path, 0).web is None
