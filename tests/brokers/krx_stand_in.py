"""KRX as public client programs describe it: the Open API with a key, and the site with one session a person."""

import json
from contextlib import asynccontextmanager

from aiohttp import web

from tests.brokers.stand_ins import serving

USER, PASSWORD, AUTH_KEY = "krx-user-name", "krx-password-1", "krx-auth-key-0123456789"

ROW = {
    "ISU_CD": "KR7069500007",
    "ISU_SRT_CD": "069500",
    "ISU_NM": "삼성KODEX200증권상장지수투자신탁[주식]",
    "ISU_ABBRV": "KODEX 200",
    "ISU_ENG_NM": "Samsung KODEX200 ETF[EQ]",
    "LIST_DD": "2002/10/14",
    "ETF_OBJ_IDX_NM": "코스피 200",
    "IDX_CALC_INST_NM1": "KRX",
    "IDX_CALC_INST_NM2": "일반",
    "ETF_REPLICA_METHD_TP_CD": "실물(패시브)",
    "IDX_MKT_CLSS_NM": "국내",
    "IDX_ASST_CLSS_NM": "주식",
    "LIST_SHRS": "188,600,000",
    "COM_ABBRV": "삼성자산운용",
    "CU_QTY": "50,000",
    "ETF_TOT_FEE": "0.150000",
    "TAX_TP_CD": "비과세",
}
INVERSE = {
    **ROW,
    "ISU_CD": "KR7252670007",
    "ISU_SRT_CD": "252670",
    "ISU_ABBRV": "KODEX 200선물인버스2X",
    "IDX_CALC_INST_NM2": "2X 인버스",
    "ETF_TOT_FEE": "",
}


class Krx:
    """The site: who is logged in, and what was asked. Faults are attributes that a test sets."""

    def __init__(self):
        self.rows = [ROW, INVERSE]
        self.elsewhere = False  # another login has taken the user's session
        self.password_expired = False
        self.log_out_next = 0  # so many data calls find their session ended
        self.logout_status = 400
        self.sessions = set()
        self.thrown_out = 0
        self.logins = []
        self.data_calls = 0
        self.open_days = {"20261117": (380.5, 50_000, 50_050.25)}
        self.open_status = 200
        self.failures = 0
        self.agents = set()  # the names of the clients that called

    async def page(self, request):
        self.agents.add(request.headers["User-Agent"])
        answer = web.Response(text="<html></html>", content_type="text/html")
        answer.set_cookie("JSESSIONID", request.cookies.get("JSESSIONID") or f"session-{len(self.logins)}")
        return answer

    async def login(self, request):
        form = await request.post()
        self.logins.append({name: value for name, value in form.items() if name not in ("mbrId", "pw")})
        if (form["mbrId"], form["pw"]) != (USER, PASSWORD):
            return self._says("CD002")
        if self.password_expired:
            return self._says("CD010")
        if self.elsewhere and form.get("skipDup") != "Y":
            return self._says("CD011")
        self.thrown_out += self.elsewhere
        self.elsewhere = False
        self.sessions.add(request.cookies["JSESSIONID"])
        return self._says("CD001")

    def _says(self, code):
        return web.Response(text=json.dumps({"_error_code": code, "_error_message": "..."}), content_type="text/html")

    async def data(self, request):
        form = await request.post()
        self.data_calls += 1
        headers = request.headers
        assert form["bld"] == "dbms/MDC/STAT/standard/MDCSTAT04601"
        assert headers["X-Requested-With"] == "XMLHttpRequest"
        assert headers["Referer"].endswith("/contents/MDC/MDI/outerLoader/index.cmd")
        assert "Mozilla" in headers["User-Agent"]
        if self.log_out_next:
            self.log_out_next -= 1
            self.sessions.clear()
        if request.cookies.get("JSESSIONID") not in self.sessions:
            return web.Response(text="LOGOUT", status=self.logout_status, content_type="text/html")
        body = {"output": self.rows, "CURRENT_DATETIME": "2026.01.25 PM 09:32:18"}
        return web.Response(text=json.dumps(body, ensure_ascii=False), content_type="text/html")

    async def open_api(self, request):
        self.agents.add(request.headers["User-Agent"])
        if self.failures:
            self.failures -= 1
            return web.Response(status=503)
        if request.headers.get("AUTH_KEY") != AUTH_KEY:
            return web.json_response({"respMsg": "Unauthorized Key", "respCode": "401"}, status=401)
        if self.open_status != 200:
            return web.Response(status=self.open_status)
        day = request.query["basDd"]
        rows = []
        if day in self.open_days:
            index, close, nav = self.open_days[day]
            shown = {"TDD_CLSPRC": f"{close:,}", "NAV": f"{nav:,}", "OBJ_STKPRC_IDX": f"{index}"}
            quiet = {"TDD_CLSPRC": "-", "NAV": "", "OBJ_STKPRC_IDX": ""}
            common = {"BAS_DD": day, "ACC_TRDVOL": "1,234,567", "LIST_SHRS": "188,600,000", "IDX_IND_NM": "코스피 200"}
            rows = [
                {**common, "ISU_CD": "069500", "ISU_NM": "KODEX 200", **shown},
                {**common, "ISU_CD": "252670", "ISU_NM": "KODEX 200선물인버스2X", **quiet},
            ]
        return web.json_response({"OutBlock_1": rows})


@asynccontextmanager
async def krx_serving(tls=None):
    """The stand-in, and its address; encrypted with a TLS context."""
    krx = Krx()
    routes = [
        web.get("/contents/MDC/COMS/client/MDCCOMS001.cmd", krx.page),
        web.get("/contents/MDC/COMS/client/view/login.jsp", krx.page),
        web.post("/contents/MDC/COMS/client/MDCCOMS001D1.cmd", krx.login),
        web.post("/comm/bldAttendant/getJsonData.cmd", krx.data),
        web.get("/svc/apis/etp/etf_bydd_trd", krx.open_api),
    ]
    async with serving(*routes, tls=tls) as address:
        yield krx, f"http{'s' * (tls is not None)}://{address}"
