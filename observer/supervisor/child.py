"""The specification of a supervised process."""

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
        revision: of the program's inputs at its start; a reload restarts a child whose revision has changed.
        environment: added to the supervisor's own.
        ready_deadline_s: how long after its start, or its last heartbeat, `Ready` may take before it counts as hung.
        stop_grace_s: from SIGTERM to SIGKILL.
        heartbeat_limit_s: how old its last heartbeat, or `WATCHDOG=1` over sd_notify, may become; None for programs
            that send none.
        expects_ready: False for programs that say neither `Ready` nor, over sd_notify, `READY=1`: they count as running
            once started.
        log_path: its stdout and stderr are appended here; the folder is made.
        log_bytes_max: a log longer than this moves to `NAME.1`; None lets it grow.
        logs_kept: how many moved logs stay.
        rss_bytes_max: with more memory than this, its own children's included, it is restarted; None for no limit.
        final_exits: exit statuses that another start does not change: it is given up at once.
        is_essential: the others are useless without it. It is never given up, only tried ever more slowly; a final exit
            counts before it became ready for the first time. With too much memory it goes on until it has run for
            `RestartLimits.recovered_s`: another could fill its memory again and again.
    """

    name: str
    argv: tuple[str, ...]
    log_path: Path
    order: int = 0
    revision: str = ""
    restart: RestartPolicy = "always"
    environment: Mapping[str, str] = {}
    ready_deadline_s: float = 30.0
    stop_grace_s: float = 10.0
    heartbeat_limit_s: float | None = None
    expects_ready: bool = True
    log_bytes_max: int | None = None
    logs_kept: int = 0
    rss_bytes_max: int | None = None
    final_exits: frozenset[int] = frozenset()
    is_essential: bool = False
