"""The data part of the HTTP API on both databases, asked on loopback: rows, forms, pages, ETags and refusals."""

import base64
import io
from datetime import date, datetime

import httpx
import msgspec
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import observer
from observer.research.catalogue import RELATIONS
from observer.research.exporting import csv_of
from observer.research.relation import columns_of
from tests.conformance.conftest import postgresql_schema
from tests.research.stored import DAY, NEXT_DAY, STREAM, append, make_store, traded, url_of
from tests.waiting import DEADLINE_S
from tests.web.data_app import data_app, served

MONTHS = "day=2026-01-01&end=2026-12-31"
QUESTIONS = {
    "/api/listings": "listings",
    "/api/lifetimes?symbol=005930&day=2026-11-18": "lifetimes",
    "/api/new_listings?day=2026-11-01": "new_listings",
    "/api/listing_changes?symbol=005930": "listing_changes",
    f"/api/universe?day={DAY}": "universe",
    f"/api/quality?{MONTHS}": "quality",
    f"/api/gaps?{MONTHS}": "gaps",
    f"/api/slots?{MONTHS}": "slots",
    f"/api/decisions?{MONTHS}&symbol=005930": "decisions",
    f"/api/triggers?{MONTHS}": "triggers",
    f"/api/sweeps?{MONTHS}": "sweeps",
    f"/api/trades?day={DAY}&symbol=005930": "trades",
    f"/api/bars?symbol=000660&{MONTHS}": "bars",
    f"/api/daily?symbol=005930&{MONTHS}": "daily",
    f"/api/etf_premium?symbol=069500&{MONTHS}": "etf_premium",
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


@pytest.mark.parametrize(("path", "name"), QUESTIONS.items())
def test_the_rows_are_the_same_in_each_form_and_as_the_catalogue_describes_them(web, path, name):
    frame = asked(web, path)
    answer = web.get(path)
    rows = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert rows
    assert [list(each) for each in rows] == [frame.columns] * frame.height
    columns = {each.name: each for each in columns_of(RELATIONS[name].row)}
    assert list(columns) == frame.columns
    for name, dtype in frame.schema.items():
        kind = columns[name].type
        assert columns[name].is_optional or not frame[name].has_nulls(), name
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
        f"/api/universe?day={NEXT_DAY}": store.universe(NEXT_DAY),
        f"/api/quality?day={DAY}": store.quality(DAY),
        f"/api/gaps?day={DAY}": store.gaps(DAY),
        f"/api/trades?day={DAY}&symbol=035420": store.trades("035420", DAY),
        f"/api/bars?symbol=000660&day={DAY}&interval=2m&adjusted=true": store.bars(
            "000660", DAY, interval="2m", adjusted=True
        ),
        f"/api/daily?symbol=000660&day={DAY}&adjusted=true": store.daily("000660", DAY, adjusted=True),
    }.items():
        assert_frame_equal(asked(web, path), frame.collect())


def test_bars_between_moments_are_those_of_the_moments(web):
    begin, end = f"{DAY}T09:01:00", f"{DAY}T09:03:00"
    local = asked(web, "/api/bars?symbol=005930", day=begin, end=end)
    assert local["time"].dt.strftime("%H:%M").to_list() == ["09:01", "09:02"]
    for offset in ("+09:00", "%2B09:00"):  # a plus sign that is not encoded arrives as a blank
        same = web.get(f"/api/bars?symbol=005930&day={begin}{offset}&end={end}{offset}&format=arrow")
        assert_frame_equal(pl.read_ipc_stream(io.BytesIO(same.content)), local)


