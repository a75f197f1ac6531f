"""One public client at one simulated host: run by tests/judges/test_judges_clients.py in the client's own environment.

    python clients.py NAME      # the host, the symbol and the keys are JSON on standard input

Prints one JSON line for each step that the client supports: {"step", "value"} or {"step", "error"}. Imports nothing of
this project, so that a client's own pins hold. Only a client's addresses are changed, and where it asks the machine's
clock or files outside, that. A connection to another host than this machine's loopback address ends the process.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import socket
import sys
import threading
import types
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

FOREIGN_HOST_STATUS = 97
ROWS = 5
PATIENCE_S = 60.0

Steps = dict[str, Callable[[], object]]
HOST: dict[str, Any] = {}


def refuse_other_hosts() -> None:
    """End this process, with its own status, at a connection or a look-up that leaves the loopback address."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def is_foreign(host: object) -> bool:
        return host not in ("127.0.0.1", "::1", "localhost", b"127.0.0.1", b"localhost", None)

    def end(host: object) -> None:
        sys.stderr.write(f"left the loopback address: {host}\n")
        sys.stderr.flush()
        os._exit(FOREIGN_HOST_STATUS)

    def checked_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and is_foreign(address[0]):
            end(address)
        connect(self, address)

    def checked_connect_ex(self: socket.socket, address: Any) -> int:
        checked_connect(self, address)
        return 0

    def checked_look_up(host: Any, *args: Any, **named: Any) -> Any:
        if is_foreign(host):
            end(host)
        return look_up(host, *args, **named)

    socket.socket.connect = checked_connect  # type: ignore[method-assign, assignment]
    socket.socket.connect_ex = checked_connect_ex  # type: ignore[method-assign, assignment]
    socket.getaddrinfo = checked_look_up


def own_rows(rows: Any, *names: str) -> list[list[str]]:
    """The named fields of the newest rows of an answer as the wire has them."""
    return [[str(row[name]) for name in names] for row in rows[:ROWS]]


def raw_steps(quote: Callable[[], Any], **others: Callable[[], Any]) -> Steps:
    """The steps of a client that returns the answers as they came."""
    read: dict[str, Callable[[Any], object]] = {
        "daily": lambda rows: own_rows(rows, "stck_bsop_date", "stck_clpr", "acml_vol"),
        "minutes": lambda rows: own_rows(rows, "stck_cntg_hour", "stck_prpr", "cntg_vol"),
        "book": lambda book: [book["askp1"], book["bidp1"]],
    }
    steps: Steps = {"quote": lambda: [quote()["stck_prpr"], quote()["acml_vol"]]}
    for step, ask in others.items():
        steps[step] = lambda step=step, ask=ask: read[step](ask())  # type: ignore[misc]
    return steps


def until_enough(pairs: Iterator[tuple[object, object]]) -> list[list[str]]:
    """As many trades as the test wants: price and the day's volume after it."""
    wanted = zip(range(HOST["trades"]), pairs, strict=False)
    return [[str(int(Decimal(str(price)))), str(volume)] for _, (price, volume) in wanted]


def mojito2() -> Steps:
    import mojito
    from mojito import koreainvestment

    def at_host(self: Any, mock: bool = True) -> None:
        self.base_url = HOST["rest"]

    mojito.KoreaInvestment.set_base_url = at_host
    broker = mojito.KoreaInvestment(HOST["key"], HOST["secret"], "00000000-01")

    def trades() -> object:
        stream = mojito.KoreaInvestmentWS(HOST["key"], HOST["secret"], ["H0STCNT0"], [HOST["symbol"]])
        stream.base_url, stream.queue = HOST["rest"], queue.Queue()
        real = koreainvestment.websockets.connect
        koreainvestment.websockets.connect = lambda uri, **named: real(HOST["stream"], **named)
        threading.Thread(target=stream.run, daemon=True).start()
        received = (stream.queue.get(timeout=PATIENCE_S)[1] for _ in iter(int, 1))
        return until_enough((each["주식현재가"], each["누적거래량"]) for each in received)

    return {
        **raw_steps(
            lambda: broker.fetch_price(HOST["symbol"])["output"],
            daily=lambda: broker.fetch_ohlcv(HOST["symbol"], end_day=HOST["before"])["output2"],
            minutes=lambda: broker.fetch_today_1m_ohlcv(HOST["symbol"], HOST["now"])["output2"],
        ),
        "trades": trades,
    }


