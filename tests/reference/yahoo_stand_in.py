"""Yahoo's endpoints for yfinance, on loopback: cookie, crumb, screener, profiles, and refusals."""

import asyncio
from collections import Counter, deque

from aiohttp import web

from tests.brokers.stand_ins import serving

CRUMB = "crumb-of-the-stand-in"


class YahooStandIn:
    """`listed` by (exchange, sector) its symbols, `sectors` by symbol its sector and industry.

    `refusals` are statuses that the next answers of screener and profiles have instead; "cut" closes the connection.
    `refused` are those of the answers about a symbol, or about an exchange's sector.
    """

    def __init__(self, listed=None, sectors=None):
        self.listed = listed or {}
        self.sectors = sectors or {}
        self.refusals = deque()
        self.refused = {}
        self.always = None
        self.bomb = None  # the packed body of every profile
        self.screens = []
        self.profiles = []
        self.paths = Counter()
        self.arrivals = []

    def serving(self):
        return serving(
            web.get("/v1/test/getcrumb", self._crumb),
            web.post("/v1/finance/screener", self._screener),
            web.get("/v10/finance/quoteSummary/{symbol}", self._profile),
            web.route("*", "/{rest:.*}", self._anything),
        )

    def _count(self, request):
        self.paths[request.path] += 1
        self.arrivals.append(asyncio.get_running_loop().time())

    async def _anything(self, request):
        self._count(request)
        return web.Response(text="", headers={"set-cookie": "A3=cookie; Path=/"})

    async def _crumb(self, request):
        self._count(request)
        return web.Response(text=CRUMB)

    def _refusal(self, request):
        self._count(request)
        status = self.always or (self.refusals.popleft() if self.refusals else None)
        if status == "cut":
            request.transport.abort()
            return web.Response()
        if isinstance(status, str):
            return web.Response(text=status)
        return web.json_response({"finance": {"error": "no"}}, status=status) if status else None

    async def _screener(self, request):
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        question = await request.json()
        assert request.query["crumb"] == CRUMB
        assert question["quoteType"] == "EQUITY"
        assert (question["sortField"], question["sortType"]) == ("ticker", "ASC")
        terms = dict(term["operands"] for term in question["query"]["operands"])
        offset, size = question["offset"], question["size"]
        self.screens.append((terms["exchange"], terms["sector"], offset))
        if status := self.refused.get((terms["exchange"], terms["sector"])):
            return web.json_response({"finance": {"error": "no"}}, status=status)
        symbols = sorted(self.listed.get((terms["exchange"], terms["sector"]), ()))
        quotes = [{"symbol": symbol, "quoteType": "EQUITY"} for symbol in symbols[offset : offset + size]]
        return web.json_response({"finance": {"result": [{"total": len(symbols), "quotes": quotes}], "error": None}})

    async def _profile(self, request):
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        if self.bomb is not None:
            return web.Response(body=self.bomb, headers={"Content-Encoding": "gzip"})
        symbol = request.match_info["symbol"]
        self.profiles.append(symbol)
        if status := self.refused.get(symbol):
            return web.json_response({"quoteSummary": {"error": "no"}}, status=status)
        if symbol not in self.sectors:
            error = {"code": "Not Found", "description": f"Quote not found for symbol: {symbol}"}
            return web.json_response({"quoteSummary": {"result": None, "error": error}}, status=404)
        sector, industry = self.sectors[symbol]
        profile = {"assetProfile": {"sector": sector, "industry": industry, "country": "Japan"}} if sector else {}
        return web.json_response({"quoteSummary": {"result": [profile], "error": None}})
