"""`observer keys`, and what a configuration with sockets on the network needs."""

import json
import sys

import pytest

from bus.keys import key_pair
from observer.base.errors import ConfigError
from observer.base.settings import RunSettings, endpoints_of, is_reachable
from observer.cli.app import main
from observer.system.config import load_settings
from observer.system.orders import fixed_changes

ADDRESSES = {
    name: f"tcp://127.0.0.1:{port}" for port, name in enumerate(("ingest", "feed", "batch_feed", "control"), 5561)
}


@pytest.fixture
def configuration(tmp_path):
    return written(tmp_path, ADDRESSES)


def written(folder, addresses):
    path = folder / "observer.toml"
    lines = [f'[run]\nruntime = "{folder}/run"\n[run.endpoints]', *(f'{n} = "{a}"' for n, a in addresses.items())]
    path.write_text("\n".join(lines))
    return path


def observer(monkeypatch, *arguments):
    """The exit status of a command."""
    monkeypatch.setattr(sys, "argv", ["observer", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_keys_are_made_once_and_only_their_public_halves_are_shown(configuration, monkeypatch, capsys):
    assert observer(monkeypatch, "keys", "make", "--config", configuration) == 0
    assert observer(monkeypatch, "keys", "list", "--config", configuration) == 0
    assert observer(monkeypatch, "keys", "make", "--config", configuration) == 2
    shown = capsys.readouterr()
    assert "there already" in shown.err
    directory = configuration.parent / "run" / "keys"
    for role in ("server", "client"):
        pair = key_pair(directory, role)
        assert shown.out.count(pair.public.decode()) == 2
        assert pair.secret.decode() not in shown.out + shown.err


def test_keys_are_listed_as_json(configuration, monkeypatch, capsys):
    directory = configuration.parent / "run" / "keys"
    assert observer(monkeypatch, "keys", "make", "--config", configuration) == 0
    out = configuration.parent / "desk"
    assert (
        observer(monkeypatch, "keys", "add", "desk", "--role", "reader", "--out", out, "--config", configuration) == 0
    )
    capsys.readouterr()
    assert observer(monkeypatch, "keys", "list", "--json", "--config", configuration) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["directory"] == str(directory)
    assert listed["server"] == key_pair(directory, "server").public.decode()
    own, desk = ({"public": key_pair(each, "client").public.decode()} for each in (directory, out))
    assert listed["clients"] == [
        {"name": "client", "role": "operator", **own},
        {"name": "desk", "role": "reader", **desk},
    ]


def test_listing_keys_that_are_not_there_names_the_command(configuration, monkeypatch, capsys):
    assert observer(monkeypatch, "keys", "list", "--config", configuration) == 2
    assert "observer keys make" in capsys.readouterr().err


def test_a_client_of_another_machine_is_added_with_a_role_listed_and_removed(configuration, monkeypatch, capsys):
    folder = configuration.parent / "for-desk"
    add = ("keys", "add", "desk", "--role", "reader", "--out", folder, "--config", configuration)
    assert observer(monkeypatch, "keys", "make", "--config", configuration) == 0
    assert observer(monkeypatch, *add) == 0
    assert observer(monkeypatch, *add) == 2  # the name is taken
    assert observer(monkeypatch, "keys", "list", "--config", configuration) == 0
    shown = capsys.readouterr()
    pair = key_pair(folder, "client")
    assert f"reader     desk                 {pair.public.decode()}\n" in shown.out
    assert "observer keys remove desk" in shown.err
    assert pair.secret.decode() not in shown.out + shown.err
    assert sorted(path.name for path in folder.iterdir()) == ["client.public", "client.secret", "server.public"]
    assert observer(monkeypatch, "keys", "remove", "desk", "--config", configuration) == 0
    assert observer(monkeypatch, "keys", "remove", "desk", "--config", configuration) == 2
    assert observer(monkeypatch, "keys", "list", "--config", configuration) == 0
    assert "desk " not in capsys.readouterr().out.partition("is admitted no more")[2]


def test_tcp_without_keys_is_a_wrong_configuration_that_names_the_command(configuration):
    with pytest.raises(ConfigError, match="observer keys make"):
        endpoints_of(load_settings(configuration).run)


def test_with_keys_all_four_addresses_are_the_configured_ones(configuration, monkeypatch):
    observer(monkeypatch, "keys", "make", "--config", configuration)
    endpoints = endpoints_of(load_settings(configuration).run)
    assert {name: str(getattr(endpoints, name)) for name in ADDRESSES} == ADDRESSES


def test_a_machine_with_clients_only_needs_no_server_secret(configuration, monkeypatch):
    observer(monkeypatch, "keys", "make", "--config", configuration)
    (configuration.parent / "run" / "keys" / "server.secret").unlink()
    endpoints_of(load_settings(configuration).run)


@pytest.mark.parametrize("absent", ADDRESSES)
def test_some_sockets_on_the_network_and_some_not_is_refused(tmp_path, absent):
    path = written(tmp_path, {name: address for name, address in ADDRESSES.items() if name != absent})
    with pytest.raises(ConfigError, match=absent):
        load_settings(path)


def test_a_wrong_address_is_named_with_the_form_of_a_right_one(tmp_path):
    with pytest.raises(ConfigError, match=r"feed = 'tcp://\*:1'.*tcp://192\.0\.2\.7:5561"):
        load_settings(written(tmp_path, {**ADDRESSES, "feed": "tcp://*:1"}))


def test_without_endpoints_the_sockets_are_files(tmp_path):
    run = RunSettings(runtime=str(tmp_path / "run"))
    assert endpoints_of(run).control == f"ipc://{tmp_path}/run/control"
    assert not is_reachable(run)


def test_other_endpoints_need_a_shutdown(configuration):
    settings = load_settings(configuration)
    other = load_settings(written(configuration.parent, {**ADDRESSES, "batch_feed": "tcp://127.0.0.1:5599"}))
    assert fixed_changes(settings, other) == ["[run.endpoints]"]
