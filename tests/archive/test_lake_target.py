"""Sealed days at a real S3 server: each appears whole, once, also where the server fails and comes back."""

import threading
from pathlib import Path

import msgspec
import pytest

from observer.archive.copying import copied_days, publish_days, state_at_target, wrong_at_target
from observer.archive.day import manifest_content, manifest_path, path_of, sealed_day, version_path
from observer.archive.lock import locked
from observer.archive.object_store import StoreKeys, keys_of, open_url
from observer.archive.sealing import seal_days
from observer.archive.settings import TARGET_VARIABLES, LakeSettings
from observer.archive.verification import verify_day
from observer.base.errors import DataFileError, LakeInUseError, MissingKeysError, StoppedError, TargetError
from observer.store.sealing import SealingReader
from tests.archive.object_stores import KEYS, Gate, fetch, objects_of, s3_server, store_at
from tests.archive.stored import DAY, MARKET, NEXT_DAY, append, day_of, make_stored, remove_sealed, two_sealed_days
from tests.builders import trade

STOP = threading.Event()


class Scene:
    """A lake of two sealed days, its database, and the URL of a target that is empty."""

    def __init__(self, folder, server):
        self.lake, self.url = two_sealed_days()
        self.target = server.make_bucket(f"bucket-{abs(hash(folder)):x}")
        self.store = store_at(self.target, server.endpoint)
        self.server = server

    def seal(self, remove=(), target=None):
        days = [DAY, NEXT_DAY]
        list(seal_days(self.lake, self.url, MARKET, days, lambda: 1, STOP, remove=remove, target=target))

    def publish(self, store=None, again=None):
        found = publish_days(self.lake, store or self.store, MARKET, STOP, again=again)
        return [day.session_date for day in found]

    def day(self, session_date=DAY):
        """The sealed day without the note of what the target has, which only the local manifest states."""
        found = sealed_day(self.lake, MARKET, session_date)
        assert found is not None
        return msgspec.structs.replace(found, published={})

    @property
    def objects(self):
        return dict(objects_of(self.server, self.target))

    def expected(self):
        """What a whole copy has: the glob's files, the versions, the manifests."""
        found = [*self.lake.glob("kind=*/*/*/*"), *self.lake.glob("_versions/*/*/*/*")]
        days = {manifest_path(Path(), MARKET, day).as_posix(): self.day(day) for day in (DAY, NEXT_DAY)}
        return {
            **{path.relative_to(self.lake).as_posix(): path.read_bytes() for path in found},
            **{name: manifest_content(day) for name, day in days.items()},
        }

    def version(self, number=1):
        return version_path(Path(), "trades", MARKET, DAY, number).as_posix()


@pytest.fixture
def scene(tmp_path, server):
    return Scene(tmp_path, server)


def test_the_target_gets_every_file_and_manifest_once(scene):
    assert copied_days(scene.store) == []
    assert scene.publish() == [DAY, NEXT_DAY]
    assert scene.objects == scene.expected()
    assert scene.publish() == []
    assert copied_days(scene.store) == [scene.day(DAY), scene.day(NEXT_DAY)]
    assert wrong_at_target(scene.lake, scene.store, scene.day(), STOP) == ()


def test_a_day_that_changed_gets_its_new_version_and_keeps_the_old_one(scene):
    scene.publish()
    append(scene.url, trade(99, symbol="000020"))
    scene.seal()
    there = {(day.market, day.session_date): day for day in copied_days(scene.store)}
    states = [state_at_target(scene.day(each), there) for each in (DAY, NEXT_DAY)]
    assert states == ["behind", "published"]
    assert scene.publish() == [DAY]
    assert scene.objects == scene.expected()
    assert {scene.version(1), scene.version(2)} <= scene.objects.keys()


def test_a_manifest_is_there_only_with_all_that_it_names(scene):
    """Stop before each kind in turn: a reader sees whole days, or none."""
    kinds = len(scene.day().kinds) + len(scene.day(NEXT_DAY).kinds)
    for reached in range(kinds):
        stop = threading.Event()
        begun: list[str] = []

        def note(day, kind, stop=stop, begun=begun, at=reached):
            begun.append(f"{day} {kind}")
            if len(begun) > at:
                stop.set()

        store = store_at(f"{scene.target}-{reached}", scene.server.endpoint)
        with pytest.raises(StoppedError):
            list(publish_days(scene.lake, store, MARKET, stop, note))
        seen = copied_days(store)
        assert [day.session_date for day in seen] == ([DAY] if reached >= len(scene.day().kinds) else [])
        assert all(wrong_at_target(scene.lake, store, day, STOP) == () for day in seen)
        scene.publish(store)
        assert objects_of(scene.server, store.url) == scene.expected()


@pytest.mark.parametrize(("mode", "left"), [("failing", 0), ("failing", 20_000), ("cutting", 0), ("cutting", 30_000)])
def test_a_target_that_is_lost_and_comes_back_has_each_row_once(scene, mode, left):
    gate = Gate(scene.server.port)
    store = store_at(scene.target, gate.endpoint)
    gate.set(mode, left)
    with pytest.raises(TargetError, match="does not answer as it should"):
        scene.publish(store)
    assert gate.turned_away
    for day in copied_days(scene.store):
        assert wrong_at_target(scene.lake, scene.store, day, STOP) == ()
    gate.set("open")
    scene.publish(store)
    assert scene.objects == scene.expected()
    gate.stop()


