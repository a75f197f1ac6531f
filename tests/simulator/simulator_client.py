"""A plain client of the simulator for its own tests: httpx and websockets, nothing of our providers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from functools import cache

import httpx
import websockets

from observer.base.clock import Clock, ManualClock
from observer.base.local_time import local_ns
from observer.simulator.kis.simulator import MadeUp, Simulator, made_up
from observer.simulator.market.market import Market
from observer.simulator.settings import SimulatorSettings
from tests.waiting import DEADLINE_S

SESSION_DATE = "2026-11-18"
APP_KEYS = {"first": "secret-one", "second": "secret-two"}
QUOTATIONS = "/uapi/domestic-stock/v1/quotations"


def at(hour: int, minute: int = 0, second: int = 0) -> int:
    """A Korean time of the session day."""
    return local_ns(date.fromisoformat(SESSION_DATE), hour, minute, second)


def settings(**changes: object) -> SimulatorSettings:
    """Those of a small market, whose streams of trades have trades alone."""
    values: dict[str, object] = {
        "seed": 7,
        "session_date": SESSION_DATE,
        "symbols": 30,
        "app_keys": APP_KEYS,
        "trades_times": 0.2,
        "expected_prices": False,
    }
    return SimulatorSettings(**(values | changes))


MARKETS_OWN = (
    "seed",
    "session_date",
    "symbols",
    "data",
    "opens_at",
    "trades_times",
    "history_days",
    "venues",
    "market_stops",
    "nxt_value_ratio",
    "real_day_trades",
)


@cache
def _day(own: tuple[object, ...]) -> MadeUp:
    return made_up(settings(**dict(zip(MARKETS_OWN, own, strict=True))))


def day_with(wanted: SimulatorSettings) -> MadeUp:
    """A market day shared by simulators: a function of its settings; generating it takes longer than most tests."""
    return _day(tuple(getattr(wanted, name) for name in MARKETS_OWN))


def day_of(symbols: int, trades_times: float) -> MadeUp:
    return day_with(settings(symbols=symbols, trades_times=trades_times))


def market_with(**changes: object) -> Market:
    """The shared market of these settings: what is read of it changes no trade."""
    return day_with(settings(**changes)).market


def simulator_of(clock: Clock, **changes: object) -> Simulator:
    wanted = settings(**changes)
    return Simulator(wanted, clock, day_with(wanted))


class Client:
    """One account at a running simulator; `clock` is there where the test moves it."""

    clock: ManualClock

    def __init__(self, simulator: Simulator, http: httpx.AsyncClient) -> None:
        self.simulator = simulator
        self.http = http
        self.token = ""
        self.liveliest = max(
            (i.symbol for i in simulator.market.instruments if i.ordinary), key=lambda s: len(simulator.market.tape(s))
        )

    async def post(self, path: str, **body: str) -> httpx.Response:
        return await self.http.post(self.simulator.rest_url + path, json=body)

    async def ask_token(self, app_key: str = "first") -> httpx.Response:
        answer = await self.post(
            "/oauth2/tokenP", grant_type="client_credentials", appkey=app_key, appsecret=APP_KEYS[app_key]
        )
        self.token = answer.json().get("access_token", self.token)
        return answer

    async def approval(self, app_key: str = "first") -> str:
        answer = await self.post(
            "/oauth2/Approval", grant_type="client_credentials", appkey=app_key, secretkey=APP_KEYS[app_key]
        )
        return str(answer.json()["approval_key"])

    def headers(self, tr_id: str) -> dict[str, str]:
        return {
            "authorization": f"Bearer {self.token}",
            "appkey": "first",
            "appsecret": APP_KEYS["first"],
            "tr_id": tr_id,
            "custtype": "P",
        }

    async def call(
        self,
        name: str,
        tr_id: str,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        params = {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": self.liveliest} | (query or {})
        url = f"{self.simulator.rest_url}{QUOTATIONS}/{name}"
        return await self.http.get(url, params=params, headers=self.headers(tr_id) | (headers or {}))

    def stream(self, path: str = "/tryitout") -> websockets.connect:
        return websockets.connect(self.simulator.stream_url + path, ping_interval=None, close_timeout=1)

    async def move_to(self, moment_ns: int) -> None:
        await self.clock.advance((moment_ns - self.clock.now_ns()) / 1e9)


@asynccontextmanager
async def running_on(clock: Clock, **changes: object) -> AsyncIterator[Client]:
    """A simulator that is stopped afterwards, and a client that has a token already."""
    simulator = simulator_of(clock, **changes)
    await simulator.start()
    try:
        async with httpx.AsyncClient(timeout=DEADLINE_S, verify=False) as http:
            client = Client(simulator, http)
            await client.ask_token()
            yield client
    finally:
        await simulator.stop()


@asynccontextmanager
async def running(now_ns: int, **changes: object) -> AsyncIterator[Client]:
    """A simulator whose clock the test moves."""
    clock = ManualClock(now_ns)
    async with running_on(clock, **changes) as client:
        client.clock = clock
        yield client


def request_text(approval_key: str, symbol: str, *, tr_type: str = "1", tr_id: str = "H0STCNT0") -> str:
    header = {"approval_key": approval_key, "custtype": "P", "tr_type": tr_type, "content-type": "utf-8"}
    return json.dumps({"header": header, "body": {"input": {"tr_id": tr_id, "tr_key": symbol}}})


async def control(socket: websockets.ClientConnection) -> dict[str, dict[str, str]]:
    """The next text that is not data and not the keep-alive."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            text = await socket.recv()
            assert isinstance(text, str)
            if text[0] == "{" and "PINGPONG" not in text:
                message: dict[str, dict[str, str]] = json.loads(text)
                return message


async def records_until(
    socket: websockets.ClientConnection, enough: Callable[[list[list[str]]], bool]
) -> list[list[str]]:
    """Receive records until there are enough; return their fields."""
    records: list[list[str]] = []
    async with asyncio.timeout(DEADLINE_S):
        while not enough(records):
            text = await socket.recv()
            assert isinstance(text, str)
            if text[0] == "0":
                records += split_records(text)
    return records


def split_records(frame: str, tr_id: str = "H0STCNT0") -> list[list[str]]:
    """The records of a frame by the rule that its width is fields / count."""
    encrypted, of_tr_id, count, payload = frame.split("|")
    fields = payload.split("^")
    width, rest = divmod(len(fields), int(count))
    assert (encrypted, of_tr_id, rest) == ("0", tr_id, 0)
    return [fields[start : start + width] for start in range(0, len(fields), width)]
