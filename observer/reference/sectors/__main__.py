"""`python -m observer.reference.sectors`: one run of the enrichment in a process of its own, for the worker that starts
it.

Stdin is an `EnrichmentProcess` as JSON: a database URL may hold a password, which an argument would show to all. The
exit status is that of `observer enrich run`; an error is the last line on stderr.
"""

import asyncio
import contextlib
import sys

import msgspec

from bus.endpoints import BusError
from observer.base import logs
from observer.base.clock import clock_from_environment
from observer.base.errors import ObserverError
from observer.reference.sectors.options import EnrichmentProcess
from observer.reference.sectors.run import enrich, exit_status


def main() -> int:
    """Run the process described on stdin."""
    try:
        wanted = EnrichmentProcess.from_json(sys.stdin.buffer.read())
        logs.set_up("enrich", clock_from_environment(), head=wanted.log_head)
        return exit_status(asyncio.run(enrich(wanted.options, contextlib.nullcontext(wanted.ingest))))
    except (ObserverError, BusError, msgspec.MsgspecError) as error:
        sys.stderr.write(f"observer.reference.sectors: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