def test_a_stopped_target_is_an_error_of_one_line_and_serves_again_when_it_is_back(scene):
    gate = Gate(scene.server.port)
    store = store_at(scene.target, gate.endpoint)
    gate.stop()
    with pytest.raises(TargetError, match="does not answer as it should") as lost:
        scene.publish(store)
    assert "\n" not in str(lost.value)
    gate.start()
    assert scene.publish(store) == [DAY, NEXT_DAY]
    gate.stop()


def test_what_an_earlier_publication_left_unfinished_is_replaced(scene):
    whole = (scene.lake / scene.version()).read_bytes()
    damaged = bytes([*whole[:200], whole[200] ^ 1, *whole[201:]])
    scene.store.write(scene.version(), damaged)
    scene.publish()
    assert scene.objects == scene.expected()


def test_a_damaged_object_is_found_and_replaced_when_its_day_is_named(scene):
    scene.publish()
    glob = path_of(Path(), "trades", MARKET, DAY).as_posix()
    for name in (scene.version(), glob):
        scene.store.write(name, b"PAR1")
    found = wrong_at_target(scene.lake, scene.store, scene.day(), STOP)
    assert [text.partition(" is not")[0] for text in found] == [
        f"{scene.target}/{each}" for each in (scene.version(), glob)
    ]
    assert f"`observer lake publish {DAY}` replaces it" in found[0]
    assert scene.publish() == []
    assert scene.publish(again=DAY) == [DAY]
    assert scene.objects == scene.expected()


def test_a_file_that_is_damaged_here_keeps_its_day_alone_from_being_published(scene):
    path = scene.lake / scene.version()
    whole = path.read_bytes()
    path_of(scene.lake, "trades", MARKET, DAY).unlink()
    path.write_bytes(whole[:-9])
    for _ in range(2):
        with pytest.raises(DataFileError, match=rf"^trades of {DAY} is not copied: .*1\.parquet"):
            scene.publish()
    assert copied_days(scene.store) == [scene.day(NEXT_DAY)]
    assert scene.version() not in scene.objects
    path.write_bytes(whole)
    scene.seal()
    assert scene.publish() == [DAY]
    assert scene.objects == scene.expected()


def test_a_version_that_the_lake_has_lost_stays_at_the_target_and_keeps_no_other_from_being_published(scene):
    scene.publish()
    (scene.lake / scene.version()).unlink()
    path_of(scene.lake, "trades", MARKET, DAY).unlink()
    append(scene.url, trade(99, symbol="000020"))
    with pytest.raises(DataFileError, match="is gone"):
        scene.seal()  # the database has all rows: a second version
    assert scene.publish() == [DAY]
    assert {scene.version(1), scene.version(2)} <= scene.objects.keys()


def test_another_lake_s_days_are_never_overwritten(scene, tmp_path):
    scene.publish()
    before = scene.objects
    other = tmp_path / "other"
    other.mkdir()
    url = make_stored(other, *day_of(symbols=2))
    list(seal_days(other / "lake", url, MARKET, [DAY], lambda: 1, STOP))
    for again in (None, DAY):
        with pytest.raises(
            DataFileError, match=r"the lake has fewer or other rows of sweeps than s3:.*give this one another target"
        ):
            list(publish_days(other / "lake", scene.store, MARKET, STOP, again=again))
    assert scene.objects == before


def test_a_manifest_that_is_damaged_here_or_there_keeps_no_other_day_from_being_published(scene):
    scene.publish()
    for session_date in (DAY, NEXT_DAY):
        append(scene.url, trade(99, symbol="000020", session_date=session_date))
    scene.seal()
    own = scene.lake / (name := manifest_path(Path(), MARKET, DAY).as_posix())
    whole, there = own.read_bytes(), scene.objects[name]
    own.write_bytes(b"{")
    with pytest.raises(DataFileError, match=f"{DAY}.json"):
        scene.publish()
    assert copied_days(scene.store)[1] == scene.day(NEXT_DAY)
    own.write_bytes(whole)
    append(scene.url, trade(100, symbol="000020", session_date=NEXT_DAY))
    scene.seal()
    scene.store.write(name, b"{")
    with pytest.raises(DataFileError, match="remove it, and `observer lake publish`"):
        scene.publish()
    scene.store.write(name, there)
    assert copied_days(scene.store)[1] == scene.day(NEXT_DAY)


def test_a_manifest_that_is_damaged_there_says_what_to_do(scene):
    scene.publish()
    name = manifest_path(Path(), MARKET, DAY).as_posix()
    scene.store.write(name, b"{")
    with pytest.raises(DataFileError, match="remove it, and `observer lake publish`"):
        scene.publish()
    assert len(wrong_at_target(scene.lake, scene.store, scene.day(), STOP)) == 1
    scene.server.client().delete_object(Bucket=scene.target.split("/")[2], Key=f"lake/{name}")
    assert scene.publish() == [DAY]
    assert scene.objects[name] == manifest_content(scene.day())


