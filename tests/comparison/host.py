"""Our supervisor by itself, for the comparison. Arguments: folder, commands by name as JSON, restart intensity.

The back-off is at most 0.2 s instead of 30 s, so that thousands of restarts are possible.
"""

import asyncio
import json
import sys
from pathlib import Path

from bus.endpoints import Endpoints
from observer.supervisor.child import Child
from observer.supervisor.limits import Crossing
from observer.supervisor.restarts import RestartLimits
from observer.supervisor.states import ProcessState
from observer.supervisor.supervisor import Supervisor


class Stale:
    def on_change(
        self, name: str, previous: ProcessState, current: ProcessState, pid: int | None, reason: str
    ) -> None: ...

    def on_crossing(self, crossing: Crossing) -> None: ...


async def run(folder: Path, commands: dict[str, list[str]], intensity: int) -> None:
    endpoints = Endpoints(folder / "run")
    children = [
        Child(name=name, argv=tuple(argv), log_path=folder / f"{name}.log", expects_ready=False, stop_grace_s=8.0)
        for name, argv in commands.items()
    ]
    supervisor = Supervisor(
        lambda: children,
        runtime_directory=endpoints.runtime_directory,
        control_address=endpoints.control,
        listener=Stale(),
        extend_status=lambda _alerts: ("IDLE", 0, []),
        limits=RestartLimits(restarts_max=intensity, loop_restarts_max=intensity, delay_max_s=0.2),
    )
    await supervisor.run_until(asyncio.Event())


asyncio.run(run(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])))
