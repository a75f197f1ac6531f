"""The page's server, asked over its port: the state live and of stored days, orders, files, and who is refused."""

import asyncio
import json
import socket
import stat

import msgspec
import pytest

from bus.commands import Pin, Restart, RunJob, SilenceAlert, Unpin
from bus.events import MasterFileChecked, SlotAssigned
from observer.base.errors import ConfigError
from observer.web.access import ensured_token, is_authorized, refusal_of
from observer.web.live import Live
from observer.web.model import State
from observer.web.orders import KEYS_MAX, OrderKeys, Outcome
from observer.web.server import listening
from tests.builders import trade
from tests.folders import short_folder
from tests.store.filled import SESSIONS
from tests.waiting import until_async
from tests.web.running import DAY, NOON_NS, filled, loaded, served, system

PENDING = MasterFileChecked(
    "kis", "KOSDAQ", NOON_NS, "pending", "900 new listings, over 50", 1, "", 1, 0, 900, 0, 0, run="r1"
)


@pytest.fixture(scope="module")
def settings():
    with short_folder() as folder:
        yield filled(folder, [PENDING])


def authorized(found):
    return {"Authorization": f"Bearer {found.token}"}


async def test_the_page_shows_the_running_system_and_what_the_feed_brings(settings):
    async with system(settings) as running, served(settings) as found:
        first = await loaded(found.live)
        assert (first.day, first.phase, first.level) == (DAY, "FULL_OPERATION", "ok")
        assert first.universe.lines == 3
        assert first.board.accounts[0].slots_max == 41
        assert first.storage.rows["snapshots"] == 3
        assert (first.listings.pending[0].exchange, first.listings.pending[0].run) == ("KOSDAQ", "r1")
        await until_async(lambda: _published(running, found), "the slot of the feed")
        answer = await found.client.get("/api/state")
        assert answer.headers["content-type"].startswith("application/json")
        state = msgspec.json.decode(answer.content, type=State)
        assert [slot.line for slot in state.board.accounts[0].slots][-1:] == ["000660"]


def _published(running, found):
    """Whether the state has the slot that is published again until the feed's reader is there."""
    running.publish(  # type: ignore[attr-defined]
        SlotAssigned("main:09", "000660", NOON_NS, "volume_surge", 1.0, "free_slot", None),
        trade(1, symbol="000660", session_date=DAY, exchange_time_ns=NOON_NS),
    )
    return any(slot.line == "000660" and slot.price for slot in found.live.state().board.accounts[0].slots)


async def test_a_client_gets_the_current_state_at_once_and_then_each_change(settings):
    async with system(settings), served(settings) as found:
        await loaded(found.live)
        async with found.client.stream("GET", "/api/live") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            events = [await _event(lines) for _ in range(2)]
        assert [event["event"] for event in events] == ["state", "change"]
        assert int(events[1]["id"]) > int(events[0]["id"])
        assert json.loads(events[0]["data"])["day"] == DAY
        assert json.loads(events[1]["data"])["now_ms"] > [json.loads(events[0]["data"])["now_ms"]]


async def _event(lines):  # type: ignore[no-untyped-def]
    found: dict[str, str] = {}
    while "data" not in found:
        name, _, value = (await anext(lines)).partition(": ")
        found |= {name: value} if name else {}
    return found


async def test_a_system_and_a_database_that_are_away_are_said_and_nothing_fails(settings):
    nowhere = msgspec.structs.replace(settings.store, url=f"sqlite:///{settings.run.data}/none.db")
    async with Live(msgspec.structs.replace(settings, store=nowhere)) as live:

        def said():
            state = live.state()
            return state if "there is no database" in state.storage.missing else None

        state = await until_async(said, "what is missing")
        assert state is not None
        assert state.level == "critical"
        assert "observer run" in state.headline
        assert "there is no database" in state.board.missing


async def test_a_stored_day_is_shown_at_its_end(settings):
    async with served(settings) as found:
        days = (await found.client.get("/api/days")).json()
        assert days == {"days": [DAY, SESSIONS[0]]}
        answer = await found.client.get(f"/api/days/{SESSIONS[0]}")
        state = msgspec.json.decode(answer.content, type=State)
        assert (state.is_live, state.day, state.universe.lines) == (False, SESSIONS[0], 3)
        assert state.processes.missing
        assert state.timeline.now_minute is None
        assert state.storage.rows["snapshots"] == 3
        assert state.gaps.lost == 1
        [alert] = state.alerts.alerts
        assert (alert.since, alert.ended) == (f"{SESSIONS[0]}T10:00:00+09:00", f"{SESSIONS[0]}T10:00:00+09:00")
        for day, text in (("2030-01-01", "the last stored session is"), ("today", "is no date")):
            refused = await found.client.get(f"/api/days/{day}")
            assert refused.status_code == 404
            assert text in refused.json()["error"]


