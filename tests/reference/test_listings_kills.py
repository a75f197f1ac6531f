"""After a kill at any moment each file and the database hold the old or the new version, never a mixture."""

import asyncio
import multiprocessing
from random import Random

import pytest

from tests.reference.scene import scene
from tests.reference.updating import LISTED, VERSIONS, update_for_ever
from tests.waiting import DEADLINE_S

ROUND_S = 0.4  # two versions are taken in within


def kill_at(moment_s, folder):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.reference.updating"])
    ours, theirs = context.Pipe()
    child = context.Process(target=update_for_ever, args=(folder, theirs))
    child.start()
    try:
        assert ours.poll(DEADLINE_S), "the process never took in its first file"
        child.join(moment_s)
    finally:
        child.kill()
        child.join()


async def judge(folder):
    async with scene(folder) as played:
        file = played.local.path("NASD").read_bytes()
        assert file in VERSIONS
        assert all(backup.read_bytes() in VERSIONS for backup in played.local.backups("NASD"))
        assert frozenset(played.reader.active_listings("NASD")) in LISTED
        played.host.offer("NASD", VERSIONS[1])
        found = await played.masters.check("NASD", force=True)
        assert found.outcome.decision in ("updated", "unchanged")
        assert played.local.path("NASD").read_bytes() == VERSIONS[1]
        assert frozenset(played.reader.active_listings("NASD")) == LISTED[1]
        assert [path.name for path in (folder / "master").glob(".*")] == []


def kill_often(kills, folder, seed):
    rng = Random(seed)
    for number in range(kills):
        moment_s = rng.uniform(0, ROUND_S)
        kill_at(moment_s, folder)
        try:
            asyncio.run(judge(folder))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, kill {number} after {moment_s:.4f} s: {error}") from error
    assert list((folder / "master" / "backups").iterdir()), "there were backups to judge"


@pytest.mark.slow
def test_ten_kills_leave_everything_before_or_after(tmp_path):
    kill_often(10, tmp_path, seed=1)


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_two_hundred_kills_leave_everything_before_or_after(tmp_path):
    kill_often(200, tmp_path, seed=2)
