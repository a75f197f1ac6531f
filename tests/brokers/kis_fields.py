"""Paths and answers' fields of the calls that we make, as KIS documents them, by TR id.

Written down here a second time on purpose: a test that took them from the parsers would agree with their mistakes.
"""

PATHS = {
    "FHKST01010100": "/uapi/domestic-stock/v1/quotations/inquire-price",
    "FHKST11300006": "/uapi/domestic-stock/v1/quotations/intstock-multprice",
    "FHKST03010100": "/uapi/domestic-stock/v1/quotations/inquire-daily-itemchartprice",
    "FHKST03010200": "/uapi/domestic-stock/v1/quotations/inquire-time-itemchartprice",
    "FHKST03010230": "/uapi/domestic-stock/v1/quotations/inquire-time-dailychartprice",
    "FHPST01060000": "/uapi/domestic-stock/v1/quotations/inquire-time-itemconclusion",
    "FHKST01010300": "/uapi/domestic-stock/v1/quotations/inquire-ccnl",
    "FHPST01390000": "/uapi/domestic-stock/v1/quotations/inquire-vi-status",
    "CTCA0903R": "/uapi/domestic-stock/v1/quotations/chk-holiday",
    "FHPST01710000": "/uapi/domestic-stock/v1/quotations/volume-rank",
    "FHPST01740000": "/uapi/domestic-stock/v1/ranking/market-cap",
    "CTPF1002R": "/uapi/domestic-stock/v1/quotations/search-stock-info",
    "CTPF1604R": "/uapi/domestic-stock/v1/quotations/search-info",
    "FHPST02400000": "/uapi/etfetn/v1/quotations/inquire-price",
    "FHPST02440000": "/uapi/etfetn/v1/quotations/nav-comparison-trend",
    "FHPST02440200": "/uapi/etfetn/v1/quotations/nav-comparison-daily-trend",
    "FHPST02440100": "/uapi/etfetn/v1/quotations/nav-comparison-time-trend",
    "FHKST121600C0": "/uapi/etfetn/v1/quotations/inquire-component-stock-price",
    "HHDFS00000300": "/uapi/overseas-price/v1/quotations/price",
    "HHDFS76200200": "/uapi/overseas-price/v1/quotations/price-detail",
    "HHDFS76240000": "/uapi/overseas-price/v1/quotations/dailyprice",
    "CTPF1702R": "/uapi/overseas-price/v1/quotations/search-info",
}

