"""Records of the stream as KIS documents them: every field in its order, by its own name.

The orders are the document's, copied field by field and independent of the parsers' tables. Upper and lower case as
there.
"""


def words(text):
    return text.split()


TRADE = words("""
    MKSC_SHRN_ISCD STCK_CNTG_HOUR STCK_PRPR PRDY_VRSS_SIGN PRDY_VRSS PRDY_CTRT WGHN_AVRG_STCK_PRC STCK_OPRC STCK_HGPR
    STCK_LWPR ASKP1 BIDP1 CNTG_VOL ACML_VOL ACML_TR_PBMN SELN_CNTG_CSNU SHNU_CNTG_CSNU NTBY_CNTG_CSNU CTTR
    SELN_CNTG_SMTN SHNU_CNTG_SMTN CCLD_DVSN SHNU_RATE PRDY_VOL_VRSS_ACML_VOL_RATE OPRC_HOUR OPRC_VRSS_PRPR_SIGN
    OPRC_VRSS_PRPR HGPR_HOUR HGPR_VRSS_PRPR_SIGN HGPR_VRSS_PRPR LWPR_HOUR LWPR_VRSS_PRPR_SIGN LWPR_VRSS_PRPR
    BSOP_DATE NEW_MKOP_CLS_CODE TRHT_YN ASKP_RSQN1 BIDP_RSQN1 TOTAL_ASKP_RSQN TOTAL_BIDP_RSQN VOL_TNRT
    PRDY_SMNS_HOUR_ACML_VOL PRDY_SMNS_HOUR_ACML_VOL_RATE HOUR_CLS_CODE MRKT_TRTM_CLS_CODE VI_STND_PRC
""")

LEVELS = range(1, 11)
ORDER_BOOK = [
    *words("MKSC_SHRN_ISCD BSOP_HOUR HOUR_CLS_CODE"),
    *(f"{name}{index}" for name in ("ASKP", "BIDP", "ASKP_RSQN", "BIDP_RSQN") for index in LEVELS),
    *words("""
    TOTAL_ASKP_RSQN TOTAL_BIDP_RSQN OVTM_TOTAL_ASKP_RSQN OVTM_TOTAL_BIDP_RSQN ANTC_CNPR ANTC_CNQN ANTC_VOL
    ANTC_CNTG_VRSS ANTC_CNTG_VRSS_SIGN ANTC_CNTG_PRDY_CTRT ACML_VOL TOTAL_ASKP_RSQN_ICDC TOTAL_BIDP_RSQN_ICDC
    OVTM_TOTAL_ASKP_ICDC OVTM_TOTAL_BIDP_ICDC STCK_DEAL_CLS_CODE
    """),
]

EXPECTED_PRICE = words("""
    mksc_shrn_iscd stck_cntg_hour stck_prpr prdy_vrss_sign prdy_vrss prdy_ctrt wghn_avrg_stck_prc stck_oprc stck_hgpr
    stck_lwpr askp1 bidp1 cntg_vol acml_vol acml_tr_pbmn seln_cntg_csnu shnu_cntg_csnu ntby_cntg_csnu cttr
    seln_cntg_smtn shnu_cntg_smtn cntg_cls_code shnu_rate prdy_vol_vrss_acml_vol_rate oprc_hour oprc_vrss_prpr_sign
    oprc_vrss_prpr hgpr_hour hgpr_vrss_prpr_sign hgpr_vrss_prpr lwpr_hour lwpr_vrss_prpr_sign lwpr_vrss_prpr
    bsop_date new_mkop_cls_code trht_yn askp_rsqn1 bidp_rsqn1 total_askp_rsqn total_bidp_rsqn vol_tnrt
    prdy_smns_hour_acml_vol prdy_smns_hour_acml_vol_rate hour_cls_code mrkt_trtm_cls_code
""")

