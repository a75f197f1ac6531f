"""`observer master tradable --csv`: RFC 4180, and no cell that a spreadsheet reads as a formula."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.cli.master_queries import _write_csv
from observer.reference.listings.model import Tradable, TradableAnswer


def written(name, capsys):
    capsys.readouterr()
    _write_csv([TradableAnswer("NASD", "database", "", [Tradable("NASD", "A", name, "", "USD", "stock")])])
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", "\t=1", "\x00=1"])
def test_a_name_is_no_formula(name, capsys):
    [_, row] = csv.reader(io.StringIO(written(name, capsys)))
    assert row[2].startswith("'")


@given(st.text(st.characters(categories=["L", "N", "Po"]), max_size=20))
def test_any_name_comes_back_from_the_file(name):
    with pytest.MonkeyPatch.context() as patch:
        out = io.StringIO()
        patch.setattr("sys.stdout", out)
        _write_csv([TradableAnswer("NASD", "database", "", [Tradable("NASD", "A", name, "", "USD", "stock")])])
    [_, row] = csv.reader(io.StringIO(out.getvalue()))
    assert row[2].removeprefix("'") == name.removeprefix("'")