FIELDS = {
    "FHKST01010100": """
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
    "FHKST11300006": """
        kospi_kosdaq_cls_name mrkt_trtm_cls_name hour_cls_code inter_shrn_iscd inter_kor_isnm inter2_prpr
        inter2_prdy_vrss prdy_vrss_sign prdy_ctrt acml_vol inter2_oprc inter2_hgpr inter2_lwpr inter2_llam
        inter2_mxpr inter2_askp inter2_bidp seln_rsqn shnu_rsqn total_askp_rsqn total_bidp_rsqn acml_tr_pbmn
        inter2_prdy_clpr oprc_vrss_hgpr_rate intr_antc_cntg_vrss intr_antc_cntg_vrss_sign
        intr_antc_cntg_prdy_ctrt intr_antc_vol inter2_sdpr
    """,
    "FHKST03010100": """
        prdy_vrss prdy_vrss_sign prdy_ctrt stck_prdy_clpr acml_vol acml_tr_pbmn hts_kor_isnm stck_prpr
        stck_shrn_iscd prdy_vol stck_mxpr stck_llam stck_oprc stck_hgpr stck_lwpr stck_prdy_oprc stck_prdy_hgpr
        stck_prdy_lwpr askp bidp prdy_vrss_vol vol_tnrt stck_fcam lstn_stcn cpfn hts_avls per eps pbr
        itewhol_loan_rmnd_ratem stck_bsop_date stck_clpr flng_cls_code prtt_rate mod_yn revl_issu_reas
    """,
    "FHKST03010200": """
        prdy_vrss prdy_vrss_sign prdy_ctrt stck_prdy_clpr acml_vol acml_tr_pbmn hts_kor_isnm stck_prpr
        stck_bsop_date stck_cntg_hour stck_oprc stck_hgpr stck_lwpr cntg_vol
    """,
    "FHKST03010230": """
        prdy_vrss prdy_vrss_sign prdy_ctrt stck_prdy_clpr acml_vol acml_tr_pbmn hts_kor_isnm stck_prpr
        stck_bsop_date stck_cntg_hour stck_oprc stck_hgpr stck_lwpr cntg_vol
    """,
    "FHPST01060000": """
        stck_prpr prdy_vrss prdy_vrss_sign prdy_ctrt acml_vol prdy_vol rprs_mrkt_kor_name stck_cntg_hour
        stck_pbpr askp bidp tday_rltv cnqn
    """,
    "FHKST01010300": """
        stck_cntg_hour stck_prpr prdy_vrss prdy_vrss_sign cntg_vol tday_rltv prdy_ctrt
    """,
    "FHPST01390000": """
        hts_kor_isnm mksc_shrn_iscd vi_cls_code bsop_date cntg_vi_hour vi_cncl_hour vi_kind_code vi_prc
        vi_stnd_prc vi_dprt vi_dmc_stnd_prc vi_dmc_dprt vi_count
    """,
    "CTCA0903R": """
        bass_dt wday_dvsn_cd bzdy_yn tr_day_yn opnd_yn sttl_day_yn
    """,
    "FHPST01710000": """
        hts_kor_isnm mksc_shrn_iscd data_rank stck_prpr prdy_vrss_sign prdy_vrss prdy_ctrt acml_vol prdy_vol
        lstn_stcn avrg_vol n_befr_clpr_vrss_prpr_rate vol_inrt vol_tnrt nday_vol_tnrt avrg_tr_pbmn tr_pbmn_tnrt
        nday_tr_pbmn_tnrt acml_tr_pbmn
    """,
    "FHPST01740000": """
        mksc_shrn_iscd data_rank hts_kor_isnm stck_prpr prdy_vrss prdy_vrss_sign prdy_ctrt acml_vol lstn_stcn
        stck_avls mrkt_whol_avls_rlim
    """,
    "CTPF1002R": """
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
    "CTPF1604R": """
        pdno prdt_type_cd std_pdno shtn_pdno prdt_sale_stat_cd prdt_risk_grad_cd prdt_clsf_cd sale_strt_dt
        sale_end_dt wrap_asst_type_cd ivst_prdt_type_cd frst_erlm_dt
    """,
    "FHPST02400000": """
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
    "FHPST02440000": """
        stck_prpr prdy_vrss prdy_vrss_sign prdy_ctrt acml_vol acml_tr_pbmn stck_prdy_clpr stck_oprc stck_hgpr
        stck_lwpr stck_mxpr stck_llam nav nav_prdy_vrss_sign nav_prdy_vrss nav_prdy_ctrt prdy_clpr_nav oprc_nav
        hprc_nav lprc_nav
    """,
    "FHPST02440200": """
        stck_bsop_date stck_clpr prdy_vrss prdy_vrss_sign prdy_ctrt acml_vol cntg_vol dprt nav_vrss_prpr nav
        nav_prdy_vrss_sign nav_prdy_vrss nav_prdy_ctrt
    """,
    "FHPST02440100": """
        bsop_hour nav nav_prdy_vrss_sign nav_prdy_vrss nav_prdy_ctrt nav_vrss_prpr dprt stck_prpr prdy_vrss
        prdy_vrss_sign prdy_ctrt acml_vol cntg_vol
    """,
    "FHKST121600C0": """
        stck_prpr prdy_vrss prdy_vrss_sign prdy_ctrt etf_cnfg_issu_avls nav nav_prdy_vrss_sign nav_prdy_vrss
        nav_prdy_ctrt etf_ntas_ttam prdy_clpr_nav oprc_nav hprc_nav lprc_nav etf_cu_unit_scrt_cnt
        etf_cnfg_issu_cnt stck_shrn_iscd hts_kor_isnm acml_vol acml_tr_pbmn tday_rsfl_rate prdy_vrss_vol
        tr_pbmn_tnrt hts_avls etf_vltn_amt etf_cnfg_issu_rlim
    """,
    "HHDFS00000300": """
        rsym zdiv base pvol last sign diff rate tvol tamt ordy
    """,
    "HHDFS76200200": """
        rsym pvol open high low last base tomv pamt uplp dnlp h52p h52d l52p l52d perx pbrx epsx bpsx shar mcap
        curr zdiv vnit t_xprc t_xdif t_xrat p_xprc p_xdif p_xrat t_rate p_rate t_xsgn p_xsng e_ordyn e_hogau
        e_icod e_parp tvol tamt etyp_nm
    """,
    "HHDFS76240000": """
        rsym zdiv nrec xymd clos sign diff rate open high low tvol tamt pbid vbid pask vask
    """,
    "CTPF1702R": """
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
}
