"""The calls that are the simulator's own, beside KIS's: let a fault happen, and ask what was seen.

POST /simulator/faults         {"kind": "half_open", "for_s": 30}   ->   the fault with its moments
GET  /simulator/counters                                            ->   SimulatorCounters
GET  /simulator/registrations                                       ->   the ledger of offered and sent trades

They are at the REST listener, which is on loopback only, and no fault but `rest_refused` strikes them.
"""

from collections.abc import Callable

import msgspec
from aiohttp import web

from observer.simulator.faults import Fault, FaultRequest
from observer.simulator.ledger import Ledger
from observer.simulator.rest_faults import CONTROL_PATH
from observer.simulator.tally import SimulatorCounters


def add_control(
    application: web.Application,
    begin: Callable[[FaultRequest], Fault],
    counters: Callable[[], SimulatorCounters],
    ledger: Ledger,
) -> None:
    """Add the simulator's own calls to the application of the REST host."""

    async def begin_fault(request: web.Request) -> web.Response:
        try:
            wanted = msgspec.json.decode(await request.read(), type=FaultRequest)
        except msgspec.DecodeError as error:
            return _json({"error": str(error)}, status=400)
        return _json(begin(wanted))

    async def tell_counters(request: web.Request) -> web.Response:
        del request
        return _json(counters())

    async def tell_registrations(request: web.Request) -> web.Response:
        del request
        return _json(ledger.registrations())

    application.router.add_post(f"{CONTROL_PATH}faults", begin_fault)
    application.router.add_get(f"{CONTROL_PATH}counters", tell_counters)
    application.router.add_get(f"{CONTROL_PATH}registrations", tell_registrations)


def _json(content: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")
