"""The plan of a reload: present children compared with the configured ones. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from bus.commands import ReloadReply
from observer.supervisor.child import Child
from observer.supervisor.states import ProcessState

AT_REST: Final = frozenset({ProcessState.STOPPED, ProcessState.EXITED})
"""States in which a child with a changed specification is not started: stopped by a command, or done."""


class ReloadPlan(msgspec.Struct, frozen=True):
    """Children to restart, to start and to stop; changed ones that do not run apply the change at their next start."""

    restarted: tuple[Child, ...] = ()
    started: tuple[Child, ...] = ()
    stopped: tuple[str, ...] = ()
    at_next_start: tuple[Child, ...] = ()

    def reply(self, progress: Literal["dry_run", "under_way", "done"], failed: Sequence[str] = ()) -> ReloadReply:
        """The plan as a reply; `failed` are the children that did not run again."""
        return ReloadReply(
            restarted=[child.name for child in self.restarted],
            started=[child.name for child in self.started],
            stopped=list(self.stopped),
            at_next_start=[child.name for child in self.at_next_start],
            progress=progress,
            failed=list(failed),
        )


def refuse_namesakes(children: Sequence[Child]) -> None:
    """Raises ValueError when two children have the same name."""
    if len({child.name for child in children}) < len(children):
        raise ValueError("two children have the same name")


def plan_reload(current: Mapping[str, tuple[Child, ProcessState]], wanted: Sequence[Child]) -> ReloadPlan:
    """Compare by name: a child that differs in anything is in the plan; unchanged children are left alone.

    A changed child in FATAL is started again: the change may be the remedy.
    """
    in_order = sorted(wanted, key=lambda child: child.order)
    changed = [child for child in in_order if child.name in current and child != current[child.name][0]]
    names = {child.name for child in wanted}
    return ReloadPlan(
        restarted=tuple(child for child in changed if current[child.name][1] not in AT_REST),
        started=tuple(child for child in in_order if child.name not in current),
        stopped=tuple(name for name in current if name not in names),
        at_next_start=tuple(child for child in changed if current[child.name][1] in AT_REST),
    )
