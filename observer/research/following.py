"""Committed events as they come, from the running system's feed."""

from collections.abc import AsyncIterator, Iterable, Sequence

from bus.endpoints import Address, is_served
from bus.events import Event, Fact
from observer.base.errors import ConfigError, NoDataError, did_you_mean
from observer.base.settings import RunSettings, endpoints_of, is_reachable
from observer.store.kinds import TABLE_NAMES


class Feed:
    """The feed of the system of a configuration; `run` is its section, None where only the database is known."""

    def __init__(self, run: RunSettings | None) -> None:
        self._run = run

    def events(self, kinds: Iterable[str]) -> AsyncIterator[Event]:
        """Events of the kinds of these tables as they are committed, from now on, until the iteration is cancelled. The
        feed may lose events for a reader that is too slow, and logs that.

        Raises:
            ConfigError: there is no such table, or it is not known where the system runs.
            NoDataError: the system does not run.
        """
        types = types_of([kinds] if isinstance(kinds, str) else kinds)
        if self._run is None:
            raise ConfigError("a database does not say where its system runs: open its configuration, observer.toml")
        return _followed(running_feed(self._run), types)


def types_of(kinds: Iterable[str]) -> Sequence[type[Fact]]:
    """The types of the events of these tables, each once.

    Raises:
        ConfigError: there is no such table, or none is named.
    """
    by_table = {table: kind for kind, table in TABLE_NAMES.items()}
    wanted = list(dict.fromkeys(kinds))
    if not wanted:
        raise ConfigError("no kind of event is named: give at least one, such as trades")
    for name in wanted:
        if name not in by_table:
            raise ConfigError(f"{name!r} is no kind of event{did_you_mean(name, by_table)}")
    return [by_table[name] for name in wanted]


def running_feed(run: RunSettings) -> Address:
    """The address of the running system's feed.

    Raises:
        NoDataError: the system does not run.
    """
    if not is_reachable(run) or not is_served(endpoints_of(run).feed):
        raise NoDataError(f"no system runs here ({run.runtime}): start one with `observer run`")
    return endpoints_of(run).feed


async def _followed(address: Address, kinds: Sequence[type[Fact]]) -> AsyncIterator[Event]:
    """The feed's events; its socket is closed with the iteration."""
    from bus.feed import FeedSubscriber  # who reads stored rows needs no socket

    feed = FeedSubscriber(address, kinds)
    try:
        async for event in feed:
            yield event
    finally:
        feed.close()
