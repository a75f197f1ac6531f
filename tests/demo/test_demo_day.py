"""The folder of a demo: what is made in it, and what it is not made in."""

import stat
import tomllib
from datetime import date
from pathlib import Path

import msgspec
import pytest

from bus.endpoints import Endpoints
from observer.base.errors import ConfigError
from observer.base.local_time import local_datetime, local_ns
from observer.brokers.accounts.keys import read_keys
from observer.calendar.phases import plan
from observer.calendar.trading_day import TradingDay
from observer.demo.configuration import DAY
from observer.demo.day import MARKER, OUTBOXES, DemoOptions, begins_at, prepare, tidy
from observer.supervisor.instance import AlreadyRunningError, InstanceLock


def options(folder, **changes):
    base = DemoOptions(speed=240, symbols=60, database="", seed=7, data=None, keep=False, folder=folder)
    return msgspec.structs.replace(base, **changes)


def test_a_folder_of_something_else_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="choose another --folder"):
        prepare(options(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_production_folder_is_refused_and_keeps_its_database_and_backups(tmp_path):
    production = tmp_path / "observer"
    day = prepare(options(production))
    (production / MARKER).unlink()  # without it the folder is like that of a real system
    for name in (
        "data/observer.db",
        "data/backups/20261118T210000-daily/manifest.json",
        "run/outbox/track-b/1.journal",
    ):
        (production / name).parent.mkdir(parents=True, exist_ok=True)
        (production / name).write_text("production")
    before = contents_of(production)
    with pytest.raises(ConfigError, match="not an earlier demo: choose another --folder"):
        prepare(options(production))
    assert contents_of(production) == before
    assert day.configuration.exists()


def test_a_database_that_cannot_be_made_is_refused_before_an_earlier_demo_is_removed(tmp_path):
    folder = tmp_path / "demo"
    prepare(options(folder))
    before = contents_of(folder)
    with pytest.raises(OSError, match="--db"):
        prepare(options(folder, database="sqlite:////proc/x/y.db"))
    assert contents_of(folder) == before


def test_a_removal_that_was_interrupted_is_repeated(tmp_path):
    folder = tmp_path / "demo"
    prepare(options(folder))
    (folder / "observer.toml").unlink()
    assert prepare(options(folder)).configuration.exists()


def test_a_link_in_an_earlier_demo_is_removed_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "one").write_text("stays")
    folder = tmp_path / "demo"
    prepare(options(folder))
    (folder / "link").symlink_to(tmp_path / "samples")
    prepare(options(folder))
    assert not (folder / "link").exists()
    assert (tmp_path / "samples" / "one").read_text() == "stays"


def contents_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_earlier_demo_makes_way(tmp_path):
    folder = tmp_path / "demo"
    first = prepare(options(folder))
    (folder / "data" / "observer.db").write_text("old")
    second = prepare(options(folder))
    assert not (folder / "data" / "observer.db").exists()
    assert first.settings.simulator != second.settings.simulator  # other keys, other ports


def test_a_demo_that_runs_is_not_disturbed(tmp_path):
    folder = tmp_path / "demo"
    prepare(options(folder))
    lock = InstanceLock(Endpoints(folder / "run").runtime_directory)
    before = (folder / "observer.toml").read_bytes()
    with pytest.raises(AlreadyRunningError, match="pid"):
        prepare(options(folder))
    assert (folder / "observer.toml").read_bytes() == before
    lock.release()


def test_the_keys_are_their_owners_alone_and_new_each_time(tmp_path):
    folder = tmp_path / "demo"
    keys = [read_keys(prepare(options(folder)).settings.pool.accounts, {})[0] for _ in range(2)]
    assert stat.S_IMODE((folder / "keys.toml").stat().st_mode) == 0o600
    assert keys[0].app_key != keys[1].app_key
    assert keys[0].app_secret != keys[1].app_secret


def test_the_simulated_broker_knows_the_keys_and_has_three_ports(tmp_path):
    day = prepare(options(tmp_path / "demo"))
    simulator = day.settings.simulator
    assert simulator is not None
    [keys] = read_keys(day.settings.pool.accounts, {})
    assert simulator.app_keys == {keys.app_key: keys.app_secret}
    assert len({simulator.rest_port, simulator.stream_port, simulator.files_port}) == 3
    assert f":{simulator.stream_port}/" in day.settings.broker.stream_url


@pytest.mark.parametrize("count", [1, 3, 10])
def test_each_account_has_keys_of_its_own_that_the_broker_knows(tmp_path, count):
    settings = prepare(options(tmp_path / "demo", accounts=count)).settings
    keys = read_keys(settings.pool.accounts, {})
    assert settings.simulator is not None
    assert settings.simulator.app_keys == {each.app_key: each.app_secret for each in keys}
    assert len(keys) == len(settings.simulator.app_keys) == count
    assert sum(account.slots for account in settings.pool.accounts) == 41 * count


def test_everything_lies_in_the_folder_and_calls_stay_on_loopback(tmp_path):
    folder = tmp_path / "demo"
    settings = prepare(options(folder)).settings
    assert Path(settings.run.data).is_relative_to(folder)
    assert Path(settings.run.runtime).is_relative_to(folder)
    assert settings.store.url == f"sqlite:///{folder}/data/observer.db"
    urls = (settings.broker.rest_url, settings.broker.stream_url, settings.broker.files_url)
    assert all("//127.0.0.1:" in url for url in urls)


def test_the_options_become_settings(tmp_path):
    url = "postgresql+psycopg://somebody@127.0.0.1/empty"
    settings = prepare(options(tmp_path / "demo", symbols=77, seed=9, database=url)).settings
    assert settings.simulator is not None
    assert (settings.simulator.symbols, settings.simulator.seed, settings.store.url) == (77, 9, url)


@pytest.mark.parametrize(("speed", "symbols"), [(60, 4_000), (240, 500), (240, 4_000), (600, 500), (1200, 60)])
def test_the_universe_has_machine_time_for_each_symbol_before_the_open_at_every_speed(tmp_path, speed, symbols):
    day = prepare(options(tmp_path / "demo", speed=speed, symbols=symbols))
    hour, minute = map(int, day.settings.selection.universe.generation_time.split(":"))
    universe_ns = local_ns(DAY, hour, minute)
    assert day.begins_ns < universe_ns <= local_ns(DAY, 8, 5)
    assert (local_ns(DAY, 8, 59) - universe_ns) / 1e9 / speed > 0.02 * symbols


def test_a_day_that_cannot_begin_early_enough_begins_at_midnight():
    assert begins_at(10_000, 4_000) == (0, 0)


def test_etfs_are_valued_and_measured_within_the_day(tmp_path):
    day = prepare(options(tmp_path / "demo"))
    ends = local_datetime(day.ends_ns).strftime("%H:%M")
    etf = day.settings.etf
    assert etf.list_at < etf.values_at < etf.ranges_at < ends


def test_streams_become_records_beside_trades_and_the_nav_brings_etfs_into_the_universe(tmp_path):
    plain = prepare(options(tmp_path / "demo")).settings
    chosen = prepare(options(tmp_path / "demo", streams=("order_book", "nav"))).settings
    assert (plain.track_b.records, plain.selection.universe.exclude_etf) == (("trades",), True)
    assert chosen.track_b.records == ("trades", "order_book", "nav")
    assert not chosen.selection.universe.exclude_etf


def test_expected_prices_are_streamed_into_the_closing_auction(tmp_path):
    plain = prepare(options(tmp_path / "demo")).settings
    chosen = prepare(options(tmp_path / "demo", streams=("expected_price",))).settings
    usual, longer = (plan(TradingDay(DAY, True, "test"), each.day_rules) for each in (plain, chosen))
    assert usual.track_b_stop_ns == local_ns(DAY, 15)
    assert local_ns(DAY, 15, 20) < longer.track_b_stop_ns <= longer.track_a_stop_ns


def test_the_day_begins_before_eight_and_ends_at_twenty_to_four(tmp_path):
    day = prepare(options(tmp_path / "demo"))
    assert day.clock.now_ns() == day.begins_ns == local_ns(DAY, 7, 59)
    assert day.ends_ns == local_ns(DAY, 15, 40)


def test_a_demo_can_have_another_trading_day(tmp_path):
    other = date(2026, 11, 13)
    day = prepare(options(tmp_path / "demo", day=other))
    assert (day.begins_ns, day.ends_ns) == (local_ns(other, 7, 59), local_ns(other, 15, 40))
    assert day.settings.simulator is not None
    assert day.settings.simulator.session_date == "2026-11-13"
    for unusual in (14, 19):  # a Saturday; the exam day, on which the sessions begin an hour later
        with pytest.raises(ConfigError, match=f"2026-11-{unusual} is no trading day of the usual hours: give another"):
            prepare(options(tmp_path / "closed", day=date(2026, 11, unusual)))
    assert not (tmp_path / "closed").exists()


def test_with_both_venues_the_day_lasts_from_seven_to_a_quarter_past_eight(tmp_path):
    day = prepare(options(tmp_path / "demo", nxt=True, speed=400))
    made = plan(TradingDay(DAY, True, "test"), day.settings.day_rules)
    universe_ns = local_ns(DAY, *map(int, day.settings.selection.universe.generation_time.split(":")))
    assert day.begins_ns <= local_ns(DAY, 6, 59) < universe_ns < made.track_a_start_ns == local_ns(DAY, 8)
    assert made.track_b_stop_ns == local_ns(DAY, 20) < day.ends_ns == local_ns(DAY, 20, 15)
    assert day.settings.simulator is not None
    assert day.settings.simulator.venues == day.settings.universe.venues == ("KRX", "NXT")


def test_samples_that_are_not_there_are_refused_before_anything_is_removed(tmp_path):
    folder = tmp_path / "demo"
    prepare(options(folder))
    with pytest.raises(ConfigError, match="not a folder"):
        prepare(options(folder, data=tmp_path / "absent"))
    assert tomllib.loads((folder / "observer.toml").read_text())["simulator"]["data"] == ""


def test_tidying_leaves_the_database_the_configuration_and_the_outboxes(tmp_path):
    folder = tmp_path / "demo"
    chosen = options(folder)
    prepare(chosen)
    Endpoints(folder / "run")
    (folder / "data" / "logs").mkdir()
    (folder / "data" / "observer.db").touch()
    segment = folder / "run" / OUTBOXES / "track-b" / "archive" / "1.journal"
    segment.parent.mkdir(parents=True)
    segment.touch()
    (folder / "run" / "alerts").mkdir()
    tidy(chosen)
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    configuration = {"observer.toml", "provider_pool.json", "symbol_selection.json"}
    outbox = {"run", "run/outbox", "run/outbox/track-b", "run/outbox/track-b/archive"}
    kept = {"data", "data/observer.db", *outbox, "run/outbox/track-b/archive/1.journal"}
    assert left == {MARKER, *configuration, *kept}