def pykis() -> Steps:
    from pykis import public_api as client

    api = client.Api(
        {"appkey": HOST["key"], "appsecret": HOST["secret"]}, client.DomainInfo(kind=None, url=HOST["rest"])
    )

    def daily() -> object:
        table = api.get_kr_ohlcv(HOST["symbol"])
        rows = [(day.strftime("%Y%m%d"), str(row.Close), str(row.Volume)) for day, row in table.iterrows()]
        return [list(row) for row in rows if row[0] <= HOST["before"]][:ROWS]

    def quote() -> object:
        return [str(api.get_kr_current_price(HOST["symbol"])), None]

    return {"quote": quote, "daily": daily}


def python_kis() -> Steps:
    import pykis.client.websocket
    import pykis.kis

    pykis.kis.REAL_DOMAIN = HOST["rest"]
    pykis.client.websocket.WEBSOCKET_REAL_DOMAIN = HOST["stream"]
    kis = pykis.kis.PyKis(id="judge", account="00000000-01", appkey=HOST["key"], secretkey=HOST["secret"])
    return stock_steps(kis)


def vm_stock_kis() -> Steps:
    import vmkis.kis

    vmkis.kis.LIVE_DOMAIN = HOST["rest"]
    vmkis.kis.WEBSOCKET_LIVE_DOMAIN = HOST["stream"]
    kis = vmkis.kis.VmKis(id="judge", account="00000000-01", appkey=HOST["key"], secretkey=HOST["secret"])
    return stock_steps(kis)


def stock_steps(kis: Any) -> Steps:
    """The steps of python-kis from 2 on, and of vm-stock-kis, which began as a copy of it."""
    stock = kis.stock(HOST["symbol"])

    def quote() -> object:
        shown = stock.quote()
        return [str(int(shown.price)), str(shown.volume)]

    def daily() -> object:
        from datetime import datetime, timedelta

        end = datetime.strptime(HOST["before"], "%Y%m%d").date()  # noqa: DTZ007 - a date
        bars = stock.daily_chart(start=end - timedelta(days=14), end=end).bars
        return [[bar.time.strftime("%Y%m%d"), str(int(bar.close)), str(bar.volume)] for bar in reversed(bars)][:ROWS]

    def minutes() -> object:
        from datetime import time

        end = time(int(HOST["now"][:2]), int(HOST["now"][2:4]))
        bars = stock.day_chart(end=end).bars
        return [[bar.time.strftime("%H%M%S"), str(int(bar.close)), str(bar.volume)] for bar in reversed(bars)][:ROWS]

    def book() -> object:
        shown = stock.orderbook()
        return [str(int(shown.ask_price.price)), str(int(shown.bid_price.price))]

    def trades() -> object:
        seen: queue.Queue[tuple[object, object]] = queue.Queue()
        ticket = stock.on("price", lambda sender, e: seen.put((e.response.price, e.response.volume)))
        try:
            return until_enough(seen.get(timeout=PATIENCE_S) for _ in iter(int, 1))
        finally:
            ticket.unsubscribe()
            kis.websocket.disconnect()

    return {"quote": quote, "daily": daily, "minutes": minutes, "book": book, "trades": trades}


