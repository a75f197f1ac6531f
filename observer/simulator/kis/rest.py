"""The HTTP side of the simulated broker: keys and quotations, with KIS's paths, headers, envelopes and refusals."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from aiohttp import web

from observer.clock import kst_datetime
from observer.simulator.answers import Page
from observer.simulator.calls import CALLS, QuotationCall, answer_of
from observer.simulator.gate import TOKEN_LIFE_S, Gate, Refusal
from observer.simulator.market import Market
from observer.simulator.tally import Tally

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
    """The handlers and what they share."""

    def __init__(self, market: Market, gate: Gate, now_ns: Callable[[], int], tally: Tally) -> None:
        self._market = market
        self._gate = gate
        self._now_ns = now_ns
        self._tally = tally

    async def issue_token(self, request: web.Request) -> web.Response:
        self._tally.requests["tokenP"] += 1
        asked = await _key_request(request, granted=True)
        token = self._gate.issue_token(asked.appkey, asked.appsecret, self._now_ns())
        expires = kst_datetime(token.expires_ns).strftime("%Y-%m-%d %H:%M:%S")
        answer = {"access_token": token.text, "token_type": "Bearer", "expires_in": TOKEN_LIFE_S}
        return _json({**answer, "access_token_token_expired": expires}, 200)

    async def revoke_token(self, request: web.Request) -> web.Response:
        self._tally.requests["revokeP"] += 1
        asked = await _key_request(request)
        self._gate.revoke_token(asked.appkey, asked.appsecret, asked.token)
        return _json({"code": "200", "message": "접근토큰 폐기에 성공하였습니다"}, 200)

    async def issue_approval(self, request: web.Request) -> web.Response:
        self._tally.requests["Approval"] += 1
        asked = await _key_request(request, granted=True)
        approval = self._gate.issue_approval(asked.appkey, asked.secretkey, self._now_ns())
        return _json({"approval_key": approval.text}, 200)

    def quotation(self, call: QuotationCall) -> _Handler:
        async def answer(request: web.Request) -> web.Response:
            self._tally.requests[call.tr_id] += 1
            now_ns = self._now_ns()
            headers = request.headers
            self._gate.admit_call(
                headers.get("appkey", ""), headers.get("appsecret", ""), headers.get("authorization", ""), now_ns
            )
            _check_headers(headers, call.tr_id)
            page = answer_of(call, self._market, now_ns, request.query)
            return _json({**_ENVELOPE, **page.body}, 200, {"tr_id": call.tr_id, "tr_cont": _continuation(page)})

        return answer

    @web.middleware
    async def refuse(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Turn a refusal into KIS's answer: `error_code` from /oauth2, the envelope from the quotations."""
        try:
            return await handler(request)
        except Refusal as refusal:
            self._tally.refusals[refusal.code] += 1
            if request.path.startswith("/oauth2/"):
                answer = {"error_code": refusal.code, "error_description": refusal.text}
            else:
                answer = {"rt_cd": refusal.return_code, "msg_cd": refusal.code, "msg1": refusal.text}
            return _json(answer, refusal.http_status)


def rest_application(market: Market, gate: Gate, now_ns: Callable[[], int], tally: Tally) -> web.Application:
    """The HTTP application of the REST host."""
    side = _RestSide(market, gate, now_ns, tally)
    application = web.Application(middlewares=[side.refuse])
    application.router.add_post("/oauth2/tokenP", side.issue_token)
    application.router.add_post("/oauth2/revokeP", side.revoke_token)
    application.router.add_post("/oauth2/Approval", side.issue_approval)
    for call in CALLS:
        application.router.add_get(call.path, side.quotation(call))
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
    """The headers besides keys and token. Raises Refusal.

    `custtype` and `content-type` may be left out (public clients do, and are served), but must not be wrong.
    """
    if headers.get("tr_id") != tr_id or headers.get("custtype", "P") not in ("P", "B"):
        raise Refusal("EGW00206", "API 사용 권한이 없습니다.", 500)
    if not headers.get("content-type", _JSON).lower().startswith(_JSON):
        raise Refusal("EGW00002", "서버 에러가 발생했습니다. (content-type)", 500)
    if headers.get("tr_cont", "") not in ("", " ", "N"):
        raise Refusal("EGW00002", "서버 에러가 발생했습니다. (tr_cont)", 500)


def _continuation(page: Page) -> str:
    """The header tr_cont: F and M say that there is more, after the first page and after a later one; D and E that
    this was all.
    """
    if page.more:
        return "F" if page.number == 1 else "M"
    return "E" if page.number == 1 else "D"


def _json(content: Mapping[str, object], status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(content)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json", charset="utf-8")
