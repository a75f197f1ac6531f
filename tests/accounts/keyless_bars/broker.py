"""The keyless broker, which offers bars alone: the other broker of an instance with two."""

from typing import Final

import msgspec

from observer.providers.broker import Broker
from tests.accounts.keyless import broker

BROKER: Final[Broker] = msgspec.structs.replace(broker.BROKER, name="keyless_bars", capabilities=frozenset({"bars"}))