def python_kis_1() -> Steps:
    import tempfile
    from datetime import datetime

    import pykis.client.client
    import pykis.rtclient.rtclient
    from pykis.client.responses.dynamic import KisDynamic
    from pykis.market import base

    pykis.client.client.REAL_DOMAIN = HOST["rest"]
    pykis.rtclient.rtclient.WEBSOCKET_REAL_DOMAIN = HOST["stream"]
    download = base.requests.get

    # The addresses of the master files are fixed in the classes.
    base.requests = types.SimpleNamespace(get=lambda url: download(HOST["files"] + url[url.index("/common/") :]))
    convert = KisDynamic._convert
    KisDynamic._convert = lambda self, kind, value, name: None if value == "" else convert(self, kind, value, name)
    kis = pykis.PyKis(HOST["key"], HOST["secret"], market_database_path=f"{tempfile.mkdtemp()}/market.db")
    stock = kis.stock(HOST["symbol"])

    def quote() -> object:
        shown = stock.price()
        return [str(shown.stck_prpr), str(shown.acml_vol)]

    def daily() -> object:
        first, last = (datetime.strptime(HOST[name], "%Y%m%d") for name in ("weeks_before", "before"))  # noqa: DTZ007
        rows = stock.period_price(first, last).prices
        return [[row.stck_bsop_date.strftime("%Y%m%d"), str(row.stck_clpr), str(row.acml_vol)] for row in rows][:ROWS]

    def book() -> object:
        shown = stock.asking_price()
        return [str(shown.askp[0]), str(shown.bidp[0])]

    def trades() -> object:
        seen: queue.Queue[tuple[object, object]] = queue.Queue()
        kis.rtclient.event.scope("체결가").add(lambda _, trade: seen.put((trade.stck_prpr, trade.acml_vol)))
        stock.rt_add("체결가")
        return until_enough(seen.get(timeout=PATIENCE_S) for _ in iter(int, 1))

    return {"quote": quote, "daily": daily, "book": book, "trades": trades}


def kis_trader() -> Steps:
    from kis_trader import KISClient
    from kis_trader._internal import _endpoints

    _endpoints._BASE_URL_BY_ENVIRONMENT["real"] = HOST["rest"]
    _endpoints._WEBSOCKET_URL_BY_ENVIRONMENT["real"] = HOST["stream"]
    kis = KISClient(app_key=HOST["key"], app_secret=HOST["secret"], environment="real", account="00000000-01")
    stock = kis.domestic.stock(HOST["symbol"], exchange="KRX")

    def bars(interval: str, text: str, **asked: Any) -> object:
        newest = reversed(stock.bars(interval, **asked))
        return [[bar.timestamp.strftime(text), str(bar.close), str(bar.volume)] for bar in newest][:ROWS]

    def quote() -> object:
        shown = stock.quote()
        return [str(shown.current_price), str(shown.volume)]

    def book() -> object:
        shown = stock.order_book()
        return [str(shown.asks[0].price), str(shown.bids[0].price)]

    def trades() -> object:
        stream = kis.realtime()
        seen: queue.Queue[tuple[object, object]] = queue.Queue()
        stream.domestic.stock(HOST["symbol"]).trades(
            on=lambda tick: seen.put((tick.current_price, tick.accumulated_volume))
        )
        with stream:
            return until_enough(seen.get(timeout=PATIENCE_S) for _ in iter(int, 1))

    return {
        "quote": quote,
        "daily": lambda: bars("1d", "%Y%m%d", start=HOST["weeks_before"], end=HOST["before"]),
        "minutes": lambda: bars("1m", "%H%M%S", max_bars=ROWS),
        "book": book,
        "trades": trades,
    }


