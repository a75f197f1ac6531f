"""What KIS documents of every call that a data client makes: the tests' own statement of it.

`SYMBOL` in a query stands for a listed share, `ETF` for a listed ETF. Fields are those of all blocks together.
"""

import msgspec


class DocumentedCall(msgspec.Struct, frozen=True):
    path: str
    tr_id: str
    query: dict[str, str]
    blocks: tuple[str, ...]
    fields: str

    @property
    def live_fields(self) -> set[str]:
        """The fields as the live host names them (docs/kis.md#time-and-sales)."""
        return set(self.fields.split()) - {"stck_pbpr"}


DOCUMENTED = (
    DocumentedCall(
        "/uapi/domestic-stock/v1/quotations/inquire-price",
        "FHKST01010100",
        {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": "SYMBOL"},
        ("output",),
        """
        iscd_stat_cls_code marg_rate rprs_mrkt_kor_name new_hgpr_lwpr_cls_code bstp_kor_isnm temp_stop_yn
        oprc_rang_cont_yn clpr_rang_cont_yn crdt_able_yn grmn_rate_cls_code elw_pblc_yn stck_prpr prdy_vrss
        prdy_vrss_sign prdy_ctrt acml_tr_pbmn acml_vol prdy_vrss_vol_rate stck_oprc stck_hgpr stck_lwpr
        stck_mxpr stck_llam stck_sdpr wghn_avrg_stck_prc hts_frgn_ehrt frgn_ntby_qty pgtr_ntby_qty
        pvt_scnd_dmrs_prc pvt_frst_dmrs_prc pvt_pont_val pvt_frst_dmsp_prc pvt_scnd_dmsp_prc dmrs_val dmsp_val
        cpfn rstc_wdth_prc stck_fcam stck_sspr aspr_unit hts_deal_qty_unit_val lstn_stcn hts_avls per pbr
        stac_month vol_tnrt eps bps d250_hgpr d250_hgpr_date d250_hgpr_vrss_prpr_rate d250_lwpr d250_lwpr_date
        d250_lwpr_vrss_prpr_rate stck_dryy_hgpr dryy_hgpr_vrss_prpr_rate dryy_hgpr_date stck_dryy_lwpr
        dryy_lwpr_vrss_prpr_rate dryy_lwpr_date w52_hgpr w52_hgpr_vrss_prpr_ctrt w52_hgpr_date w52_lwpr
        w52_lwpr_vrss_prpr_ctrt w52_lwpr_date whol_loan_rmnd_rate ssts_yn stck_shrn_iscd fcam_cnnm cpfn_cnnm
        apprch_rate frgn_hldn_qty vi_cls_code ovtm_vi_cls_code last_ssts_cntg_qty invt_caful_yn
        mrkt_warn_cls_code short_over_yn sltr_yn mang_issu_cls_code
        """,
    ),
    DocumentedCall(
        "/uapi/domestic-stock/v1/quotations/intstock-multprice",
        "FHKST11300006",
        {"FID_COND_MRKT_DIV_CODE_1": "J", "FID_INPUT_ISCD_1": "SYMBOL"},
        ("output",),
        """
        kospi_kosdaq_cls_name mrkt_trtm_cls_name hour_cls_code inter_shrn_iscd inter_kor_isnm inter2_prpr
        inter2_prdy_vrss prdy_vrss_sign prdy_ctrt acml_vol inter2_oprc inter2_hgpr inter2_lwpr inter2_llam
        inter2_mxpr inter2_askp inter2_bidp seln_rsqn shnu_rsqn total_askp_rsqn total_bidp_rsqn acml_tr_pbmn
        inter2_prdy_clpr oprc_vrss_hgpr_rate intr_antc_cntg_vrss intr_antc_cntg_vrss_sign
        intr_antc_cntg_prdy_ctrt intr_antc_vol inter2_sdpr
        """,
    ),
    DocumentedCall(  # this and the next three: fields of the provider's samples
        "/uapi/domestic-stock/v1/quotations/inquire-price-2",
        "FHPST01010000",
        {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": "SYMBOL"},
        ("output",),
        """
        rprs_mrkt_kor_name new_hgpr_lwpr_cls_code mxpr_llam_cls_code crdt_able_yn stck_mxpr elw_pblc_yn
        prdy_clpr_vrss_oprc_rate crdt_rate marg_rate lwpr_vrss_prpr lwpr_vrss_prpr_sign prdy_clpr_vrss_lwpr_rate
        stck_lwpr hgpr_vrss_prpr hgpr_vrss_prpr_sign prdy_clpr_vrss_hgpr_rate stck_hgpr oprc_vrss_prpr
        oprc_vrss_prpr_sign mang_issu_yn divi_app_cls_code short_over_yn mrkt_warn_cls_code invt_caful_yn
        stange_runup_yn ssts_hot_yn low_current_yn vi_cls_code short_over_cls_code stck_llam new_lstn_cls_name
        vlnt_deal_cls_name flng_cls_name revl_issu_reas_name mrkt_warn_cls_name stck_sdpr bstp_cls_code
        stck_prdy_clpr insn_pbnt_yn fcam_mod_cls_name stck_prpr prdy_vrss prdy_vrss_sign prdy_ctrt acml_tr_pbmn
        acml_vol prdy_vrss_vol_rate bstp_kor_isnm sltr_yn trht_yn oprc_rang_cont_yn vlnt_fin_cls_code stck_oprc
        prdy_vol
        """,
    ),
    DocumentedCall(
        "/uapi/domestic-stock/v1/quotations/inquire-asking-price-exp-ccn",
        "FHKST01010200",
        {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": "SYMBOL"},
        ("output1", "output2"),
        " ".join(
            f"{name}{level}"
            for name in ("askp", "bidp", "askp_rsqn", "bidp_rsqn", "askp_rsqn_icdc", "bidp_rsqn_icdc")
            for level in range(1, 11)
        )
        + """
        aspr_acpt_hour total_askp_rsqn total_bidp_rsqn total_askp_rsqn_icdc total_bidp_rsqn_icdc
        ovtm_total_askp_icdc ovtm_total_bidp_icdc ovtm_total_askp_rsqn ovtm_total_bidp_rsqn ntby_aspr_rsqn
        new_mkop_cls_code antc_mkop_cls_code stck_prpr stck_oprc stck_hgpr stck_lwpr stck_sdpr antc_cnpr
        antc_cntg_vrss_sign antc_cntg_vrss antc_cntg_prdy_ctrt antc_vol stck_shrn_iscd vi_cls_code
        """,
    ),
    DocumentedCall(
        "/uapi/domestic-stock/v1/quotations/inquire-investor",
        "FHKST01010900",
        {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": "SYMBOL"},
        ("output",),
        """
        stck_bsop_date stck_clpr prdy_vrss prdy_vrss_sign prsn_ntby_qty frgn_ntby_qty orgn_ntby_qty
        prsn_ntby_tr_pbmn frgn_ntby_tr_pbmn orgn_ntby_tr_pbmn prsn_shnu_vol frgn_shnu_vol orgn_shnu_vol
        prsn_shnu_tr_pbmn frgn_shnu_tr_pbmn orgn_shnu_tr_pbmn prsn_seln_vol frgn_seln_vol orgn_seln_vol
        prsn_seln_tr_pbmn frgn_seln_tr_pbmn orgn_seln_tr_pbmn
        """,
    ),
    DocumentedCall(
        "/uapi/domestic-stock/v1/quotations/inquire-daily-price",
        "FHKST01010400",
        {
            "FID_COND_MRKT_DIV_CODE": "J",
            "FID_INPUT_ISCD": "SYMBOL",
            "FID_PERIOD_DIV_CODE": "D",
            "FID_ORG_ADJ_PRC": "1",
        },
        ("output",),
        """
        stck_bsop_date stck_oprc stck_hgpr stck_lwpr stck_clpr acml_vol prdy_vrss_vol_rate prdy_vrss
        prdy_vrss_sign prdy_ctrt hts_frgn_ehrt frgn_ntby_qty flng_cls_code acml_prtt_rate
        """,
    ),
    DocumentedCall(
        "/uapi/domestic-stock/v1/quotations/inquire-daily-itemchartprice",
        "FHKST03010100",
        {
            "FID_COND_MRKT_DIV_CODE": "J",
            "FID_INPUT_ISCD": "SYMBOL",
            "FID_INPUT_DATE_1": "20261102",
            "FID_INPUT_DATE_2": "20261118",
            "FID_PERIOD_DIV_CODE": "D",
            "FID_ORG_ADJ_PRC": "1",
        },
        ("output1", "output2"),
        """
        prdy_vrss prdy_vrss_sign prdy_ctrt stck_prdy_clpr acml_vol acml_tr_pbmn hts_kor_isnm stck_prpr
        stck_shrn_iscd prdy_vol stck_mxpr stck_llam stck_oprc stck_hgpr stck_lwpr stck_prdy_oprc stck_prdy_hgpr
        stck_prdy_lwpr askp bidp prdy_vrss_vol vol_tnrt stck_fcam lstn_stcn cpfn hts_avls per eps pbr
        itewhol_loan_rmnd_ratem stck_bsop_date stck_clpr flng_cls_code prtt_rate mod_yn revl_issu_reas
        """,
    ),
    DocumentedCall(
        "/uapi/domestic-stock/v1/quotations/inquire-time-itemchartprice",
        "FHKST03010200",
        {
            "FID_COND_MRKT_DIV_CODE": "J",
            "FID_INPUT_ISCD": "SYMBOL",
            "FID_INPUT_HOUR_1": "103000",
            "FID_PW_DATA_INCU_YN": "N",
            "FID_ETC_CLS_CODE": "",
        },
        ("output1", "output2"),
        """
        prdy_vrss prdy_vrss_sign prdy_ctrt stck_prdy_clpr acml_vol acml_tr_pbmn hts_kor_isnm stck_prpr
        stck_bsop_date stck_cntg_hour stck_oprc stck_hgpr stck_lwpr cntg_vol
        """,
    ),
    DocumentedCall(
        "/uapi/domestic-stock/v1/quotations/inquire-time-dailychartprice",
        "FHKST03010230",
        {
            "FID_COND_MRKT_DIV_CODE": "J",
            "FID_INPUT_ISCD": "SYMBOL",
            "FID_INPUT_HOUR_1": "103000",
            "FID_INPUT_DATE_1": "20261102",
            "FID_PW_DATA_INCU_YN": "N",
            "FID_FAKE_TICK_INCU_YN": "N",
        },
        ("output1", "output2"),
        """
        prdy_vrss prdy_vrss_sign prdy_ctrt stck_prdy_clpr acml_vol acml_tr_pbmn hts_kor_isnm stck_prpr
        stck_bsop_date stck_cntg_hour stck_oprc stck_hgpr stck_lwpr cntg_vol
        """,
    ),
    DocumentedCall(
        "/uapi/domestic-stock/v1/quotations/inquire-time-itemconclusion",
        "FHPST01060000",
        {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": "SYMBOL", "FID_INPUT_HOUR_1": "103000"},
        ("output1", "output2"),
        """
        stck_prpr prdy_vrss prdy_vrss_sign prdy_ctrt acml_vol prdy_vol rprs_mrkt_kor_name stck_cntg_hour
        stck_pbpr askp bidp tday_rltv cnqn
        """,
    ),
    DocumentedCall(
        "/uapi/domestic-stock/v1/quotations/chk-holiday",
        "CTCA0903R",
        {"BASS_DT": "20261118", "CTX_AREA_FK": "", "CTX_AREA_NK": ""},
        ("output",),
        """
        bass_dt wday_dvsn_cd bzdy_yn tr_day_yn opnd_yn sttl_day_yn
        """,
    ),
    DocumentedCall(
        "/uapi/domestic-stock/v1/quotations/search-stock-info",
        "CTPF1002R",
        {"PRDT_TYPE_CD": "300", "PDNO": "SYMBOL"},
        ("output",),
        """
        pdno prdt_type_cd prdt_name prdt_name120 prdt_abrv_name prdt_eng_name prdt_eng_name120
        prdt_eng_abrv_name mket_id_cd scty_grp_id_cd excg_dvsn_cd setl_mmdd lstg_stqt lstg_cptl_amt cpta papr
        issu_pric kospi200_item_yn scts_mket_lstg_dt scts_mket_lstg_abol_dt kosdaq_mket_lstg_dt
        kosdaq_mket_lstg_abol_dt frbd_mket_lstg_dt frbd_mket_lstg_abol_dt reits_kind_cd etf_dvsn_cd oilf_fund_yn
        idx_bztp_lcls_cd idx_bztp_mcls_cd idx_bztp_scls_cd idx_bztp_lcls_cd_name idx_bztp_mcls_cd_name
        idx_bztp_scls_cd_name stck_kind_cd mfnd_opng_dt mfnd_end_dt dpsi_erlm_cncl_dt etf_cu_qty std_pdno
        dpsi_aptm_erlm_yn etf_txtn_type_cd etf_type_cd lstg_abol_dt nwst_odst_dvsn_cd sbst_pric thco_sbst_pric
        thco_sbst_pric_chng_dt tr_stop_yn admn_item_yn thdt_clpr bfdy_clpr clpr_chng_dt std_idst_clsf_cd
        std_idst_clsf_cd_name ocr_no crfd_item_yn elec_scty_yn issu_istt_cd etf_chas_erng_rt_dbnb
        etf_etn_ivst_heed_item_yn stln_int_rt_dvsn_cd frnr_psnl_lmt_rt lstg_rqsr_issu_istt_cd lstg_rqsr_item_cd
        trst_istt_issu_istt_cd cptt_trad_tr_psbl_yn nxt_tr_stop_yn
        """,
    ),
    DocumentedCall(
        "/uapi/domestic-stock/v1/quotations/search-info",
        "CTPF1604R",
        {"PDNO": "SYMBOL", "PRDT_TYPE_CD": "300"},
        ("output",),
        """
        pdno prdt_type_cd std_pdno shtn_pdno prdt_sale_stat_cd prdt_risk_grad_cd prdt_clsf_cd sale_strt_dt
        sale_end_dt wrap_asst_type_cd ivst_prdt_type_cd frst_erlm_dt prdt_clsf_name
        """,
    ),
    DocumentedCall(
        "/uapi/etfetn/v1/quotations/inquire-price",
        "FHPST02400000",
        {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": "FUND"},
        ("output",),
        """
        stck_prpr prdy_vrss_sign prdy_vrss prdy_ctrt acml_vol prdy_vol stck_mxpr stck_llam stck_prdy_clpr
        stck_oprc prdy_clpr_vrss_oprc_rate stck_hgpr prdy_clpr_vrss_hgpr_rate stck_lwpr prdy_clpr_vrss_lwpr_rate
        prdy_last_nav nav nav_prdy_vrss nav_prdy_vrss_sign nav_prdy_ctrt trc_errt stck_sdpr stck_sspr nmix_ctrt
        etf_crcl_stcn etf_ntas_ttam etf_frcr_ntas_ttam frgn_limt_rate frgn_oder_able_qty etf_cu_unit_scrt_cnt
        etf_cnfg_issu_cnt etf_dvdn_cycl crcd etf_crcl_ntas_ttam etf_frcr_crcl_ntas_ttam
        etf_frcr_last_ntas_wrth_val lp_oder_able_cls_code stck_dryy_hgpr dryy_hgpr_vrss_prpr_rate dryy_hgpr_date
        stck_dryy_lwpr dryy_lwpr_vrss_prpr_rate dryy_lwpr_date bstp_kor_isnm vi_cls_code lstn_stcn frgn_hldn_qty
        frgn_hldn_qty_rate etf_trc_ert_mltp dprt mbcr_name stck_lstn_date mtrt_date shrg_type_code lp_hldn_rate
        etf_trgt_nmix_bstp_code etf_div_name etf_rprs_bstp_kor_isnm lp_hldn_vol
        """,
    ),
    DocumentedCall(
        "/uapi/etfetn/v1/quotations/nav-comparison-daily-trend",
        "FHPST02440200",
        {
            "FID_COND_MRKT_DIV_CODE": "J",
            "FID_INPUT_ISCD": "FUND",
            "FID_INPUT_DATE_1": "20261102",
            "FID_INPUT_DATE_2": "20261118",
        },
        ("output",),
        """
        stck_bsop_date stck_clpr prdy_vrss prdy_vrss_sign prdy_ctrt acml_vol cntg_vol dprt nav_vrss_prpr nav
        nav_prdy_vrss_sign nav_prdy_vrss nav_prdy_ctrt
        """,
    ),
    DocumentedCall(
        "/uapi/overseas-price/v1/quotations/search-info",
        "CTPF1702R",
        {"PRDT_TYPE_CD": "512", "PDNO": "SIMA"},
        ("output",),
        """
        std_pdno prdt_eng_name natn_cd natn_name tr_mket_cd tr_mket_name ovrs_excg_cd ovrs_excg_name tr_crcy_cd
        ovrs_papr crcy_name ovrs_stck_dvsn_cd prdt_clsf_cd prdt_clsf_name sll_unit_qty buy_unit_qty tr_unit_amt
        lstg_stck_num lstg_dt ovrs_stck_tr_stop_dvsn_cd lstg_abol_item_yn ovrs_stck_prdt_grp_no lstg_yn
        tax_levy_yn ovrs_stck_erlm_rosn_cd ovrs_stck_hist_rght_dvsn_cd chng_bf_pdno prdt_type_cd_2
        ovrs_item_name sedol_no blbg_tckr_text ovrs_stck_etf_risk_drtp_cd etp_chas_erng_rt_dbnb
        istt_usge_isin_cd mint_svc_yn mint_svc_yn_chng_dt prdt_name lei_cd ovrs_stck_stop_rson_cd lstg_abol_dt
        mini_stk_tr_stat_dvsn_cd mint_frst_svc_erlm_dt mint_dcpt_trad_psbl_yn mint_fnum_trad_psbl_yn
        mint_cblc_cvsn_ipsb_yn ptp_item_yn ptp_item_trfx_exmt_yn ptp_item_trfx_exmt_strt_dt
        ptp_item_trfx_exmt_end_dt dtm_tr_psbl_yn sdrf_stop_ecls_yn sdrf_stop_ecls_erlm_dt memo_text1
        ovrs_now_pric1 last_rcvg_dtime
        """,
    ),
)
