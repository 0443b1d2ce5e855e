"""Whether those for whom a picture is drawn are still there, asked after the loop stood still."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

import pytest
import uvloop

from gateway.flights import look_around


async def what_is_heard() -> bool:
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    ours, theirs = socket.socketpair()
    with contextlib.closing(ours), contextlib.closing(theirs):
        loop.add_reader(ours, heard.set)
        theirs.send(b".")
        await look_around()
        loop.remove_reader(ours)
    return heard.is_set()


@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_what_came_while_the_loop_stood_still_is_heard(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(what_is_heard())


async def test_who_is_cancelled_looks_no_longer() -> None:
    loop, faults = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _loop, context: faults.append(context))
    looking = loop.create_task(look_around())
    await asyncio.sleep(0)
    looking.cancel()
    await asyncio.wait((looking,))
    await asyncio.sleep(0)

    assert looking.cancelled()
    assert faults == []