async def test_orders_reach_the_system_with_the_token_alone(settings):
    orders = {
        "restart": ({"process": "track-b"}, Restart("track-b")),
        "pin": ({"line": "005930"}, Pin("005930")),
        "unpin": ({"line": "005930"}, Unpin("005930")),
        "approve": ({"file": "KOSDAQ", "run": "r1"}, RunJob("master_approve", ["r1"])),
        "silence": ({"alert": "token:main", "for_s": 60}, SilenceAlert("token:main", 60)),
    }
    async with system(settings) as running, served(settings) as found:
        for name, (body, _) in orders.items():
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": found.token}):
                answer = await found.client.post(f"/api/orders/{name}", json=body, headers=headers)
                assert answer.status_code == 401
                assert "web.token" in answer.json()["error"]
        assert running.orders == []
        for name, (body, order) in orders.items():
            answer = await found.client.post(f"/api/orders/{name}", json=body, headers=authorized(found))
            assert (answer.status_code, answer.json()) == (200, {"text": "supervisor: it is done"})
            assert running.orders[-1] == order


@pytest.mark.parametrize(("size", "status"), [(65_536, 400), (65_537, 413), (1_000_000, 413)])
async def test_a_body_has_at_most_65_536_bytes(settings, size, status):
    async with served(settings) as found:
        order = b'{"process":"' + b"x" * (size - 14) + b'"}'
        headers = {**authorized(found), "Content-Type": "application/json"}
        answer = await found.client.post("/api/orders/restart", content=order, headers=headers)
        assert answer.status_code == status
        assert ("more than 65,536 bytes" in answer.json()["error"]) == (status == 413)


@pytest.mark.parametrize(("size", "status"), [(60_000, 200), (65_537, 400), (200_000, 400)])
async def test_a_head_has_at_most_65_536_bytes_also_in_one_piece(settings, size, status):
    async with served(settings) as found:
        answer = await found.client.get("/api/days", headers={"X-Long": "x" * size})
        assert answer.status_code == status
        assert status == 200 or "65,536 bytes" in answer.json()["error"]


async def test_a_refusal_names_no_path_of_the_machine(settings):
    async with served(settings) as found:
        answer = await found.client.post("/api/orders/restart", json={"process": "track-b"})
        assert answer.status_code == 401
        assert settings.run.runtime not in answer.text


async def test_an_order_that_cannot_be_given_says_why(settings):
    async with served(settings) as found:

        async def refused(name, body, status):
            answer = await found.client.post(f"/api/orders/{name}", json=body, headers=authorized(found))
            assert answer.status_code == status
            error: str = answer.json()["error"]
            return error

        assert "no answer" in await refused("restart", {"process": "track-b"}, 503)
        async with system(settings):
            assert "no process is named" in await refused("restart", {"process": "unknown"}, 409)
        assert "KOSDAQ do" in await refused("approve", {"file": "KOSPI", "run": "r1"}, 404)
        assert "`run`" in await refused("approve", {"file": "KOSDAQ"}, 400)
        other = await refused("approve", {"file": "KOSDAQ", "run": "r0"}, 409)
        assert other.startswith("another file of KOSDAQ waits now (900 new listings, over 50), not the one")
        assert "for_s" in await refused("silence", {"alert": "token:main", "for_s": -1}, 400)
        assert "line" in await refused("pin", {"line": ""}, 400)


async def test_an_order_that_arrives_again_with_its_key_is_given_once_and_one_of_an_earlier_server_never(
    settings,
):
    async with system(settings) as running:
        async with served(settings) as found:

            async def given(order, key, name="restart"):
                headers = {**authorized(found), "Idempotency-Key": key}
                answer = await found.client.post(f"/api/orders/{name}", json=order, headers=headers)
                return answer.status_code, next(iter(answer.json().values()))

            async def new_key():
                answer = await found.client.get("/api/orders/key", headers=authorized(found))
                key: str = answer.json()["key"]
                return key

            assert (await found.client.get("/api/orders/key")).status_code == 401
            web, first = {"process": "web"}, await new_key()
            answers = await asyncio.gather(*(given(web, first) for _ in range(3)))
            assert [*answers, await given(web, first)] == [(200, "supervisor: it is done")] * 4
            assert running.orders == [Restart("web")]
            status, text = await given({"process": "track-b"}, first)
            assert (status, "used for another order" in text) == (409, True)
            unknown, second = {"process": "unknown"}, await new_key()
            assert [(await given(unknown, second))[0] for _ in range(2)] == [409, 409]
            assert running.orders == [Restart("web"), Restart("unknown")]
            approved, third = {"file": "KOSDAQ", "run": "r1"}, await new_key()
            assert [(await given(approved, third, "approve"))[0] for _ in range(2)] == [200, 200]
            assert len(running.orders) == 3
        async with served(settings) as found:  # the page's process after its restart
            status, text = await given(web, first)
            assert (status, "does not know whether it was done" in text) == (503, True)
            assert len(running.orders) == 3
            assert (await given(web, await new_key()))[0] == 200


