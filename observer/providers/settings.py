"""What a provider's pipeline can be told; apart from it, so that reading a configuration loads no network library."""

import msgspec


class RestSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long to wait and how often to ask again. The timeout is machine time, the delays are market time."""

    timeout_s: float = 10.0
    attempts_max: int = 5
    delay_initial_s: float = 0.5
    delay_max_s: float = 8.0