def test_a_former_listing_is_not_listed_and_an_old_day_is_unknown(web):
    def status(symbol, on):
        [row] = web.get("/api/lifetimes", params={"symbol": symbol, "day": on}).json()
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
    path = f"/api/trades?day={DAY}&symbol=005930&limit=50000"
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
    path = f"/api/bars?symbol=005930&day={DAY}"
    tag = web.get(path).headers["etag"]
    for header in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = web.get(path, headers={"If-None-Match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert web.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_each_page_form_and_question_has_an_etag_of_its_own(web):
    asked_of = [f"/api/bars?symbol=005930&day={DAY}{more}" for more in ("", "&format=csv", "&limit=2", "&interval=2m")]
    answers = [web.get(each) for each in asked_of]
    answers.append(web.get(answers[2].links["next"]["url"]))
    assert len({each.headers["etag"] for each in answers}) == len(answers)


# --- refusals --------------------------------------------------------------------------------------------------


@of_a_file
@pytest.mark.parametrize(
    ("status", "path", "text"),
    [
        (404, f"/api/trades?day={DAY}&symbol=005931", "did you mean 005930?"),
        (404, "/api/trades?day=2026-11-17&symbol=005930", "stored are 2026-11-18, 2026-11-19"),
        (404, f"/api/trades?day={DAY}&symbol=247540", "`observer slots pin 247540`"),
        (404, f"/api/bars?symbol=247540&{MONTHS}", "had no slot on 2026-01-01 to 2026-12-31"),
        (404, "/api/universe?day=2026-11-17", "is not stored"),
        (404, "/api/listings?day=2020-01-01", "the first was read on 2026-11-13"),
        (404, "/api/listings?exchange=NASDAQ", "the exchanges are KOSPI"),
        (404, "/api/listings?day=0001-01-01", "no master file was read"),
        (404, "/api/lifetimes?symbol=999999&day=2026-11-18", "is not a stored symbol"),
        (404, "/api/quality?day=9999-12-31", "is not stored"),
        (404, f"/api/gaps?day={NEXT_DAY}&end={DAY}", "the earlier one first"),
        (404, "/api/gaps?day=0001-01-01T00:00:00%2B14:00", "give days of a market"),
        (404, f"/api/bars?symbol=005930&day={DAY}&cursor=abc", "from the header Link"),
        (404, "/api/etf_premium?symbol=005930&day=2026-01-01", "nothing of 005930"),
        (400, "/api/universe?day=2026-02-30", "neither a day"),
        (400, "/api/new_listings?day=2026-02-30", "neither a day"),
        (400, "/api/quality?day=yesterday", "neither a day such as"),
        (400, "/api/quality", "day"),
        (400, f"/api/quality?day={DAY}&limit=0", "limit"),
        (400, f"/api/quality?day={DAY}&limit=50001", "limit"),
        (400, f"/api/quality?day={DAY}&limit=many", "limit"),
        (400, f"/api/quality?day={DAY}&format=xml", "form"),
        (400, f"/api/quality?day={DAY}&format=null", "leave it out"),
        (400, f"/api/quality?day={DAY}&ende=2026-11-19", "there are cursor, day, end, format, known_at, limit, symbol"),
        (400, f"/api/quality?day={DAY}&day={DAY}", "more than once"),
        (400, f"/api/bars?symbol=005930&day={DAY}&interval=7m", "interval"),
        (400, "/api/listings?kind=bond", "kind"),
        (400, f"/api/trades?day={DAY}&symbol=%20", "symbol"),
    ],
)
def test_a_wrong_question_is_refused_with_the_remedy(web, status, path, text):
    answer = web.get(path)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert text in answer.json()["error"]


def test_a_form_that_does_not_exist_is_not_acceptable(web):
    path = f"/api/universe?day={DAY}"
    answer = web.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 406
    assert "text/csv" in answer.json()["error"]
    assert web.get(path, headers={"Accept": "text/html, */*;q=0.1"}).headers["content-type"] == "application/json"
    assert web.get(f"{path}&format=csv", headers={"Accept": "text/html"}).status_code == 200
    assert web.get(path, headers={"Accept": "application/json;q=1e400"}).status_code == 406


def test_a_cursor_of_another_question_is_refused(web):
    [first, *_] = pages(web, f"/api/universe?day={DAY}", 2)
    cursor = httpx.URL(first.links["next"]["url"]).params["cursor"]
    answer = web.get(f"/api/universe?day={NEXT_DAY}&cursor={cursor}")
    assert answer.status_code == 404
    assert "not of this question" in answer.json()["error"]


def test_the_link_of_a_page_is_an_address_whatever_the_question_had(web):
    [first, *others] = pages(web, f"/api/trades?day={DAY}&symbol=005930%0A", 3)
    assert "%0A&" in first.links["next"]["url"]
    assert [page.status_code for page in (first, *others)] == [200, 200]


def test_a_made_up_cursor_is_refused(web):
    first = web.get(f"/api/universe?day={DAY}&limit=1")
    place = msgspec.json.decode(base64.b64decode(httpx.URL(first.links["next"]["url"]).params["cursor"] + "=="))
    for part, row in ((10**30, 0), (0, 10**30), (-1, 0), (0, 2**31), (7, 0), (None, "")):
        cursor = base64.urlsafe_b64encode(msgspec.json.encode([*place[:2], part, row])).decode()
        assert web.get(f"/api/universe?day={DAY}&cursor={cursor}").status_code == 404


def test_without_a_database_the_answer_says_so(tmp_path):
    with served(data_app(tmp_path)) as url:
        answer = httpx.get(f"{url}/api/universe?day={DAY}", trust_env=False)
    assert answer.status_code == 503
    assert "observer.db" in answer.json()["error"]
    assert int(answer.headers["retry-after"]) > 0
