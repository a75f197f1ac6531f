"""Counters of the simulated broker, read as one frozen struct."""

from collections import Counter

import msgspec


class SimulatorCounters(msgspec.Struct, frozen=True):
    """Counts since the start. `refusals` are by the answered code, REST and stream alike; `faults` by the kind of
    fault, one for each struck call, frame, connection or moment. `frames` and `trades` count what sessions passed to
    their lines; the ledger has their fate. `slow_consumers` are clients cut because they did not read, `silent_clients`
    because they did not answer PINGPONG. `busiest_seconds` are the most quotation calls, admitted or refused, in any
    one second, for each app key in the order of the settings.
    """

    requests: dict[str, int]
    rate_errors: int
    refusals: dict[str, int]
    connections: int
    connections_refused: int
    connections_cut: int
    drops: int
    registrations: int
    removals: int
    frames: int
    trades: int
    trades_by_symbol: dict[str, int]
    faults: dict[str, int]
    slow_consumers: int
    silent_clients: int
    busiest_seconds: tuple[int, ...]


class Counters:
    """The growing counters. Each part of the simulator adds to its own; counts never decrease."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.trades_by_symbol: Counter[str] = Counter()
        self.connections = 0
        self.connections_refused = 0
        self.connections_cut = 0
        self.drops = 0
        self.registrations = 0
        self.removals = 0
        self.frames = 0
        self.faults: Counter[str] = Counter()
        self.slow_consumers = 0
        self.silent_clients = 0

    def read(self, busiest_seconds: tuple[int, ...] = ()) -> SimulatorCounters:
        """The current counts."""
        return SimulatorCounters(
            requests=dict(self.requests),
            rate_errors=self.refusals["EGW00201"],
            refusals=dict(self.refusals),
            connections=self.connections,
            connections_refused=self.connections_refused,
            connections_cut=self.connections_cut,
            drops=self.drops,
            registrations=self.registrations,
            removals=self.removals,
            frames=self.frames,
            trades=self.trades_by_symbol.total(),
            trades_by_symbol=dict(self.trades_by_symbol),
            faults=dict(self.faults),
            slow_consumers=self.slow_consumers,
            silent_clients=self.silent_clients,
            busiest_seconds=busiest_seconds,
        )
