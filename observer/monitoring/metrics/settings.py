"""`[metrics]` of the configuration."""

from typing import Annotated

import msgspec


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The exporter for Prometheus, on loopback alone. Without the section there is none.

    `port` is its TCP port.
    """

    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 9464
