"""The attacks' script: what it calls held and fallen, and that this checkout holds."""

import socket
import struct
import threading
from urllib.parse import urlsplit

import pytest

from tests.chaos.attacked_system import own_checkout
from tests.chaos.attacks import attack_all, on_command
from tests.chaos.hostile_broker import flood, line_feeds, redirect
from tests.chaos.inapplicable import InapplicableError
from tests.waiting import until


def test_an_attack_that_reached_something_fell_and_one_that_cannot_be_given_is_no_success(tmp_path):
    def cannot(_checkout, _folder):
        raise InapplicableError("no such command")

    outcomes = [
        on_command(own_checkout(), "name", attack, tmp_path / str(number))
        for number, attack in enumerate((lambda _checkout, _folder: "shown", lambda _checkout, _folder: "", cannot))
    ]
    assert [(each.result, each.happened) for each in outcomes] == [
        ("FELL", "shown"),
        ("held", "refused"),
        ("n/a", "no such command"),
    ]


def test_a_secret_of_a_broken_keys_file_is_not_shown(tmp_path):
    [outcome] = attack_all(own_checkout(), tmp_path, "broken keys.toml")
    assert outcome.result == "held", outcome


@pytest.mark.parametrize("begin", [line_feeds, redirect, flood])
def test_a_hostile_broker_prints_nothing_of_connections_that_are_left(
    begin,
    capfd,
    caplog,
):
    with begin() as broker:
        before = set(threading.enumerate())
        host, port = urlsplit(str(next(iter(broker.changes["kis"].values())))).netloc.split(":")
        for sent in (b"", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n{"):
            with socket.create_connection((host, int(port)), 10) as left:
                left.sendall(sent)
                left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it ends with a reset
        with socket.create_connection((host, int(port)), 10) as last:  # accepted after the others
            last.sendall(b"GET /kospi.zip HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert last.recv(9) == b"HTTP/1.1 "
        until(lambda: set(threading.enumerate()) <= before, "the ends of all connections")
    assert (capfd.readouterr(), caplog.records) == (("", ""), [])


@pytest.mark.slow
def test_every_attack_is_held(tmp_path):
    tmp_path.chmod(0o755)
    outcomes = list(attack_all(own_checkout(), tmp_path))
    assert len(outcomes) > 20
    assert not [outcome for outcome in outcomes if outcome.result == "FELL"]
