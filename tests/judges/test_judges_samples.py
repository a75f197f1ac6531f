"""The provider's samples, unchanged, manage what they call at the simulated host (make judges)."""

import pytest

from tests.judges import samples_judging
from tests.judges.judging import is_installed
from tests.judges.samples_judging import FOLDER_VARIABLE, SKIPPED, STREAMS, calls_of, folder_of_samples, sampled


@pytest.mark.slow
@pytest.mark.nightly
def test_each_of_the_providers_samples_manages_its_call_or_its_stream(tmp_path):
    samples = folder_of_samples()
    if samples is None:
        pytest.skip(SKIPPED)
    if not is_installed("samples"):
        pytest.skip("the samples' libraries are not installed: make judges")
    results = sampled(samples, tmp_path)
    assert len(results) == len(calls_of(samples)) + len(STREAMS)
    assert {each.name: each.text for each in results if not each.manages} == {}


def test_without_the_samples_the_judge_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert samples_judging.main() == 0
    assert capsys.readouterr().out == SKIPPED + "\n"


def test_a_call_finds_the_sample_of_its_name(tmp_path):
    path = tmp_path / "overseas_stock" / "search_info" / "search_info.py"
    path.parent.mkdir(parents=True)
    path.touch()
    assert calls_of(tmp_path) == {"CTPF1702R": path}
