"""Lets the faults happen: those of the script when their time comes, those that are asked for at once."""

import asyncio
from collections.abc import Sequence

from observer.clock import Clock
from observer.simulator.faults import Fault, FaultRequest
from observer.simulator.gate import Gate
from observer.simulator.listener import Listener
from observer.simulator.misbehaviour import Misbehaviour
from observer.simulator.stream import StreamSide
from observer.simulator.tally import Tally


class FaultScript:
    """The parts of the simulator that a fault reaches, and the faults on their way to them."""

    def __init__(
        self,
        misbehaviour: Misbehaviour,
        clock: Clock,
        tally: Tally,
        *,
        gate: Gate,
        stream: StreamSide,
        rest_listener: Listener,
    ) -> None:
        self._misbehaviour = misbehaviour
        self._clock = clock
        self._tally = tally
        self._gate = gate
        self._stream = stream
        self._rest_listener = rest_listener
        self._refusals: set[asyncio.Task[None]] = set()

    async def run(self, script: Sequence[Fault]) -> None:
        """Go through a script in the order of time; what began before now is not caught up with, but still runs."""
        started_ns = self._clock.now_ns()
        for fault in script:
            if fault.start_ns > started_ns:
                await self._clock.sleep_until(fault.start_ns)
                self._begin(fault)

    def begin(self, request: FaultRequest) -> Fault:
        """Let a fault happen now."""
        fault = Fault.from_now_on(request, self._clock.now_ns())
        self._misbehaviour.add(fault)
        self._begin(fault)
        return fault

    async def stop(self) -> None:
        """Forget the listeners that wait to be reopened."""
        for task in self._refusals:
            task.cancel()
        await asyncio.gather(*self._refusals, return_exceptions=True)

    def _begin(self, fault: Fault) -> None:
        """What a fault does at its first moment; most strike calls and frames one by one while they run."""
        match fault.kind:
            case "stream_cut":
                self._tally.drops += 1
                self._stream.cut_all()
            case "half_open":
                self._stream.silence_all()
            case "token_revoked":
                self._tally.faults[fault.kind] += 1
                self._gate.revoke_all_tokens()
            case "token_expired":
                self._tally.faults[fault.kind] += 1
                self._gate.expire_all_tokens(fault.start_ns)
            case "approval_revoked":
                self._tally.faults[fault.kind] += 1
                self._gate.revoke_all_approvals()
            case "rest_refused":
                self._tally.faults[fault.kind] += 1
                task = asyncio.create_task(self._refuse(fault.end_ns))
                self._refusals.add(task)
                task.add_done_callback(self._refusals.discard)
            case _:
                pass

    async def _refuse(self, end_ns: int) -> None:
        await self._rest_listener.shut()
        await self._clock.sleep_until(end_ns)
        if len(self._refusals) == 1:  # of refusals that overlap the last to end lets the callers in again
            await self._rest_listener.reopen()
