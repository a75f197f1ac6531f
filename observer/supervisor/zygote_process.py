"""The zygote's own program, `python -m observer.supervisor.zygote_process DESCRIPTOR PRELOAD ...`: loads, then forks.

PRELOAD is a module to import, or MODULE:FUNCTION, a function to call for what it leaves in memory.
It has one thread and no socket but the one at DESCRIPTOR, which leads to the supervisor, and it ends when that closes.
For each request it forks twice and ends the process in between, so that the worker becomes a child of the supervisor,
which adopts orphans (`orphans.adopting`). The worker leads a session of its own before it reports its pid, and runs
its module only after the supervisor has answered `GO`: a worker that the supervisor does not know never runs.
"""

import contextlib
import gc
import importlib
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from observer.supervisor.lifeline import LIFELINE_VARIABLE
from observer.supervisor.linux import replace_environment_text, show_command

READY: Final = b"ready"
GO: Final = b"go"
REQUEST_BYTES_MAX: Final = 1 << 17
NOTIFY_PLACEHOLDER: Final = "@-----"  # as long as an abstract address that the kernel chooses (notify.NotifySocket)

_PARENT_CHECK_S: Final = 0.0001
_NOTIFY_VARIABLE: Final = "NOTIFY_SOCKET"
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM)  # a signal to everything of the service is for the workers


class ForkRequest(msgspec.Struct, frozen=True):
    """What a worker runs, `argv[3]` being its module, and its whole environment.

    The message carries three descriptors: the worker's end of its channel, its log, the lifeline.
    """

    argv: tuple[bytes, ...]  # as the system has them: not every argument or value is UTF-8
    environment: tuple[tuple[bytes, bytes], ...]


request_decoder: Final = msgspec.msgpack.Decoder(ForkRequest)


def main() -> None:
    """Load the modules and serve; in a worker run its module as `python -m` does."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    requests = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()  # no collection leaves gaps in the pages that the workers share
    for entry in sys.argv[2:]:
        module, _, function = entry.partition(":")
        loaded = importlib.import_module(module)
        if function:
            getattr(loaded, function)()
    gc.collect()
    gc.freeze()
    requests.send(READY)
    argv = _serve(requests)
    gc.enable()
    module, sys.argv = argv[3], list(argv[3:])
    sys.modules.pop(module, None)  # it was loaded for its imports; here it is the program
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _serve(requests: socket.socket) -> Sequence[str]:
    """Fork for each request. Returns in a worker only, with its argv; the zygote itself ends here."""
    while True:
        content, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES_MAX, 3, socket.MSG_CMSG_CLOEXEC)
        if not content:
            sys.exit(0)
        between = None
        with contextlib.suppress(OSError):  # no room for a process: the supervisor sees the channel closed
            between = os.fork()
        if between == 0:
            _fork_worker()
            requests.close()
            request = request_decoder.decode(content)
            argv = [os.fsdecode(argument) for argument in request.argv]
            _become_worker(argv, request.environment, *descriptors)
            return argv
        if between is not None:
            os.waitpid(between, 0)
        for descriptor in descriptors:
            os.close(descriptor)


def _fork_worker() -> None:
    """Fork the worker and end this process; returns in the worker, once the supervisor is its parent."""
    between = os.getpid()
    try:
        is_worker = os.fork() == 0
    except OSError:
        is_worker = False
    if not is_worker:
        os._exit(0)
    while os.getppid() == between:
        time.sleep(_PARENT_CHECK_S)


def _become_worker(
    argv: Sequence[str], environment: Iterable[tuple[bytes, bytes]], channel: int, log: int, lifeline: int
) -> None:
    """Set up this process as `subprocess.Popen` sets up a fresh one, then wait for the supervisor's `GO`."""
    os.setsid()
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)
    os.set_inheritable(lifeline, True)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _set_environment({**dict(environment), os.fsencode(LIFELINE_VARIABLE): str(lifeline).encode()})
    show_command(" ".join(argv))
    with socket.socket(fileno=channel) as supervisor:
        supervisor.send(str(os.getpid()).encode())
        if supervisor.recv(len(GO)) != GO:
            os._exit(0)


def _set_environment(environment: Mapping[bytes, bytes]) -> None:
    """Replace the environment, and in /proc the notify address that `orphans` reads."""
    os.environ.clear()
    os.environb.update(environment)
    time.tzset()
    replace_environment_text(NOTIFY_PLACEHOLDER, os.environ[_NOTIFY_VARIABLE])


if __name__ == "__main__":
    main()
