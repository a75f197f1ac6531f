"""Public clients, with only their addresses changed, manage what they offer at the simulated host (make judges)."""

from pathlib import Path

import pytest

from tests.judges.clients import CLIENTS, FOREIGN_HOST_STATUS
from tests.judges.judging import JUDGES, STEPS, Judgement, is_installed, judged

REQUIREMENTS = Path(__file__).with_name("requirements")


def require(name):
    if not is_installed(name):
        pytest.skip(f"{name} is not installed: make judges")


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("name", JUDGES)
def test_a_public_client_manages_each_step_but_those_of_its_own_fault(name, tmp_path):
    require(name)
    judgement = judged(name, tmp_path)
    judge = JUDGES[name]
    expected = {step: "own fault" if step in judge.faults else "ok" for step in judge.steps}
    assert {step: judgement.result(judge, step) for step in judge.steps} == expected, judgement.answers


@pytest.mark.slow
@pytest.mark.nightly
def test_a_client_that_connects_to_another_host_ends_at_once(tmp_path):
    require("pykis")
    with pytest.raises(ChildProcessError) as ended:
        judged("pykis", tmp_path, child="another-host")
    assert ended.value.errno == FOREIGN_HOST_STATUS


@pytest.mark.parametrize("answer", [[], "TimeoutError: ", [["5930", "1"]], [["5930", "1"], ["5940", "9"]]])
def test_another_answer_than_the_markets_is_a_fault(answer):
    market = {"trades": [["5930", "1"], ["5940", "2"]]}
    assert Judgement({"trades": answer}, dict(market)).result(JUDGES["kis-trader"], "trades") == "OUR FAULT"
    assert Judgement(dict(market), dict(market)).result(JUDGES["kis-trader"], "trades") == "ok"


def test_a_fault_of_a_client_that_is_mended_is_noticed():
    market = {"trades": [["5930", "1"]]}
    assert Judgement(dict(market), dict(market)).result(JUDGES["kis-wrapper"], "trades") == "MENDED"


@pytest.mark.parametrize("name", JUDGES)
def test_each_client_is_pinned_in_its_version(name):
    pinned = (REQUIREMENTS / f"{name}.txt").read_text()
    assert f"\n{JUDGES[name].package or name}=={JUDGES[name].version} " in f"\n{pinned}"
    assert set(CLIENTS) == set(JUDGES)
    assert set(JUDGES[name].faults) <= set(JUDGES[name].steps) <= set(STEPS)
