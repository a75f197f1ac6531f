"""Yahoo's name of every kind of security that KIS lists."""

import pytest

from observer.reference.sectors.model import REGIONS, Security
from observer.reference.sectors.yahoo_symbols import SCREENED_EXCHANGES, yahoo_symbol

TABLE = [
    ("US", "NASD", "AAPL", "APPLE INC", "AAPL"),
    ("US", "NYSE", "BRK/B", "BERKSHIRE HATHAWAY INC COM CL B", "BRK-B"),
    ("US", "NYSE", "BRK.B", "BERKSHIRE HATHAWAY INC COM CL B", "BRK-B"),
    ("US", "NYSE", "AKO/A", "EMBOTELLADORA ANDINA SA SPON ADR-EACH REPR 6 SER A PRF NPV", "AKO-A"),
    ("US", "NYSE", "PSA/R", "PUBLIC STORAGE 4% DEP SHS REP 1/1000 PFD BEN INT SER R", "PSA-PR"),
    ("US", "NYSE", "TFC/R", "TRUIST FINANCIAL CORPORATION DEP SHS REP 1/1000TH NON CU PR", "TFC-PR"),
    ("US", "NYSE", "AACT/UN", "ARES ACQUISITION CORPORATION II UNIT 1 CL A & 1/2 WT", "AACT-UN"),
    ("US", "AMEX", "APUS", "APIMEDS PHARMACEUTICALS US INC", "APUS"),
    ("HK", "SEHK", "00700", "TENCENT", "0700.HK"),
    ("HK", "SEHK", "00005", "HSBC HOLDINGS", "0005.HK"),
    ("HK", "SEHK", "09988", "ALIBABA", "9988.HK"),
    ("HK", "SEHK", "80700", "TENCENT-R", "80700.HK"),
    ("CN", "SHAA", "600519", "KWEICHOW MOUTAI", "600519.SS"),
    ("CN", "SZAA", "000002", "CHINA VANKE", "000002.SZ"),
    ("JP", "TKSE", "7203", "TOYOTA", "7203.T"),
    ("JP", "TKSE", "285A", "KIOXIA", "285A.T"),
    ("VN", "VNSE", "VCB", "VIETCOMBANK", "VCB.VN"),
    ("VN", "HASE", "IDC", "IDICO", None),
    ("KR", "KOSPI", "005930", "삼성전자", "005930.KS"),
    ("KR", "KOSDAQ", "035720", "카카오", "035720.KQ"),
]


@pytest.mark.parametrize(("region", "exchange", "symbol", "name", "expected"), TABLE)
def test_a_security_has_its_yahoo_symbol(region, exchange, symbol, name, expected):
    assert yahoo_symbol(Security(region, exchange, symbol, name)) == expected


def test_every_region_has_exchanges_to_screen():
    assert set(SCREENED_EXCHANGES) == set(REGIONS)
