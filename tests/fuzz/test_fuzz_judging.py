"""What counts as a finding, and how a campaign counts it."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from observer.base.errors import ConfigError
from tests.fuzz import campaign
from tests.fuzz.campaign import added, jobs, kept
from tests.fuzz.engine import Found, Report
from tests.fuzz.target import GROWTH_BYTES_MAX, Target, finding_of, limited_memory
from tests.fuzz.targets import ALL

ROOT = Path(__file__).parents[2]


def target_of(run, *errors):
    return Target("x", lambda: [b""], run, errors)


def test_a_value_and_an_expected_error_are_no_findings():
    def refuse(_content):
        raise ConfigError("wrong")

    assert finding_of(target_of(len), b"abc") is None
    assert finding_of(target_of(refuse, ConfigError), b"abc") is None


def test_another_error_is_a_finding_that_names_its_line():
    found = finding_of(target_of(lambda content: content[9], ConfigError), b"abc")
    assert found is not None
    assert found.place.startswith("IndexError at tests/fuzz/test_fuzz_judging.py:")
    assert found.content == b"abc"


def test_an_error_whose_text_cannot_be_shown_is_a_finding():
    def refuse(_content):
        raise ConfigError("\ud800")

    found = finding_of(target_of(refuse, ConfigError), b"")
    assert found is not None
    assert found.place == "the text of ConfigError"


def test_an_input_that_takes_too_long_is_interrupted():
    def turn(_content):
        while True:
            pass

    found = finding_of(target_of(turn), b"")
    assert found is not None
    assert "TooSlow" in found.text


def test_an_input_that_takes_much_memory_is_a_finding():
    """In a forked process: the largest memory of a started one begins with that of the test run, hundreds of MB that it
    would have to fill within the target's processor time.
    """
    code = f"""
import os
from tests.fuzz.target import Target, finding_of, peak_bytes
if os.fork():
    os.wait()
else:
    grow = lambda content: len(b"x" * (peak_bytes() + {GROWTH_BYTES_MAX}))
    print(finding_of(Target("x", list, grow, ()), b"").place)
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "memory"


def test_an_allocation_beyond_the_limit_is_a_memory_error():
    with limited_memory(100_000_000), pytest.raises(MemoryError):
        bytes(200_000_000)
    assert len(bytes(200_000_000)) == 200_000_000


def test_the_targets_have_different_names_and_their_seeds_fit():
    assert len({target.name for target in ALL}) == len(ALL)
    for target in ALL:
        assert target.seeds()
        assert target.weight > 0


@pytest.mark.parametrize("executions", [1_000, 10_000_000])
def test_a_campaign_shares_its_executions_over_all_targets(executions):
    made = jobs(ALL, executions, seed=7)
    assert {job.target.name for job in made} == {target.name for target in ALL}
    assert abs(sum(job.executions for job in made) - executions) <= len(ALL)
    assert len({(job.target.name, job.seed) for job in made}) == len(made)


def test_reports_of_one_target_are_added_and_a_finding_counts_once(tmp_path):
    found = Found("ValueError at bus/codec.py:1", "ValueError()", b"abc")
    first = Report("batch", 10, 1.0, 100, [found])
    second = Report("batch", 20, 2.0, 300, [found])
    [(name, report)] = added([first, second]).items()
    assert (name, report) == ("batch", Report("batch", 30, 3.0, 300, [found]))
    [line] = kept(tmp_path, report)
    assert found.place in line
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"abc"]


def test_a_process_executes_its_number_of_inputs_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    options = ("--executions", "300", "--processes", "1", "--target", "stream_reply")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["campaign", *options, "--findings", str(tmp_path / "findings")])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    status, shown = campaign.main(), capsys.readouterr().out
    assert status == 0, shown
    assert re.search(r"stream_reply +300 ", shown)
    assert "0 findings" in shown
    assert list(tmp_path.iterdir()) == []
