"""One HTTP application on one loopback port, which can be shut for a while as if nobody listened there."""

from typing import Final

from aiohttp import web

_HOST: Final = "127.0.0.1"
_STOP_TIMEOUT_S: Final = 2.0


class Listener:
    """Start it once, stop it once; between, shut and reopen it."""

    def __init__(self, application: web.Application, port: int) -> None:
        self._port = port
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_STOP_TIMEOUT_S)
        self._site: web.TCPSite | None = None

    async def start(self) -> str:
        """Serve; returns host:port. Raises OSError when the port is taken."""
        await self._runner.setup()
        await self.reopen()
        self._port = self._runner.addresses[0][1]
        return f"{_HOST}:{self._port}"

    async def shut(self) -> None:
        """Listen no more, and cut the connections that are there."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        if self._runner.server is not None:
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()

    async def reopen(self) -> None:
        """Listen again at the same port."""
        if self._site is None:
            self._site = web.TCPSite(self._runner, _HOST, self._port)
            await self._site.start()

    async def stop(self) -> None:
        """End for good."""
        await self._runner.cleanup()
