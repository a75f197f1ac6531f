"""SIGINT and SIGTERM as a request to stop: to commands, and to the processes that they start."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def stopping_on_signals(stopping: asyncio.Event) -> Iterator[None]:
    """SIGINT and SIGTERM ask for an orderly stop; a second one is no different, and children have their own grace."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stopping.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def stop_process(process: asyncio.subprocess.Process, grace_s: float) -> int:
    """Ask the process to end, and kill it after `grace_s` machine seconds. Returns its exit status."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(grace_s):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()
