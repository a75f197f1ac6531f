"""`observer query`, `observer bars` and `observer export` over the small store of the research tests."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import polars as pl
import pytest
from click.testing import CliRunner

from observer.base.errors import ConfigError, DataFileError, NoDataError
from observer.base.extras import install_command
from observer.cli import steps
from observer.cli.app import command_line
from observer.cli.plot import Candle, fitted, plotted
from observer.research.errors import NotCollected
from tests.research.stored import DAY, NEXT_DAY, make_store


@pytest.fixture(scope="module")
def configuration(tmp_path_factory):
    return str(make_store(tmp_path_factory.mktemp("research")) / "observer.toml")


def run(configuration, *words):
    return CliRunner().invoke(command_line(), [*words, "--config", configuration])


def printed(configuration, *words):
    ran = run(configuration, *words)
    assert ran.exit_code == 0, ran.exception
    return ran.stdout


def test_a_query_is_a_table_and_says_what_it_left_out(configuration):
    lines = printed(
        configuration, "query", "SELECT symbol, volume FROM trades ORDER BY ALL", "--limit", "2"
    ).splitlines()
    assert lines == [
        "symbol  volume",
        "------  ------",
        "000660       1",
        "000660       2",
        "8 more rows: --limit 0 shows all",
    ]


@pytest.mark.parametrize(
    ("words", "step"), [(("query", "SELECT 1"), "querying"), (("export", DAY, "--to", "files"), "writing the files")]
)
def test_long_work_names_its_step_on_a_terminal_s_stderr_alone(configuration, monkeypatch, tmp_path, words, step):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(steps, "SHOWN_AFTER_S", 0.0)
    assert run(configuration, *words).stderr == "", "no terminal"
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes this for a terminal
    shutil.rmtree(tmp_path / "files", ignore_errors=True)
    ran = run(configuration, *words)
    assert step in ran.stderr
    assert step not in ran.stdout


def test_a_query_is_csv_json_or_a_file(configuration, tmp_path):
    sql = "SELECT time, symbol, price FROM trades WHERE symbol = '005930' ORDER BY cumulative_volume LIMIT 1"
    [row] = csv.DictReader(io.StringIO(printed(configuration, "query", sql, "--csv")))
    assert row == {"time": "2026-11-18T09:00:01+09:00", "symbol": "005930", "price": "70000.0"}
    assert json.loads(printed(configuration, "query", sql, "--json")) == [
        {"time": "2026-11-18T09:00:01+09:00", "symbol": "005930", "price": 70000.0}
    ]
    path = tmp_path / "rows.parquet"
    assert printed(configuration, "query", sql, "--parquet", str(path)) == f"{path}: 1 rows\n"
    assert pl.read_parquet(path)["price"].to_list() == [70_000]


def test_bars_show_what_is_complete(configuration):
    rows = json.loads(printed(configuration, "bars", "000660", DAY, "--json"))
    assert [row["complete"] for row in rows] == [True, True, True, False]
    assert "2026-11-18 09:01:00  000660  200100" in printed(configuration, "bars", "000660", DAY)


def test_bars_are_drawn_with_a_mark_where_trades_may_be_missing(configuration):
    lines = printed(configuration, "bars", "000660", DAY, "--plot").splitlines()
    assert lines[0] == "000660 on 2026-11-18, bars of 1m"
    assert lines[1].startswith("200,500 ")
    assert [line.strip() for line in lines[-3:-1]] == ["?", "09:00"]
    assert lines[-1] == "? not proved to have every trade"


def test_a_picture_is_a_file_of_its_own(configuration, tmp_path):
    png, html = tmp_path / "new" / "bars.png", tmp_path / "bars.html"
    assert printed(configuration, "bars", "000660", DAY, "--plot", str(png)) == f"{png}: 4 bars\n"
    content = png.read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    assert int.from_bytes(content[16:20], "big") == 1200
    printed(configuration, "bars", "000660", DAY, "--interval", "5m", "--plot", str(html))
    page = html.read_text()
    drawn = ET.fromstring(page[page.index("<svg") : page.index("</html>")])
    [bar] = drawn.iter("{http://www.w3.org/2000/svg}title")
    assert bar.text == "09:00 open 200,000 high 200,500 low 200,000 close 200,500 volume 12 (not proved complete)"
    assert "not proved to have every trade" in page
    for outside in ("src=", "href=", "@import", "url(", "<script"):
        assert outside not in page


def test_a_picture_of_another_form_is_refused_before_anything_is_read(configuration, tmp_path):
    ran = run(configuration, "bars", "000660", DAY, "--plot", str(tmp_path / "bars.gif"))
    assert isinstance(ran.exception, ConfigError)
    assert "ends in .png or .html" in str(ran.exception)
    (tmp_path / "file").write_text("")
    ran = run(configuration, "bars", "000660", DAY, "--plot", str(tmp_path / "file" / "bars.html"))
    assert isinstance(ran.exception, DataFileError)


def test_a_picture_without_matplotlib_names_the_extra(configuration, tmp_path):
    """In a process that finds no matplotlib, as without the extra."""
    hidden = "import sys; sys.modules['matplotlib'] = None; from observer.cli.app import main; main()"
    words = ["bars", "000660", DAY, "--plot", str(tmp_path / "bars.png"), "--config", configuration]
    ran = subprocess.run([sys.executable, "-c", hidden, *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr == f"observer: matplotlib is not installed: {install_command('research')}\n"
    assert not (tmp_path / "bars.png").exists()


def test_a_day_without_a_trade_cannot_be_drawn(configuration):
    ran = run(configuration, "bars", "403800", DAY, "--plot")
    assert isinstance(ran.exception, NoDataError)


def test_the_last_day_is_the_default(configuration):
    assert isinstance(run(configuration, "bars", "005930").exception, NotCollected)
    assert NEXT_DAY in str(run(configuration, "bars", "005930").exception)


def test_an_export_names_its_files(configuration, tmp_path):
    found = json.loads(printed(configuration, "export", DAY, "--to", str(tmp_path), "--format", "csv", "--json"))
    assert found["day"] == DAY
    assert {Path(each).stem for each in found["files"]} >= {"trades", "bars", "quality", "slots"}
    assert len((tmp_path / "trades.csv").read_text().splitlines()) == 11


def test_two_forms_exclude_each_other(configuration):
    for words in (("query", "SELECT 1", "--csv", "--json"), ("query", "SELECT 1", "--parquet", "x", "--csv"),
                  ("bars", "005930", DAY, "--plot", "--json")):  # fmt: skip
        assert isinstance(run(configuration, *words).exception, ConfigError)


def test_a_text_of_csv_is_no_formula(configuration):
    sql = "SELECT '=HYPERLINK(1)' AS text, -1 AS figure"
    assert printed(configuration, "query", sql, "--csv").splitlines() == ["text,figure", "'=HYPERLINK(1),-1"]


def candles(*closes):
    return [
        Candle(f"09:{nth:02}", 10, max(10, close), min(10, close), close, nth + 1, True)
        for nth, close in enumerate(closes)
    ]


def test_bars_that_do_not_fit_share_columns():
    [first, second] = fitted(candles(11, 12, 9), 2)
    assert (first.open, first.high, first.low, first.close, first.volume) == (10, 12, 10, 12, 3)
    assert second.time == "09:02"


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_picture_is_as_wide_as_allowed(width):
    lines = list(plotted(candles(*(10 + nth % 7 for nth in range(200))), width))
    assert max(map(len, lines)) <= width


def test_a_single_price_is_drawn():
    assert next(iter(plotted(candles(10), 40))).strip().startswith("10")


@pytest.mark.parametrize(
    ("prices", "labels"),
    [
        ((102_700, 103_000, 102_800), ["103,000", "102,900", "102,800", "102,700"]),
        ((97_000, 97_100, 100_500), [f"{price:,}" for price in range(100_500, 96_500, -500)]),
        ((150.3, 150.35, 150.4), ["150.4", "150.35", "150.3"]),
        ((102.35, 102.35), ["102.35"]),
    ],
)
def test_the_labels_of_a_picture_are_prices_that_can_exist(prices, labels):
    lines = list(plotted([Candle("09:00", price, price, price, price, 1, True) for price in prices], 60))
    assert [words[0] for line in lines[:-2] if (words := line.split()) and words[0][0].isdigit()] == labels
