"""Several waits at once."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All together; the first failure is the answer. One alone needs no task of its own."""
    return [await work[0]] if len(work) == 1 else list(await asyncio.gather(*work))


def hear(task: asyncio.Task[Any]) -> None:
    """Take notice of a failure that nobody waits for any more, or asyncio would log its text."""
    if not task.cancelled():
        task.exception()
