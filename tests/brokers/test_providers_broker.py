"""The seam: what a broker's folder states, and who is found by name."""

import msgspec
import pytest

from observer.base.errors import ConfigError
from observer.base.instance import Instance
from observer.base.settings_errors import SettingsFile
from observer.brokers.accounts.pool import AccountSettings
from observer.brokers.broker import BROKER_NAMES, DEFAULT_BROKER, broker_named
from observer.brokers.dialect import StreamTraits
from observer.brokers.stream_settings import StreamSettings
from observer.reference.listings.diff import ReferenceSettings
from observer.system.config import Settings, _require_files


@pytest.mark.parametrize("name", BROKER_NAMES)
def test_a_broker_states_itself_under_its_name(name):
    broker = broker_named(name)
    assert broker.name == name
    assert broker.slots > 0
    assert broker.buckets
    assert broker.settings().rest_url.startswith("http")


def test_an_unknown_broker_is_refused_with_the_known_brokers():
    with pytest.raises(ValueError, match=rf"no broker 'nowhere'; there are {DEFAULT_BROKER}"):
        broker_named("nowhere")
    with pytest.raises(ValueError, match="no broker 'nowhere'"):
        AccountSettings(account_id="a", keys_file="k", provider="nowhere")


def test_the_slots_of_an_account_are_bounded_by_its_broker():
    bound = broker_named(DEFAULT_BROKER).slots
    assert AccountSettings(account_id="a", keys_file="k").slots == bound
    assert AccountSettings(account_id="a", keys_file="k", max_slots=1).slots == 1
    with pytest.raises(ValueError, match=f"max_slots: {bound + 1} is more than the {bound}"):
        AccountSettings(account_id="a", keys_file="k", max_slots=bound + 1)


def test_the_settings_know_broker_section_and_venue_of_the_first_account():
    settings = Settings()
    assert settings.provider == DEFAULT_BROKER
    assert settings.broker == broker_named(DEFAULT_BROKER).settings()
    assert settings.venue == broker_named(DEFAULT_BROKER).venue
    assert settings.instance == Instance(name="main", market=settings.venue.market)


def test_a_broker_names_the_exchanges_whose_files_it_parses():
    broker = broker_named(DEFAULT_BROKER)
    assert all(broker.listings(exchange, b"") == ([], []) for exchange in broker.exchanges)
    assert ReferenceSettings().exchanges == broker.exchanges
    names = [broker.listing_file(exchange) for exchange in broker.exchanges]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() for name in names)


def test_an_exchange_without_a_file_is_refused_with_the_names_of_the_files():
    broker = msgspec.structs.replace(broker_named(DEFAULT_BROKER), exchanges=("KOSPI",))
    file = SettingsFile("x.toml", {})
    _require_files(ReferenceSettings(exchanges=("KOSPI",)), broker, file)
    with pytest.raises(ConfigError, match=rf"x.toml.* NASD, NYSE.*{broker.name} has no file of it; it has KOSPI"):
        _require_files(ReferenceSettings(exchanges=("NASD", "KOSPI", "NYSE")), broker, file)


def test_a_broker_that_batches_subscriptions_is_refused():
    with pytest.raises(ValueError, match="batch_max 50"):
        StreamSettings(url="ws://x", provider="x", account="a", capacity=9, traits=StreamTraits(batch_max=50))
