"""What the supervisor looks at every second: its children's figures, orphans, the machine, the length of the logs."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from observer.supervisor.child import Child
from observer.supervisor.keeper import Keeper, Listener
from observer.supervisor.limits import HostLimits, Resource, Strain, after_host_look, crossing_text
from observer.supervisor.orphans import adopting, reap_adopted
from observer.supervisor.output import rotate
from observer.supervisor.watch import Figures, Watch, look_at_host

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0


class Rounds:
    """Looks, tells keepers what their children weigh, and the listener what has become scarce.

    Args:
        disk: a folder on the disk that must not become full.
    """

    def __init__(self, keepers: Mapping[str, Keeper], listener: Listener, limits: HostLimits, disk: Path) -> None:
        self._keepers = keepers
        self._listener = listener
        self._limits = limits
        self._disk = disk
        self._watch = Watch()
        self._strains: Mapping[Resource, Strain] = {}
        self._uncut: frozenset[Path] = frozenset()
        self.figures: Mapping[int, Figures] = {}
        """Of the last look, by the pid of a child's leader."""

    async def run(self) -> None:
        """Look until cancelled; until then orphans below this process are its children."""
        with adopting():
            try:
                while True:
                    self._look_at_children()
                    self._look_at_host()
                    await self._look_at_logs()
                    await asyncio.sleep(LOOK_S)
            finally:
                self._reap()

    def _reap(self) -> None:
        reap_adopted({keeper.pid for keeper in self._keepers.values() if keeper.pid})

    def _look_at_children(self) -> None:
        self._reap()
        self.figures = self._watch.sample([keeper.pid for keeper in self._keepers.values() if keeper.pid])
        for keeper in self._keepers.values():
            if (figures := self.figures.get(keeper.pid or 0)) is not None:
                keeper.weigh(figures)

    def _look_at_host(self) -> None:
        figures = look_at_host(self.figures.values(), self._disk)
        self._strains, crossings = after_host_look(self._strains, figures, self._limits)
        for crossing in crossings:
            logger.warning("%s", crossing_text(crossing))
            try:
                self._listener.on_crossing(crossing)
            except Exception:  # a child's life must not depend on who watches it
                logger.exception("the listener failed on %s", crossing)

    async def _look_at_logs(self) -> None:
        """Log a failure when it begins, not every second of it."""
        children = [keeper.child for keeper in self._keepers.values()]
        failures = await asyncio.to_thread(_rotate_logs, children)
        for path, error in failures.items():
            if path not in self._uncut:
                logger.error("cannot rotate %s, which goes on growing: %s", path, error)
        self._uncut = frozenset(failures)


def _rotate_logs(children: Sequence[Child]) -> Mapping[Path, OSError]:
    """Rotate what is too long; the errors by path."""
    failures: dict[Path, OSError] = {}
    for child in children:
        if child.log_bytes_max is not None:
            try:
                rotate(child.log_path, child.log_bytes_max, child.logs_kept)
            except OSError as error:
                failures[child.log_path] = error
    return failures