def kis_agent() -> Steps:
    from kis_agent import Agent
    from kis_agent.core import agent as agents

    agents.Agent._preload_masters = lambda self: None  # it downloads master files from the internet
    agent = Agent(HOST["key"], HOST["secret"], "00000000", "01", base_url=HOST["rest"])
    symbol, prices = HOST["symbol"], agent.stock_api.price_api

    def trades() -> object:
        from kis_agent.websocket import ws_agent

        ws_agent._is_after_market_close = lambda **night: False  # it asks the machine's clock
        stream = ws_agent.WSAgent(agent.client.get_ws_approval_key(), url=HOST["stream"])
        seen: list[list[str]] = []
        width = HOST["trade_fields"]  # it hands over the fields of all records of a frame as one list

        async def collect() -> None:
            enough = asyncio.Event()

            def take(fields: list[str], metadata: object) -> None:
                records = (fields[start : start + width] for start in range(0, len(fields), width))
                seen.extend([record[2], record[13]] for record in records)
                if len(seen) >= HOST["trades"]:
                    enough.set()

            stream.subscribe(ws_agent.SubscriptionType.STOCK_TRADE, symbol, take)
            running = asyncio.create_task(stream.connect())
            await asyncio.wait_for(enough.wait(), PATIENCE_S)
            running.cancel()

        asyncio.run(collect())
        return seen[: HOST["trades"]]

    return {
        **raw_steps(
            lambda: agent.get_stock_price(symbol)["output"],
            daily=lambda: agent.inquire_daily_itemchartprice(symbol, HOST["weeks_before"], HOST["before"])["output2"],
            minutes=lambda: prices._fetch_minute_price_page(symbol, HOST["today"], HOST["now"])["output2"],
            book=lambda: agent.get_orderbook(symbol)["output1"],
        ),
        "trades": trades,
    }


def kis_wrapper() -> Steps:
    from kis import KIS, auth, domestic, ws

    auth._URLS["prod"] = HOST["rest"]
    kis = KIS(HOST["key"], HOST["secret"], "00000000-01", env="prod")

    def daily() -> list[Any]:
        return [row for row in domestic.daily(kis, HOST["symbol"]) if row["stck_bsop_date"] <= HOST["before"]]

    def book() -> object:
        shown = domestic.orderbook(kis, HOST["symbol"])
        return [shown["output1"]["askp1"], shown["output1"]["bidp1"]]

    def trades() -> object:
        ws.WSClient._ws_url = HOST["stream"]
        stream = ws.WSClient(kis, max_retries=0)
        seen: list[list[str]] = []

        async def collect() -> None:
            await stream.connect()
            await stream.subscribe("H0STCNT0", [HOST["symbol"]], lambda data: seen.append([str(data["price"]), ""]))
            await asyncio.wait_for(stream.run(), 10.0)  # it is refused: nothing comes

        asyncio.run(collect())
        return seen

    return {
        **raw_steps(
            lambda: domestic.price(kis, HOST["symbol"]),
            daily=daily,
        ),
        "book": book,
        "trades": trades,
    }


def korea_investment_stock() -> Steps:
    from korea_investment_stock import korea_investment_stock as module

    class AtHost(module.TokenManager):  # type: ignore[misc, name-defined]
        def __init__(self, **named: Any) -> None:
            super().__init__(**(named | {"base_url": HOST["rest"]}))

    module.TokenManager = AtHost
    broker = module.KoreaInvestment(HOST["key"], HOST["secret"], "00000000-01")
    broker.base_url = HOST["rest"]
    symbol = HOST["symbol"]
    return raw_steps(
        lambda: broker.fetch_price(symbol)["output"],
        daily=lambda: broker.fetch_domestic_chart(symbol, "D", HOST["weeks_before"], HOST["before"])["output2"],
        minutes=lambda: broker.fetch_domestic_minute_chart(symbol, HOST["now"])["output2"],
    )


CLIENTS: dict[str, Callable[[], Steps]] = {
    "kis-agent": kis_agent,
    "kis-trader": kis_trader,
    "kis-wrapper": kis_wrapper,
    "korea-investment-stock": korea_investment_stock,
    "mojito2": mojito2,
    "pykis": pykis,
    "python-kis": python_kis,
    "python-kis-1": python_kis_1,
    "vm-stock-kis": vm_stock_kis,
}


def main(name: str) -> None:
    """Run the client's steps, each one's failure reported in its place."""
    HOST.update(json.load(sys.stdin))
    refuse_other_hosts()
    if name == "another-host":  # shows that leaving is noticed
        socket.create_connection(("192.0.2.1", 9), timeout=1)
    for step, run in CLIENTS[name]().items():
        try:
            line: dict[str, object] = {"step": step, "value": run()}
        except Exception as error:  # noqa: BLE001 - whatever a client raises is its result
            line = {"step": step, "error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
    os._exit(0)  # threads of a client may still wait


if __name__ == "__main__":
    main(sys.argv[1])
