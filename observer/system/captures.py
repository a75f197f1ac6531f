"""A capture that runs as a child of the supervisor, between two commands of a person."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bus.commands import Done, OrderReply, Refused, StartCapture, UnderWay
from bus.events import EVENT_TYPES, kind_of
from observer.base.programs import program
from observer.supervisor.child import Child
from observer.supervisor.states import ProcessState
from observer.supervisor.supervisor import ANSWER_WITHIN_S, Supervisor
from observer.system.config import Settings
from observer.system.processes import children_of

NAME: Final = "capture"
_ORDER: Final = 2  # when everything stops: after those that publish, before the writer
_GRACE_S: Final = 15.0  # a stopped capture waits some seconds for late events
_POLL_S: Final = 0.02
_CHECKS: Final = 20  # half of an order's time limit; the recorder's start used the rest
_KINDS: Final = tuple(kind_of(event_type) for event_type in EVENT_TYPES)


class Capturing:
    """One capture at a time, as a child of the supervisor beside the configured ones."""

    def __init__(self, supervisor: Supervisor, configuration: Path) -> None:
        self._supervisor = supervisor
        self._configuration = configuration
        self._child: Child | None = None
        self._out = ""
        self._ending: asyncio.Task[OrderReply] | None = None

    def beside(self, settings: Settings) -> Sequence[Child]:
        """The children for these settings, plus the capture if one runs."""
        return [*children_of(settings, self._configuration), *([self._child] if self._child else [])]

    async def start(self, request: StartCapture, settings: Settings) -> OrderReply:
        """Record to a new file; Done when the recording has begun."""
        if unknown := sorted(set(request.kinds) - set(_KINDS)):
            return Refused("unknown_kind", f"no such kind: {', '.join(unknown)}; there are {', '.join(_KINDS)}")
        if self._child is not None and self._state() is ProcessState.RUNNING:
            return Refused("busy", f"{self._out} is being recorded: stop that first")
        if not Path(request.out).is_absolute() or _is_there(request.out):
            return Refused("failed", f"{request.out}: give the absolute path of a file that is not there yet")
        out = _below(request.out, Path(settings.run.data))
        if out is None:
            return Refused("failed", f"{request.out} is not below the data folder: give {_example(settings)}, say")
        previous, self._child = self._child, _child(str(out), request.kinds, settings, self._configuration)
        reply = await self._supervisor.reload(self.beside(settings), dry_run=False)
        if isinstance(reply, Refused):
            self._child = previous
            return reply
        self._out = str(out)
        await self._supervisor.start(NAME)
        return await self._begun()

    async def _begun(self) -> OrderReply:
        """Wait for the recorder's file, which it creates when it begins."""
        for _ in range(_CHECKS):
            if self._state() is not ProcessState.RUNNING or _is_there(self._out):
                break
            await asyncio.sleep(_POLL_S)
        if self._state() is ProcessState.RUNNING:
            begun = Done(NAME, f"{self._out} is being recorded")
            return (
                begun if _is_there(self._out) else UnderWay(f"the recorder of {self._out} starts: ask for the status")
            )
        return Refused("failed", f"{self._out} cannot be recorded: {self._exit()}; the log of {NAME} says why")

    async def stop(self, settings: Settings) -> OrderReply:
        """End the recording; refused as failed when something is missing in it."""
        if self._child is None:
            return Refused("not_running", "nothing is being recorded")
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        done, _ = await asyncio.wait([self._ending], timeout=ANSWER_WITHIN_S)
        if not done:
            return UnderWay(f"{self._out} is being finished: ask again whether it is whole")
        reply = self._ending.result()
        self._child = self._ending = None
        await self._supervisor.reload(self.beside(settings), dry_run=False)
        return reply

    async def _end(self) -> OrderReply:
        await self._supervisor.stop(NAME)
        if (how := self._exit()) == "exit 0":
            return Done(NAME, f"{self._out} is whole: nothing that was committed meanwhile is missing in it")
        return Refused(
            "failed", f"{self._out} is not known to be whole ({how}): the log of {NAME} says how much it misses"
        )

    def _state(self) -> ProcessState | None:
        found = [process.state for process in self._supervisor.status().processes if process.name == NAME]
        return ProcessState(found[0]) if found else None

    def _exit(self) -> str:
        found = [process.exit for process in self._supervisor.status().processes if process.name == NAME]
        return found[0] or "it has not ended" if found else "it was never started"


def _is_there(path: str) -> bool:
    return Path(path).exists()


def _below(path: str, folder: Path) -> Path | None:
    """The path without links, if that is in the folder; None for any other."""
    if ".." in Path(path).parts:
        return None
    resolved = Path(path).resolve()
    return resolved if resolved.is_relative_to(folder.resolve()) else None


def _example(settings: Settings) -> Path:
    return Path(settings.run.data).resolve() / "captured.journal"


def _child(out: str, wanted: Sequence[str], settings: Settings, configuration: Path) -> Child:
    options = ["--out", out, "--config", str(configuration), "--json"]
    kinds = ["--kinds", ",".join(wanted)] if wanted else []
    return Child(
        name=NAME,
        argv=program("observer", "capture", *options, *kinds),
        log_path=Path(settings.run.data) / "logs" / f"{NAME}.log",
        order=_ORDER,
        restart="never",
        expects_ready=False,
        stop_grace_s=_GRACE_S,
    )
