"""Secrets of the environment are taken out of it; what a process makes is its owner's, and its memory goes nowhere."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.environment import withhold

SCENE = """
import json, os, resource, subprocess, sys
from pathlib import Path
from observer.base.privacy import keep_private
from observer.base.environment import withhold

keep_private()
names = json.loads(sys.argv[1])
found = dict(withhold(names))
again = dict(withhold(names))
Path("made").touch()
Path("folder").mkdir()
child = subprocess.run(["cat", "/proc/self/environ", "/proc/self/coredump_filter"], stdout=subprocess.PIPE).stdout
print(json.dumps([
    found == again, found, Path("/proc/self/environ").read_bytes().decode("latin-1"), child.decode("latin-1"),
    [Path(name).stat().st_mode & 0o777 for name in ("made", "folder")], resource.getrlimit(resource.RLIMIT_CORE),
]))
"""


def scene(folder, environment, *names):
    kept = {**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", SCENE, json.dumps(names)]
    done = subprocess.run(command, env=kept, cwd=folder, capture_output=True, text=True, umask=0o022, check=True)
    reported: list[object] = json.loads(done.stdout)
    return reported


def test_a_withheld_variable_is_neither_in_proc_nor_in_a_programs_environment(tmp_path):
    environment = {"BEFORE": "1", "APP_KEY": "hush-hush", "APP_KEY_OF_ANOTHER": "stays", "EMPTY": ""}
    same, found, own, childs, *_ = scene(tmp_path, environment, "APP_KEY", "EMPTY", "ABSENT")
    assert (same, found) == (True, {"APP_KEY": "hush-hush", "EMPTY": ""})
    assert "hush" not in str(own)
    assert "hush" not in str(childs)
    assert "APP_KEY_OF_ANOTHER=stays" in str(own)
    assert "BEFORE=1" in str(childs)


def test_new_files_are_their_owners_alone_and_dumps_of_memory_are_off_here_and_below(tmp_path):
    *_, childs, modes, core = scene(tmp_path, {})
    assert modes == [0o600, 0o700]
    assert core == [0, 0]
    assert str(childs).endswith("00000000\n"), "the filter of dumps is inherited"


VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(values=st.dictionaries(st.sampled_from(["WITHHELD_A", "WITHHELD_B", "WITHHELD_AB"]), VALUES), twice=VALUES)
def test_any_value_is_given_back_and_a_new_one_replaces_it(values, twice):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        assert values.items() <= withhold(tuple(values)).items()
        assert not values.keys() & os.environ.keys()
        patch.setenv("WITHHELD_A", twice)
        assert withhold(("WITHHELD_A",)) == {"WITHHELD_A": twice}
