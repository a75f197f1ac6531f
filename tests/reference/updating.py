"""A process that takes in two versions of a file in turn, until it is killed."""

import asyncio
import itertools
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from tests.reference.scene import contents, scene, symbols

VERSIONS: Final = (contents(symbols(600)), contents(symbols(580)) + contents(symbols(610)[590:], "새이름"))
LISTED: Final = (frozenset(symbols(600)), frozenset(symbols(580)) | frozenset(symbols(610)[590:]))


def update_for_ever(folder: Path, ready: Connection) -> None:
    asyncio.run(_update_for_ever(folder, ready))


async def _update_for_ever(folder: Path, ready: Connection) -> None:
    async with scene(folder) as played:
        for number in itertools.count():
            played.host.offer("NASD", VERSIONS[number % 2])
            await played.masters.check("NASD")
            if number == 0:
                ready.send(number)
