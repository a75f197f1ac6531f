"""A process with the writer's sockets on the network, as arguments runtime folder and three addresses.

It ends with its standard input.
"""

import sys
from pathlib import Path

from bus.endpoints import Endpoints, TcpEndpoints
from tests.bus.wire import Writer


def main() -> None:
    runtime, ingest, feed, batch_feed = sys.argv[1:]
    control = "tcp://127.0.0.1:1"  # nobody binds it here
    writer = Writer(
        Endpoints(Path(runtime), TcpEndpoints(ingest=ingest, feed=feed, batch_feed=batch_feed, control=control))
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    writer.stop()


if __name__ == "__main__":
    main()