async def test_the_last_keys_of_orders_are_known():
    keys, given = OrderKeys(), []

    async def give():
        given.append(1)
        return Outcome("done")

    made = [keys.new() for _ in range(KEYS_MAX + 1)]
    for key in (*made, *made[1:]):
        assert (await keys.once(key, Pin("005930"), give)).text == "done"
    assert (len(given), len(keys._outcomes)) == (KEYS_MAX + 1, KEYS_MAX)


async def test_every_answer_names_what_a_browser_may_load(settings):
    async with served(settings) as found:
        for path, status in (("/", 200), ("/api/days", 200), ("/nowhere", 404), ("/page/none.js", 404)):
            answer = await found.client.get(path)
            assert answer.status_code == status
            assert answer.headers["content-security-policy"].startswith("default-src 'self'; base-uri 'none'")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert status == 200 or "there is no" in answer.json()["error"]


async def test_a_file_of_the_page_is_sent_once_while_it_does_not_change(settings):
    async with served(settings) as found:
        answer = await found.client.get("/page/main.js")
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        again = await found.client.get("/page/main.js", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for name in ("..%2Fserver.py", "%2e%2e%2fmodel.py", ".hidden.js", "main.py"):
            assert (await found.client.get(f"/page/{name}")).status_code == 404


async def test_another_site_s_page_gets_nothing(settings):
    async with system(settings) as running, served(settings) as found:
        foreign = (
            {"Host": "evil.example"},
            {"Host": f"evil.example:{found.port}"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost:1"},
        )
        for headers in foreign:
            for method, path in (("GET", "/"), ("GET", "/api/state"), ("POST", "/api/orders/pin")):
                given = {**authorized(found), **headers}
                answer = await found.client.request(method, path, headers=given, json={"line": "005930"})
                assert answer.status_code == 403
                assert "error" in answer.json()
        own = {"Origin": f"http://localhost:{found.port}", **authorized(found)}
        answer = await found.client.post("/api/orders/pin", headers=own, json={"line": "005930"})
        assert answer.status_code == 200
        assert len(running.orders) == 1


@pytest.mark.parametrize(
    ("host", "is_refused"),
    [
        ("127.0.0.1:8765", False),
        ("localhost:8765", False),
        ("LOCALHOST", False),
        ("[::1]:8765", False),
        ("", True),
        ("127.0.0.1.evil.example", True),
        ("localhost.evil.example:8765", True),
        ("127.0.0.1:8765, evil.example", True),
        ("0.0.0.0:8765", True),
    ],
)
def test_only_names_of_loopback_are_a_host(host, is_refused):
    assert bool(refusal_of({"host": host}, 8765)) is is_refused


def test_a_page_that_came_by_a_tunnel_of_another_port_may_ask():
    assert not refusal_of({"host": "localhost:9000", "origin": "http://localhost:9000"}, 8765)
    for origin in ("http://localhost:8765", "http://evil.example:9000", "https://localhost:9000", "http://localhost:x"):
        assert refusal_of({"host": "localhost:9000", "origin": origin}, 8765)


def test_a_link_from_another_site_opens_the_page_and_its_scripts_read_nothing():
    from_elsewhere = {"host": "localhost", "sec-fetch-site": "cross-site"}
    assert not refusal_of({**from_elsewhere, "sec-fetch-mode": "navigate"}, 8765)
    assert refusal_of({**from_elsewhere, "sec-fetch-mode": "no-cors"}, 8765)


async def test_the_openapi_document_names_the_routes(settings):
    async with served(settings) as found:
        document = (await found.client.get("/api/schema/openapi.json")).json()
        assert document["openapi"].startswith("3.1")
        assert {"/api/state", "/api/live", "/api/days/{day}", "/api/orders/restart"} <= document["paths"].keys()


# --- the token and the port ---


def test_the_token_is_made_once_and_is_its_owner_s_alone(tmp_path):
    path = tmp_path / "run" / "web.token"
    token = ensured_token(path)
    assert len(token) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensured_token(path) == token
    assert is_authorized(f"Bearer {token}", token)
    assert not any(is_authorized(header, token) for header in (None, "", "Bearer ", token, f"Basic {token}"))


def test_a_token_that_others_may_read_or_that_is_none_is_refused(tmp_path):
    path = tmp_path / "web.token"
    path.write_text("x" * 40)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        ensured_token(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(ConfigError, match="remove it"):
        ensured_token(path)


def test_a_port_in_use_is_named_with_its_setting():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        with pytest.raises(ConfigError, match=r"web\.port"):
            listening(held.getsockname()[1])
