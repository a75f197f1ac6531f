"""What a reload changes: the children that are there against those that are wanted. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from bus.commands import ReloadReply
from observer.supervisor.child import Child
from observer.supervisor.states import State

AT_REST: Final = frozenset({State.STOPPED, State.EXITED})
"""Where a child stays although its specification changed: somebody stopped it, or its work is done."""


class ReloadPlan(msgspec.Struct, frozen=True):
    """Who is to be restarted, started and stopped; who changed and does not run: then at its next start."""

    restarted: tuple[Child, ...] = ()
    started: tuple[Child, ...] = ()
    stopped: tuple[str, ...] = ()
    at_next_start: tuple[Child, ...] = ()

    def reply(self, progress: Literal["dry_run", "under_way", "done"], failed: Sequence[str] = ()) -> ReloadReply:
        """The plan as it is told; `failed` are the names of those that did not come to run again."""
        return ReloadReply(
            restarted=[child.name for child in self.restarted],
            started=[child.name for child in self.started],
            stopped=list(self.stopped),
            at_next_start=[child.name for child in self.at_next_start],
            progress=progress,
            failed=list(failed),
        )


def refuse_namesakes(children: Sequence[Child]) -> None:
    """Raises ValueError when two children have the same name: a mistake of whoever made the table of them."""
    if len({child.name for child in children}) < len(children):
        raise ValueError("two children have the same name")


def plan_reload(current: Mapping[str, tuple[Child, State]], wanted: Sequence[Child]) -> ReloadPlan:
    """Each child that differs in anything, by name; those that are the same are left alone.

    One that was given up is tried again if it changed: what was wrong with it may be over.
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
