"""Whether KIS lets one security be traded, from what is registered of it: CTPF1002R in Korea, CTPF1702R abroad.

Our reading of the codes: 해외주식거래정지구분코드 01 is trading, everything else some stop; 해외주식구분코드
01 share, 02 warrant, 03 ETF, 04 preferred share; 시장ID코드 STK KOSPI, KSQ KOSDAQ, KNX KONEX.
"""

from collections.abc import Mapping
from typing import Final

from observer.providers.domestic import StockInformation
from observer.providers.http import RestPipeline
from observer.providers.kis.doors import KisInstruments, KisOverseas
from observer.providers.overseas import OverseasInstrument
from observer.reference.exchanges import KOREA
from observer.reference.tradable import NOT_TRADED, NOT_TRADED_GROUPS, Tradable

_MARKETS: Final[Mapping[str, str]] = {"STK": "KOSPI", "KSQ": "KOSDAQ", "KNX": "KONEX"}
_KINDS: Final[Mapping[str, str]] = {"01": "stock", "02": "warrant", "03": "fund", "04": "stock"}
_TRADING: Final = ("", "01")


class KisSecurities:
    """Satisfies `SecuritySource`."""

    def __init__(self, pipeline: RestPipeline) -> None:
        self._domestic = KisInstruments(pipeline)
        self._abroad = KisOverseas(pipeline)

    async def security(self, exchange: str, symbol: str) -> Tradable | None:
        """See `SecuritySource`.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        if exchange in KOREA:
            stock = await self._domestic.stock_information(symbol)
            return None if stock is None else tradable_in_korea(exchange, stock)
        instrument = await self._abroad.overseas_instrument(exchange, symbol)
        return None if instrument is None else tradable_abroad(instrument)


def tradable_in_korea(exchange: str, stock: StockInformation) -> Tradable | None:
    """The security, if it is listed on that exchange, neither delisted nor suspended, and of a kind that is traded."""
    if _MARKETS.get(stock.market) != exchange or stock.delisted_on is not None or stock.suspended:
        return None
    if stock.group in NOT_TRADED_GROUPS:
        return None
    return Tradable(exchange, stock.symbol, stock.name, stock.english_name, "KRW", "", stock.group)


def tradable_abroad(found: OverseasInstrument) -> Tradable | None:
    """The security, if it is listed, not stopped, and of a kind that is traded."""
    kind = _KINDS.get(found.kind, "")
    if not found.listed or found.delisted or found.trading_stop not in _TRADING or kind in NOT_TRADED:
        return None
    return Tradable(found.exchange, found.symbol, found.name, found.english_name, found.currency, kind)
