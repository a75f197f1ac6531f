"""The default broker as one that takes no keys and issues nothing: a folder of a broker, for tests of the seam."""

from typing import Final

import msgspec

from observer.brokers.broker import DEFAULT_BROKER, Broker, Credentials, broker_named
from observer.brokers.http import Request
from observer.brokers.kis.envelope import KisRestDialect


class KeylessDialect(KisRestDialect):
    """Sends no credentials."""

    def headers(self, request: Request, credentials: Credentials) -> dict[str, str]:
        assert credentials == Credentials("", "", "", "")
        return {"tr_id": request.transaction}


BROKER: Final[Broker] = msgspec.structs.replace(
    broker_named(DEFAULT_BROKER), name="keyless", credentials="none", issuing=None, rest_dialect=KeylessDialect
)
