"""Several waits at once."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All together; the first failure is the answer. One alone needs no task of its own."""
    return [await work[0]] if len(work) == 1 else list(await asyncio.gather(*work))


async def as_they_come(work: Sequence[Coroutine[Any, Any, T]], silence: float) -> AsyncIterator[T | None]:
    """Each result as it comes, and None whenever none came for `silence` seconds; the first failure ends it.

    Who stops listening ends the waiting, not what is waited for.
    """
    loop = asyncio.get_running_loop()
    waiting = {loop.create_task(one) for one in work}
    for task in waiting:
        task.add_done_callback(hear)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=silence, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
            if not done:
                yield None
    finally:
        for task in waiting:
            task.cancel()


def hear(task: asyncio.Future[Any]) -> None:
    """Take notice of a failure that nobody waits for any more, or asyncio would log its text."""
    if not task.cancelled():
        task.exception()
