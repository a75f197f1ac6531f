"""The attacks' script: what it calls held and fallen, and that this checkout holds."""

from pathlib import Path

import pytest

from tests.chaos.attacked_system import Checkout, own_checkout
from tests.chaos.attacks import attack_all, on_command
from tests.chaos.inapplicable import InapplicableError


def test_an_attack_that_reached_something_fell_and_one_that_cannot_be_given_is_no_success(tmp_path: Path) -> None:
    def cannot(_checkout: Checkout, _folder: Path) -> str:
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


def test_a_secret_of_a_broken_keys_file_is_not_shown(tmp_path: Path) -> None:
    [outcome] = attack_all(own_checkout(), tmp_path, "broken keys.toml")
    assert outcome.result == "held", outcome


@pytest.mark.slow
def test_every_attack_is_held(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    outcomes = list(attack_all(own_checkout(), tmp_path))
    assert len(outcomes) > 20
    assert not [outcome for outcome in outcomes if outcome.result == "FELL"]
