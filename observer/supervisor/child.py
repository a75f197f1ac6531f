"""What a supervised process is, before it runs: everything that its keeper must know about it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

RestartPolicy = Literal["always", "on_failure", "never"]


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """The specification of one process. All spans are seconds of machine time.

    Attributes:
        argv: program and arguments; no shell reads them.
        order: groups of equal order start together, the next group once the earlier one is ready; stop is the reverse.
        restart: whether it is started again when it ends by itself; "on_failure" is any end but exit status 0.
        environment: added to the supervisor's own.
        ready_deadline_s: how long after its start `Ready` may take before it counts as hung.
        stop_grace_s: from SIGTERM to SIGKILL.
        heartbeat_limit_s: how old its last heartbeat may become; None for programs that send none.
        expects_ready: False for programs that do not say `Ready`: they count as running once started.
        log_path: its stdout and stderr are appended here; the folder is made.
    """

    name: str
    argv: tuple[str, ...]
    log_path: Path
    order: int = 0
    restart: RestartPolicy = "always"
    environment: Mapping[str, str] = {}
    ready_deadline_s: float = 30.0
    stop_grace_s: float = 10.0
    heartbeat_limit_s: float | None = None
    expects_ready: bool = True
