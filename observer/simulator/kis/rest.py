"""The HTTP side of the simulated broker: keys and quotations, with KIS's paths, headers, envelopes and refusals.

`CALLS` has the quotation calls: path, TR id, the query that each must have, and the function that makes the body. As at
KIS, names of the query may be in small letters, and a path may begin with two slashes.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from aiohttp import web

from observer.base.local_time import local_datetime
from observer.simulator.counters import Counters
from observer.simulator.kis import bars, listings, quotations, quote_pages
from observer.simulator.kis import etf as etf_quotations
from observer.simulator.kis.answers import AnswerPage, Body, Query, input_refusal
from observer.simulator.kis.authentication import TOKEN_LIFE_S, Authentication, Refusal
from observer.simulator.kis.venues import DIVISION, view_of
from observer.simulator.market.market import Market
from observer.simulator.settings import SimulatorSettings


class QuotationCall(msgspec.Struct, frozen=True):
    """One call. `query`: the required parameters in capitals, perhaps blank. `on_paper`: also at the paper host."""

    path: str
    tr_id: str
    query: tuple[str, ...]
    body_of: Callable[[Market, int, Query], Body | AnswerPage]
    on_paper: bool


_BODIES: Final[Mapping[str, Callable[[Market, int, Query], Body | AnswerPage]]] = {
    "FHKST01010100": quotations.single_quote,
    "FHKST11300006": quotations.multi_quote,
    "FHPST01010000": quote_pages.second_quote,
    "FHKST01010200": quote_pages.asking_prices,
    "FHKST01010900": quote_pages.investors,
    "FHKST01010400": quote_pages.daily_prices,
    "FHKST03010100": bars.daily_bars,
    "FHKST03010200": bars.minute_bars,
    "FHKST03010230": bars.past_minute_bars,
    "FHPST01060000": quotations.time_and_sales,
    "CTCA0903R": listings.holidays,
    "CTPF1002R": listings.stock_information,
    "CTPF1604R": listings.product_information,
    "FHPST02400000": etf_quotations.etf_quote,
    "FHPST02440200": etf_quotations.nav_by_day,
    "CTPF1702R": listings.overseas_information,
}
# TR id, path, parameters; FID_ONE are the two of a symbol.
_TABLE: Final = """
FHKST01010100 domestic-stock/v1/quotations/inquire-price FID_ONE
FHKST11300006 domestic-stock/v1/quotations/intstock-multprice
FHPST01010000 domestic-stock/v1/quotations/inquire-price-2 FID_ONE
FHKST01010200 domestic-stock/v1/quotations/inquire-asking-price-exp-ccn FID_ONE
FHKST01010900 domestic-stock/v1/quotations/inquire-investor FID_ONE
FHKST01010400 domestic-stock/v1/quotations/inquire-daily-price FID_ONE FID_PERIOD_DIV_CODE FID_ORG_ADJ_PRC
FHKST03010100 domestic-stock/v1/quotations/inquire-daily-itemchartprice \
    FID_ONE FID_INPUT_DATE_1 FID_INPUT_DATE_2 FID_PERIOD_DIV_CODE FID_ORG_ADJ_PRC
FHKST03010200 domestic-stock/v1/quotations/inquire-time-itemchartprice \
    FID_ONE FID_INPUT_HOUR_1 FID_PW_DATA_INCU_YN FID_ETC_CLS_CODE
FHKST03010230 domestic-stock/v1/quotations/inquire-time-dailychartprice \
    FID_ONE FID_INPUT_HOUR_1 FID_INPUT_DATE_1 FID_PW_DATA_INCU_YN FID_FAKE_TICK_INCU_YN
