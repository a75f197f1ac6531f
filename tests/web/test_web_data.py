"""The data part of the HTTP API on both databases, asked on loopback: rows, forms, pages, ETags and refusals."""

import base64
import io
import sys
import types
import typing
from datetime import date, datetime

import httpx
import msgspec
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import observer
from observer.research.exporting import csv_of
from observer.web import data_rows
from tests.conformance.conftest import postgresql_schema
from tests.research.stored import DAY, NEXT_DAY, STREAM, append, make_store, traded, url_of
from tests.waiting import DEADLINE_S
from tests.web.data_app import data_app, served

MONTHS = "start=2026-01-01&end=2026-12-31"
QUESTIONS = {
    "/api/listings": data_rows.ListingRow,
    "/api/listings/005930/lifetime?on=2026-11-18": data_rows.LifetimeRow,
    "/api/new-listings?since=2026-11-01": data_rows.ListingRow,
    f"/api/universe/{DAY}": data_rows.UniverseRow,
    f"/api/quality?{MONTHS}": data_rows.QualityRow,
    f"/api/gaps?{MONTHS}": data_rows.GapRow,
    f"/api/slots?{MONTHS}": data_rows.SlotRow,
    f"/api/triggers?{MONTHS}": data_rows.TriggerRow,
    f"/api/days/{DAY}/trades/005930": data_rows.TradeRow,
    f"/api/bars/000660?{MONTHS}": data_rows.BarRow,
    f"/api/daily/005930?{MONTHS}": data_rows.DailyRow,
    f"/api/etf-premium/069500?{MONTHS}": data_rows.EtfPremiumRow,
}
TYPES = {str: pl.String, float: pl.Float64, int: pl.Int64, bool: pl.Boolean, date: pl.Date}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request):
    """The URL of an empty schema of a server; None: the database is a file in the folder."""
    if request.param == "sqlite":
        yield None
    else:
        with postgresql_schema() as found:
            yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory, url):
    return make_store(tmp_path_factory.mktemp("data"), url)


