"""Tests that are given a scene: what a context manager makes, in the event loop of the test."""

import functools
import inspect
from contextlib import AsyncExitStack

GIVEN = ("made", "running")  # the names of a test's arguments that the scene yields; all others are fixtures


def on(scene, *arguments, **named):
    """Give a coroutine what this context manager, asynchronous or not, yields: a value, or several as a tuple."""

    def given(test):
        @functools.wraps(test)
        async def played(**fixtures):
            async with AsyncExitStack() as stack:
                entered = scene(*arguments, **named)
                if hasattr(entered, "__aenter__"):
                    found = await stack.enter_async_context(entered)
                else:
                    found = stack.enter_context(entered)
                await test(*(found if isinstance(found, tuple) else (found,)), **fixtures)

        signature = inspect.signature(test)
        shown = [each for each in signature.parameters.values() if each.name not in GIVEN]
        vars(played)["__signature__"] = signature.replace(parameters=shown)
        return played

    return given