MARKET_STATE = words("""
    mksc_shrn_iscd trht_yn tr_susp_reas_cntt mkop_cls_code antc_mkop_cls_code mrkt_trtm_cls_code divi_app_cls_code
    iscd_stat_cls_code vi_cls_code ovtm_vi_cls_code
""")

NAV = words("mksc_shrn_iscd nav nav_prdy_vrss_sign nav_prdy_vrss nav_prdy_ctrt oprc_nav hprc_nav lprc_nav")

LAYOUTS = {
    "H0STCNT0": (46, TRADE),
    "H0UNCNT0": (46, TRADE),  # CNTG_CLS_CODE stands where CCLD_DVSN does
    "H0NXCNT0": (46, TRADE),
    "H0STASP0": (59, ORDER_BOOK),
    "H0UNASP0": (59, ORDER_BOOK),
    "H0NXASP0": (59, ORDER_BOOK),
    "H0STANC0": (45, EXPECTED_PRICE),
    "H0NXANC0": (46, [*EXPECTED_PRICE, "vi_stnd_prc"]),
    "H0STMKO0": (10, MARKET_STATE),  # 11 documented, with EXCH_CLS_CODE
    "H0NXMKO0": (10, MARKET_STATE),
    "H0UNMKO0": (10, MARKET_STATE),
    "H0STNAV0": (8, NAV),
}


def named(text):
    """Values by the names before them."""
    pairs = (word.partition("=") for word in text.split())
    return {name: value for name, _, value in pairs}


_TRADE_VALUES = named("""
    MKSC_SHRN_ISCD=005930 STCK_CNTG_HOUR=100000 STCK_PRPR=70000 ASKP1=70100 BIDP1=69900 CNTG_VOL=10 ACML_VOL=1000
    SELN_CNTG_CSNU=40 SHNU_CNTG_CSNU=60 CCLD_DVSN=1 BSOP_DATE=20261120 HOUR_CLS_CODE=0
""")
_BOOK_VALUES = {
    **{f"ASKP{index}": str(70_000 + 100 * index) for index in LEVELS},
    **{f"BIDP{index}": str(70_100 - 100 * index) for index in LEVELS},
    **{f"ASKP_RSQN{index}": str(10 * index) for index in LEVELS},
    **{f"BIDP_RSQN{index}": str(20 * index) for index in LEVELS},
    **named("""
    MKSC_SHRN_ISCD=005930 BSOP_HOUR=100000 TOTAL_ASKP_RSQN=5500 TOTAL_BIDP_RSQN=6600 ANTC_CNPR=0 ANTC_CNQN=0
    ACML_VOL=123456
    """),
}
_VALUES = {
    "CNT": _TRADE_VALUES,
    "ASP": _BOOK_VALUES,
    "ANC": {name.lower().replace("ccld_dvsn", "cntg_cls_code"): value for name, value in _TRADE_VALUES.items()},
    "MKO": named("""
    mksc_shrn_iscd=005930 trht_yn=N tr_susp_reas_cntt= mkop_cls_code=112 antc_mkop_cls_code=311 mrkt_trtm_cls_code=2
    divi_app_cls_code=00 iscd_stat_cls_code=55 vi_cls_code=N ovtm_vi_cls_code=M
    """),
    "NAV": named("""
    mksc_shrn_iscd=069500 nav=35123.45 nav_prdy_vrss_sign=2 nav_prdy_vrss=123.40 oprc_nav=35000.00 hprc_nav=35200.10
    lprc_nav=34900.00
    """),
}


def fields_of(transaction, width=None, **changes):
    """A sound record of the TR id with the named fields changed. Unread ones are 7, and so are appended ones, but for
    the 11th of a market state, a code of the venue, which is blank.
    """
    documented, names = LAYOUTS[transaction]
    assert len(names) == documented
    values = {**_VALUES[transaction[4:7]], **changes}
    assert values.keys() <= set(names)
    appended = (documented if width is None else width) - documented
    further = ["7"] * appended
    if "MKO" in transaction:
        further[:1] = [""] * bool(further)
    return [values.get(name, "7") for name in names] + further