def test_rows_may_leave_the_database_only_when_the_target_has_them(scene):
    with pytest.raises(DataFileError, match="no row is removed from the database: 2026-11-18 is not published"):
        scene.seal((DAY,), scene.store)
    scene.publish()
    scene.store.write(scene.version(), b"PAR1")
    with pytest.raises(DataFileError, match=r"no row is removed from the database: .*1\.parquet is not version 1"):
        scene.seal((DAY,), scene.store)
    scene.publish(again=DAY)
    lost = store_at(scene.target, "http://127.0.0.1:9")
    with pytest.raises(TargetError):
        scene.seal((DAY,), lost)
    assert scene.day().removed == ()
    assert remove_sealed(scene.url, scene.lake) == 0
    scene.seal((DAY,), scene.store)
    assert scene.day().removed == ("trades",)
    assert scene.publish() == [DAY]
    assert scene.objects == scene.expected()


def test_a_lost_lake_is_taken_back_from_the_target(scene, tmp_path):
    scene.publish()
    scene.seal((DAY,), scene.store)
    remove_sealed(scene.url, scene.lake)
    scene.publish()
    back = fetch(scene.server, scene.target, tmp_path / "back")
    [first, _] = seal_days(back, scene.url, MARKET, [DAY, NEXT_DAY], lambda: 2, STOP)
    assert first.written == ()
    with SealingReader(scene.url) as reader:
        assert verify_day(back, first.day, reader, STOP).problems == ()
    assert first.day == scene.day()
    assert list(publish_days(back, scene.store, MARKET, STOP)) == []


def test_one_process_at_a_time_publishes(scene):
    with locked(scene.lake), pytest.raises(LakeInUseError):
        scene.publish()


# --- keys ---


def test_wrong_keys_are_one_line_with_the_remedy_and_without_the_keys():
    """A server of its own: from now on it knows only keys that it gave."""
    with s3_server() as server:
        url = server.make_bucket("bucket-of-one")
        iam = server.client("iam")
        iam.create_user(UserName="reader")
        given = iam.create_access_key(UserName="reader")["AccessKey"]
        server.require_keys()
        unknown = StoreKeys("AKIAUNKNOWN000000000", "b" * 40)
        wrong = StoreKeys(given["AccessKeyId"], "c" * 40)
        without_rights = StoreKeys(given["AccessKeyId"], given["SecretAccessKey"])
        for keys in (unknown, wrong, without_rights):
            with pytest.raises(
                TargetError, match=r"refuses these keys: correct OBSERVER_LAKE_ACCESS_KEY and"
            ) as refused:
                copied_days(store_at(url, server.endpoint, keys))
            assert "\n" not in str(refused.value)
            assert keys.access_key not in str(refused.value)
            assert keys.secret_key not in str(refused.value)


def test_a_bucket_that_does_not_exist_is_named(scene):
    with pytest.raises(TargetError, match=r"s3://no-such-bucket/x: the bucket does not exist: make it"):
        scene.publish(store_at("s3://no-such-bucket/x", scene.server.endpoint))


def test_keys_come_from_the_environment_or_a_private_file(tmp_path):
    path = tmp_path / "keys.toml"
    settings = LakeSettings(target="s3://bucket/x", keys_file=str(path))
    own, usual = (
        dict(zip(TARGET_VARIABLES, ("own", "o"), strict=True)),
        {"AWS_ACCESS_KEY_ID": "aws", "AWS_SECRET_ACCESS_KEY": "a"},
    )
    assert keys_of(settings, {**usual, **own}).access_key == "own"
    assert keys_of(settings, usual).access_key == "aws"
    with pytest.raises(
        MissingKeysError, match=r"set OBSERVER_LAKE_ACCESS_KEY and .*, or create .*keys\.toml \(mode 600\)"
    ):
        keys_of(settings, {})
    path.touch(mode=0o600)
    path.write_text('access_key = "a"\nsecret_key = 7\n')
    with pytest.raises(MissingKeysError, match=r'keys\.toml has no keys of s3://bucket/x: write access_key = "\.\.\."'):
        keys_of(settings, {})
    path.write_text('access_key = "from file"\nsecret_key = "secret"\n')
    assert keys_of(settings, {}) == StoreKeys("from file", "secret")
    path.chmod(0o644)
    with pytest.raises(MissingKeysError, match="can be read by others: run `chmod 600"):
        keys_of(settings, {})


def test_no_text_of_the_keys_or_the_store_has_them(server):
    url = server.make_bucket("bucket-of-texts")
    environment = {"AWS_ACCESS_KEY_ID": KEYS.access_key, "AWS_SECRET_ACCESS_KEY": KEYS.secret_key}
    store = open_url(url, {**environment, "AWS_ENDPOINT_URL": server.endpoint})
    assert copied_days(store) == []
    for text in (repr(KEYS), str(KEYS), repr(store), repr(vars(store))):
        assert KEYS.secret_key not in text