@pytest.fixture(scope="module")
def web(folder, url):
    with (
        served(data_app(folder, url)) as address,
        httpx.Client(base_url=address, trust_env=False, timeout=DEADLINE_S) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def store(folder):
    with observer.open_store(folder) as opened:
        yield opened


# How rows are cut into pages and how questions are read depends on no database: the server's way is in the long tier.
of_a_file = pytest.mark.parametrize(
    "url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True, scope="module"
)


def asked(web, path, **parameters):
    """The rows of a page as an Arrow stream."""
    response = web.get(path, params={**httpx.URL(path).params, "format": "arrow", **parameters})
    assert response.status_code == 200, response.text
    return pl.read_ipc_stream(io.BytesIO(response.content))


def pages(web, path, limit):
    """Each page of an answer, as the links lead."""
    found = [web.get(path, params={**httpx.URL(path).params, "limit": limit})]
    while link := found[-1].links.get("next"):
        found.append(web.get(link["url"]))
    return found


@pytest.mark.parametrize(("path", "row"), QUESTIONS.items())
def test_the_rows_are_the_same_in_each_form_and_as_the_document_describes_them(web, path, row):
    frame = asked(web, path)
    answer = web.get(path)
    rows = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert rows
    assert [list(each) for each in rows] == [frame.columns] * frame.height
    assert list(row.__struct_fields__) == frame.columns
    hints = typing.get_type_hints(row)
    for name, dtype in frame.schema.items():
        [kind, *optional] = typing.get_args(hints[name]) or [hints[name]]
        assert optional in ([], [types.NoneType]), name
        if kind is datetime:
            assert dtype == pl.Datetime("ns", "Asia/Seoul"), name
            moments = [datetime.fromisoformat(each[name]) for each in rows if each[name] is not None]
            assert moments == frame[name].drop_nulls().to_list(), name
        else:
            assert dtype == TYPES[kind], name
            values = [None if each is None else str(each) if kind is date else each for each in frame[name]]
            assert [each[name] for each in rows] == values, name
    table = web.get(path, headers={"Accept": "text/csv"})
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text == csv_of(frame)


def test_the_rows_are_those_of_the_research_store(web, store):
    for path, frame in {
        "/api/listings?kind=etf": store.instruments(kind="etf"),
        f"/api/universe/{NEXT_DAY}": store.universe(NEXT_DAY),
        f"/api/quality?start={DAY}": store.quality(DAY),
        f"/api/gaps?start={DAY}": store.gaps(DAY),
        f"/api/days/{DAY}/trades/035420": store.trades("035420", DAY),
        f"/api/bars/000660?start={DAY}&interval=2m&adjusted=true": store.bars(
            "000660", DAY, interval="2m", adjusted=True
        ),
        f"/api/daily/000660?start={DAY}&adjusted=true": store.daily("000660", DAY, adjusted=True),
    }.items():
        assert_frame_equal(asked(web, path), frame.collect())


def test_bars_between_moments_are_those_of_the_moments(web):
    begin, end = f"{DAY}T09:01:00", f"{DAY}T09:03:00"
    local = asked(web, "/api/bars/005930", start=begin, end=end)
    assert local["time"].dt.strftime("%H:%M").to_list() == ["09:01", "09:02"]
    for offset in ("+09:00", "%2B09:00"):  # a plus sign that is not encoded arrives as a blank
        same = web.get(f"/api/bars/005930?start={begin}{offset}&end={end}{offset}&format=arrow")
        assert_frame_equal(pl.read_ipc_stream(io.BytesIO(same.content)), local)


def test_a_former_listing_is_not_listed_and_an_old_day_is_unknown(web):
    def status(symbol, on):
        [row] = web.get(f"/api/listings/{symbol}/lifetime", params={"on": on}).json()
        return str(row["status"])

    assert status("111111", "2026-11-18") == "not listed"
    assert status("111111", "2020-01-02") == "unknown"
    assert status("111111", "2026-11-14") == "listed"


@of_a_file
@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("path", QUESTIONS)
def test_the_pages_are_the_whole_answer(web, path, limit):
    found = [page.json() for page in pages(web, path, limit)]
    assert all(len(page) == limit for page in found[:-1])
    assert 0 < len(found[-1]) <= limit
    assert [row for page in found for row in page] == web.get(path).json()


def test_a_large_page_is_sent_in_pieces_and_is_one_table(
    tmp_path_factory,
):
    folder = make_store(tmp_path_factory.mktemp("large"))
    many = [traded("005930", "10:00:00", 70_000, 1, 200 + number) for number in range(12_000)]
    append(url_of(folder), STREAM, *many)
    path = f"/api/days/{DAY}/trades/005930?limit=50000"
    with served(data_app(folder)) as url, httpx.Client(base_url=url, trust_env=False, timeout=DEADLINE_S) as web:
        rows = web.get(path)
        text = web.get(f"{path}&format=csv")
        whole = asked(web, path)
    assert rows.headers["transfer-encoding"] == "chunked"
    assert [row["cumulative_volume"] for row in rows.json()] == whole["cumulative_volume"].to_list()
    assert text.text.count("time,symbol") == 1
    assert pl.read_csv(io.BytesIO(text.content))["cumulative_volume"].to_list() == whole["cumulative_volume"].to_list()


# --- what the asker has already --------------------------------------------------------------------------------


def test_an_answer_that_the_asker_has_is_not_sent_again(web):
    path = f"/api/bars/005930?start={DAY}"
    tag = web.get(path).headers["etag"]
    for header in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = web.get(path, headers={"If-None-Match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert web.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_each_page_form_and_question_has_an_etag_of_its_own(web):
    asked_of = [f"/api/bars/005930?start={DAY}{more}" for more in ("", "&format=csv", "&limit=2", "&interval=2m")]
    answers = [web.get(each) for each in asked_of]
    answers.append(web.get(answers[2].links["next"]["url"]))
    assert len({each.headers["etag"] for each in answers}) == len(answers)


# --- refusals --------------------------------------------------------------------------------------------------


@of_a_file
@pytest.mark.parametrize(
    ("status", "path", "text"),
    [
        (404, f"/api/days/{DAY}/trades/005931", "did you mean 005930?"),
        (404, "/api/days/2026-11-17/trades/005930", "stored are 2026-11-18, 2026-11-19"),
        (404, f"/api/days/{DAY}/trades/247540", "`observer slots pin 247540`"),
        (404, f"/api/bars/247540?{MONTHS}", "had no slot on 2026-01-01 to 2026-12-31"),
        (404, "/api/universe/2026-11-17", "is not stored"),
        (404, "/api/listings?as_of=2020-01-01", "the first was read on 2026-11-13"),
        (404, "/api/listings?exchange=NASDAQ", "the exchanges are KOSPI"),
        (404, "/api/listings?as_of=0001-01-01", "no master file was read"),
        (404, "/api/listings/999999/lifetime?on=2026-11-18", "is not a stored symbol"),
        (404, "/api/quality?start=9999-12-31", "is not stored"),
        (404, f"/api/gaps?start={NEXT_DAY}&end={DAY}", "the earlier one first"),
        (404, "/api/gaps?start=0001-01-01T00:00:00%2B14:00", "give days of a market"),
        (404, f"/api/bars/005930?start={DAY}&cursor=abc", "from the header Link"),
        (404, "/api/etf-premium/005930?start=2026-01-01", "nothing of 005930"),
        (400, "/api/universe/2026-02-30", "neither a day"),
        (400, "/api/new-listings?since=2026-02-30", "give one such as 2026-11-18"),
        (400, "/api/quality?start=yesterday", "neither a day such as"),
        (400, "/api/quality", "start"),
        (400, f"/api/quality?start={DAY}&limit=0", "limit"),
        (400, f"/api/quality?start={DAY}&limit=50001", "limit"),
        (400, f"/api/quality?start={DAY}&limit=many", "limit"),
        (400, f"/api/quality?start={DAY}&format=xml", "form"),
        (400, f"/api/quality?start={DAY}&format=null", "leave it out"),
        (400, f"/api/quality?start={DAY}&ende=2026-11-19", "there are cursor, end, format, limit, start"),
        (400, f"/api/quality?start={DAY}&start={DAY}", "more than once"),
        (400, f"/api/bars/005930?start={DAY}&interval=7m", "interval"),
        (400, "/api/listings?kind=bond", "kind"),
        (400, f"/api/days/{DAY}/trades/%20", "symbol"),
    ],
)
def test_a_wrong_question_is_refused_with_the_remedy(web, status, path, text):
    answer = web.get(path)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert text in answer.json()["error"]


def test_a_form_that_does_not_exist_is_not_acceptable(web):
    path = f"/api/universe/{DAY}"
    answer = web.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 406
    assert "text/csv" in answer.json()["error"]
    assert web.get(path, headers={"Accept": "text/html, */*;q=0.1"}).headers["content-type"] == "application/json"
    assert web.get(f"{path}?format=csv", headers={"Accept": "text/html"}).status_code == 200
    assert web.get(path, headers={"Accept": "application/json;q=1e400"}).status_code == 406


def test_a_cursor_of_another_question_is_refused(web):
    [first, *_] = pages(web, f"/api/universe/{DAY}", 2)
    cursor = httpx.URL(first.links["next"]["url"]).params["cursor"]
    answer = web.get(f"/api/universe/{NEXT_DAY}", params={"cursor": cursor})
    assert answer.status_code == 404
    assert "not of this question" in answer.json()["error"]


def test_the_link_of_a_page_is_an_address_whatever_the_path_had(web):
    [first, *others] = pages(web, f"/api/days/{DAY}/trades/005930%0A", 3)
    assert "%0A?" in first.links["next"]["url"]
    assert [page.status_code for page in (first, *others)] == [200, 200]


def test_a_made_up_cursor_is_refused(web):
    first = web.get(f"/api/universe/{DAY}?limit=1")
    place = msgspec.json.decode(base64.b64decode(httpx.URL(first.links["next"]["url"]).params["cursor"] + "=="))
    for part, row in ((10**30, 0), (0, 10**30), (-1, 0), (0, 2**31), (7, 0), (None, "")):
        cursor = base64.urlsafe_b64encode(msgspec.json.encode([*place[:2], part, row])).decode()
        assert web.get(f"/api/universe/{DAY}", params={"cursor": cursor}).status_code == 404


def test_without_the_extra_the_answer_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with served(data_app(tmp_path)) as url:
        answer = httpx.get(f"{url}/api/universe/{DAY}", trust_env=False)
    assert answer.status_code == 501
    assert "duckdb is not installed: " in answer.json()["error"]


def test_without_a_database_the_answer_says_so(tmp_path):
    with served(data_app(tmp_path)) as url:
        answer = httpx.get(f"{url}/api/universe/{DAY}", trust_env=False)
    assert answer.status_code == 503
    assert "observer.db" in answer.json()["error"]
    assert int(answer.headers["retry-after"]) > 0
