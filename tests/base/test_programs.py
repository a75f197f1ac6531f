"""Our own modules as programs."""

import subprocess

from observer.base.programs import module_of, program
from tests.waiting import DEADLINE_S


def test_a_folder_of_data_where_a_program_starts_does_not_pass_for_the_package(tmp_path):
    (tmp_path / "observer" / "system").mkdir(parents=True)
    command = program("observer", "--version")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("observer ")


def test_the_module_of_a_program_is_found_again_and_another_command_has_none():
    assert module_of(program("workers.track_a", "--config", "x")) == "workers.track_a"
    assert module_of(("/bin/sh", "-c", "true")) is None