FHPST01060000 domestic-stock/v1/quotations/inquire-time-itemconclusion FID_ONE FID_INPUT_HOUR_1
CTCA0903R     domestic-stock/v1/quotations/chk-holiday BASS_DT CTX_AREA_FK CTX_AREA_NK
CTPF1002R     domestic-stock/v1/quotations/search-stock-info PDNO PRDT_TYPE_CD
CTPF1604R     domestic-stock/v1/quotations/search-info PDNO PRDT_TYPE_CD
FHPST02400000 etfetn/v1/quotations/inquire-price FID_ONE
FHPST02440200 etfetn/v1/quotations/nav-comparison-daily-trend FID_ONE FID_INPUT_DATE_1 FID_INPUT_DATE_2
CTPF1702R     overseas-price/v1/quotations/search-info PDNO PRDT_TYPE_CD
"""
_NOT_ON_PAPER: Final = ("FHKST11300006", "FHKST03010230", "CTCA0903R")


def _call(line: str) -> QuotationCall:
    tr_id, path, *query = line.replace("FID_ONE", "FID_COND_MRKT_DIV_CODE FID_INPUT_ISCD").split()
    return QuotationCall(f"/uapi/{path}", tr_id, tuple(query), _BODIES[tr_id], tr_id not in _NOT_ON_PAPER)


CALLS: Final = tuple(map(_call, _TABLE.strip().splitlines()))


def answer_of(call: QuotationCall, market: Market, now_ns: int, query: Query) -> AnswerPage:
    """The answer to a call. Raises Refusal (a parameter is missing or cannot be read, no such product)."""
    asked = {name.upper(): value for name, value in query.items()}
    for name in call.query:
        if name not in asked:
            raise input_refusal(name)
    body = call.body_of(view_of(market, asked.get(DIVISION, "")), now_ns, asked)
    return body if isinstance(body, AnswerPage) else AnswerPage(body, 1, more=False)


_JSON: Final = "application/json"
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_ENVELOPE: Final = {"rt_cd": "0", "msg_cd": "MCA00000", "msg1": "정상처리 되었습니다."}


class KeyRequest(msgspec.Struct, frozen=True):
    """The body of an /oauth2 call; the secret is `appsecret` for tokens and `secretkey` for approvals."""

    appkey: str
    grant_type: str = ""
    appsecret: str = ""
    secretkey: str = ""
    token: str = ""


class _RestSide:
    """The handlers and their shared state."""

    def __init__(
        self,
        market: Market,
        authentication: Authentication,
        now_ns: Callable[[], int],
        counters: Counters,
        settings: SimulatorSettings,
    ) -> None:
        self._settings = settings
        self._answers = 0
        self._market = market
        self._authentication = authentication
        self._now_ns = now_ns
        self._counters = counters

    async def issue_token(self, request: web.Request) -> web.Response:
        self._counters.requests["tokenP"] += 1
        asked = await _key_request(request, granted=True)
        token = self._authentication.issue_token(asked.appkey, asked.appsecret, self._now_ns())
        expires = local_datetime(token.expires_ns).strftime("%Y-%m-%d %H:%M:%S")
        answer = {"access_token": token.text, "token_type": "Bearer", "expires_in": TOKEN_LIFE_S}
        return _json({**answer, "access_token_token_expired": expires}, 200)

    async def revoke_token(self, request: web.Request) -> web.Response:
        self._counters.requests["revokeP"] += 1
        asked = await _key_request(request)
        self._authentication.revoke_token(asked.appkey, asked.appsecret, asked.token)
        return _json({"code": "200", "message": "접근토큰 폐기에 성공하였습니다"}, 200)

    async def issue_approval(self, request: web.Request) -> web.Response:
        self._counters.requests["Approval"] += 1
        asked = await _key_request(request, granted=True)
        approval = self._authentication.issue_approval(asked.appkey, asked.secretkey, self._now_ns())
        return _json({"approval_key": approval.text}, 200)

    def quotation(self, call: QuotationCall) -> _Handler:
        async def answer(request: web.Request) -> web.Response:
            self._counters.requests[call.tr_id] += 1
            now_ns = self._now_ns()
            asked = request.headers
            self._authentication.admit_call(
                asked.get("appkey", ""), asked.get("appsecret", ""), asked.get("authorization", ""), now_ns
            )
            _check_headers(asked, call.tr_id)
            if self._settings.paper and not call.on_paper:
                raise Refusal("EGW00213", "모의투자에서는 제공하지 않는 API 입니다.", 500)
            page = answer_of(call, self._market, now_ns, request.query)
            if self._settings.documented_labels and call.body_of is quotations.time_and_sales:
                page = with_documented_labels(page)
            self._answers += 1
            headers = {"tr_id": call.tr_id, "tr_cont": _continuation(page), "gt_uid": f"{self._answers:032d}"}
            return _json({**_ENVELOPE, **page.body}, 200, headers)

        return answer

    @web.middleware
    async def refuse(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Turn a refusal into KIS's answer: `error_code` from /oauth2, the envelope from the quotations."""
        try:
            return await handler(request)
        except Refusal as refusal:
            self._counters.refusals[refusal.code] += 1
            if request.path.startswith("/oauth2/"):
                answer = {"error_code": refusal.code, "error_description": refusal.text}
            else:
                answer = {"rt_cd": refusal.return_code, "msg_cd": refusal.code, "msg1": refusal.text}
            return _json(answer, refusal.http_status)


