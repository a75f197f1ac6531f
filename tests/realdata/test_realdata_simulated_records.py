"""The simulator's records have the real ones' width, and at every place a text of the same kind."""

import json
import re
from pathlib import Path

import pytest

from observer.simulator.kis.simulator import market_of
from observer.simulator.kis.timelines import Timelines
from tests.simulator.simulator_client import at, settings

FRAMES = Path(__file__).parents[3] / "shared" / "data" / "kis-frames" / "frames.jsonl"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not FRAMES.is_file(), reason="the real samples are not beside the repository"),
]
KINDS = (("blank", ""), ("time", "[012][0-9][0-5][0-9]{3}"), ("date", "20[0-9]{6}"), ("whole", "-?[0-9]+"))
DECIMAL = re.compile(r"-?[0-9]+\.[0-9]{2}")


def kinds_of(text):
    """The kinds that a text can be of; a whole number of six digits can be a time, too."""
    kinds = {name for name, pattern in KINDS if re.fullmatch(pattern, text)}
    return kinds | ({"decimal"} if DECIMAL.fullmatch(text) else set()) or {text}


@pytest.mark.parametrize("tr_id", ["H0STCNT0", "H0NXCNT0", "H0UNCNT0"])
def test_a_simulated_trade_is_field_by_field_like_the_observed_one(tr_id):
    samples = {sample["id"]: sample["raw"] for sample in map(json.loads, FRAMES.read_text().splitlines())}
    real = samples["trade-krx-2026-09-22"].split("|")[3].split("^")
    market = market_of(settings(venues=("KRX", "NXT")))
    timeline = Timelines(market, trade_fields=47, book_fields=63, state_fields=10).of(tr_id, "005930")
    assert timeline is not None
    # The observed trade is of 14:06:10.
    made = timeline.record(timeline.count_until(at(14, 6, 10)) - 1).split("^")
    assert len(made) == len(real) == 47
    unlike = [place for place in range(47) if not kinds_of(made[place]) & kinds_of(real[place])]
    assert unlike == []
    assert (made[34], made[46]) == (real[34], real[46])
