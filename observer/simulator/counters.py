"""Counters of the simulated broker. Each part of the simulator adds to its own; counts never decrease."""

import collections

import msgspec


def _by_name() -> dict[str, int]:
    return collections.Counter()


class Counters(msgspec.Struct):
    """Counts since the start. `refusals` are by the answered code, REST and stream alike; `faults` by the kind of
    fault, one for each struck call, frame, connection or moment. `frames` and `trades` count what sessions passed to
    their lines; the ledger has their fate. `slow_consumers` are clients cut because they did not read, `silent_clients`
    because they did not answer PINGPONG. `busiest_seconds` are the most quotation calls, admitted or refused, in any
    one second, for each app key in the order of the settings. `read` alone fills in `rate_errors`, `trades` and
    `busiest_seconds`.
    """

    requests: dict[str, int] = msgspec.field(default_factory=_by_name)
    rate_errors: int = 0
    refusals: dict[str, int] = msgspec.field(default_factory=_by_name)
    connections: int = 0
    connections_refused: int = 0
    connections_cut: int = 0
    drops: int = 0
    registrations: int = 0
    removals: int = 0
    frames: int = 0
    trades: int = 0
    trades_by_symbol: dict[str, int] = msgspec.field(default_factory=_by_name)
    faults: dict[str, int] = msgspec.field(default_factory=_by_name)
    slow_consumers: int = 0
    silent_clients: int = 0
    busiest_seconds: tuple[int, ...] = ()

    def read(self, busiest_seconds: tuple[int, ...] = ()) -> "Counters":
        """The current counts, which grow no more."""
        return msgspec.structs.replace(
            self,
            requests=dict(self.requests),
            rate_errors=self.refusals["EGW00201"],
            refusals=dict(self.refusals),
            trades=sum(self.trades_by_symbol.values()),
            trades_by_symbol=dict(self.trades_by_symbol),
            faults=dict(self.faults),
            busiest_seconds=busiest_seconds,
        )