def with_documented_labels(page: AnswerPage) -> AnswerPage:
    """Time-and-sales with the price under the documents' name (docs/kis.md#time-and-sales)."""
    rows = page.body["output2"]
    assert isinstance(rows, list)
    renamed = [{"stck_pbpr" if name == "stck_prpr" else name: text for name, text in each.items()} for each in rows]
    return msgspec.structs.replace(page, body={**page.body, "output2": renamed})


def rest_application(
    market: Market,
    authentication: Authentication,
    now_ns: Callable[[], int],
    counters: Counters,
    settings: SimulatorSettings,
) -> web.Application:
    """The HTTP application of the REST host."""
    side = _RestSide(market, authentication, now_ns, counters, settings)
    application = web.Application(middlewares=[side.refuse])
    application.router.add_post("/oauth2/tokenP", side.issue_token)
    application.router.add_post("/oauth2/revokeP", side.revoke_token)
    application.router.add_post("/oauth2/Approval", side.issue_approval)
    for call in CALLS:
        for path in (call.path, f"/{call.path}"):
            application.router.add_get(path, side.quotation(call))
    return application


async def _key_request(request: web.Request, *, granted: bool = False) -> KeyRequest:
    """The body of an /oauth2 call. Raises Refusal."""
    try:
        asked = msgspec.json.decode(await request.read(), type=KeyRequest)
    except msgspec.DecodeError as error:
        raise Refusal("EGW00002", f"서버 에러가 발생했습니다. ({error})", 500) from error
    if granted and asked.grant_type != "client_credentials":
        raise Refusal("EGW00002", "서버 에러가 발생했습니다. (grant_type)", 500)
    return asked


def _check_headers(headers: Mapping[str, str], tr_id: str) -> None:
    """Check the headers besides keys and token. Raises Refusal.

    `custtype` and `content-type` may be missing (public clients omit them, and KIS serves them), but not wrong.
    """
    if headers.get("tr_id") != tr_id:
        raise Refusal("EGW00206", "API 사용 권한이 없습니다.", 500)
    if headers.get("custtype", "P") not in ("P", "B"):
        raise Refusal("EGW00208", "고객타입(custtype)이 유효하지 않습니다.", 500)
    if not headers.get("content-type", _JSON).lower().startswith(_JSON):
        raise Refusal("EGW00132", "content-type이 유효하지 않습니다.", 500)
    if headers.get("tr_cont", "") not in ("", " ", "N"):
        raise Refusal("EGW00002", "서버 에러가 발생했습니다. (tr_cont)", 500)


def _continuation(page: AnswerPage) -> str:
    """The header tr_cont: F and M mean more pages, after the first page and after a later one; D and E mean the last
    page.
    """
    if page.more:
        return "F" if page.number == 1 else "M"
    return "E" if page.number == 1 else "D"


def _json(content: Mapping[str, object], status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(content)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json", charset="utf-8")
