"""`observer alerts test`: one line and one result for each target, an exit status, and remedies."""

import json
import sys

import click.testing
import pytest

from observer.base.environment import forget_withheld
from observer.base.errors import ConfigError
from observer.base.extras import install_command
from observer.cli.app import command_line
from observer.cli.failures import failure
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from tests.monitoring.targets import SECRET, listening


@pytest.fixture
def folder(tmp_path, monkeypatch):
    forget_withheld()
    (tmp_path / "targets.toml").touch(mode=0o600)
    return tmp_path


def configuration(folder, **urls):
    path = write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7))
    sections = "".join(f"[alerts.targets.{name}]\n" for name in urls)
    with path.open("a") as file:
        file.write(f'[alerts]\ntargets_file = "{folder}/targets.toml"\n{sections}')
    (folder / "targets.toml").write_text("".join(f'{name} = "{url}"\n' for name, url in urls.items() if url))
    return path


def asked(config, *words):
    return click.testing.CliRunner().invoke(command_line(), ["alerts", "test", "--config", str(config), *words])


def test_each_target_gets_a_message_and_has_a_line_and_one_that_failed_decides_the_exit_status(folder):
    with listening() as good, listening() as bad:
        bad.status = 401
        config = configuration(folder, phone=good.url, mail=bad.url, chat="nosuch://x", pager="")
        shown = asked(config)
        assert shown.exit_code == 1
        lines = dict(line.split(": ", 1) for line in shown.stdout.splitlines())
        assert lines["phone"] == "sent"
        assert lines["mail"] == "the target answers with HTTP status 401"
        assert "one URL that apprise knows" in lines["chat"]
        assert lines["pager"] == f'no URL: set OBSERVER_ALERTS_PAGER, or write pager = "URL" in {folder}/targets.toml'
        assert len(good.messages) == 1
        assert SECRET not in shown.output


def test_one_target_alone_is_asked_for_by_its_name(folder):
    with listening() as good, listening() as other:
        config = configuration(folder, phone=good.url, mail=other.url)
        shown = asked(config, "--target", "phone", "--json")
        assert shown.exit_code == 0
        assert json.loads(shown.stdout) == {"targets": [{"target": "phone", "is_sent": True, "failure": ""}]}
        assert (len(good.messages), other.messages) == (1, [])


@pytest.mark.parametrize(
    ("urls", "words", "remedy"),
    [
        ({}, (), "add a section [alerts.targets.NAME]"),
        ({"phone": "json://127.0.0.1"}, ("--target", "fone"), "phone"),
    ],
)
def test_what_cannot_be_tested_ends_with_2_and_the_remedy(folder, urls, words, remedy):
    error = asked(configuration(folder, **urls), *words).exception
    assert isinstance(error, ConfigError)
    found = failure(error)
    assert found is not None
    assert found[1] == 2
    assert remedy in found[0]


def test_without_the_extra_the_configuration_is_refused_with_the_remedy(folder, monkeypatch):
    config = configuration(folder, phone="json://127.0.0.1")
    monkeypatch.setitem(sys.modules, "apprise", None)
    error = asked(config).exception
    assert isinstance(error, ConfigError)
    assert str(error).endswith(f"alerts.targets: apprise is not installed: {install_command('alerts')}")


def test_with_a_library_that_is_too_old_the_configuration_is_refused_with_the_remedy(folder, monkeypatch):
    config = configuration(folder, phone="json://127.0.0.1")
    installed = folder / "apprise-1.9.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: apprise\nVersion: 1.9.0\n")
    monkeypatch.syspath_prepend(folder)
    error = asked(config).exception
    assert isinstance(error, ConfigError)
    assert str(error).endswith(f"alerts.targets: apprise 1.9.0 is too old: {install_command('alerts')}")
