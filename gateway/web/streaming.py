"""Answers that take their time: server-sent events, and JSON that begins with white space.

Never a partial picture: 302 makes none, and an invented one would be a lie.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import orjson

from gateway.core.errors import GatewayError, internal_error
from gateway.core.order import Order, Picture
from gateway.core.outcome import Outcome
from gateway.core.request import Dialect
from gateway.flights import hear
from gateway.pipeline import Gateway
from gateway.web.render import (
    JSON,
    REPLAYED,
    USAGE,
    Headers,
    Reply,
    adjusted_header,
    all_pieces,
    encoded,
    error_body,
    error_reply,
    images_reply,
    output_format,
    size_word,
    standing_headers,
)

_HEARTBEAT: Final = b": keep-alive\n\n"
_EVENTS: Final = {
    Dialect.GENERATIONS: b"image_generation.completed",
    Dialect.EDITS: b"image_edit.completed",
    Dialect.VARIATIONS: b"image_edit.completed",
}


def stream_reply(gateway: Gateway, order: Order) -> Reply:
    """Server-sent events: the head at once, then one `completed` event a picture, as it comes."""
    headers: Headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),  # nginx would hold the events back
        *adjusted_header(order.plan.adjustments),
        *standing_headers(order.standings),
        *([REPLAYED] if order.replayed else []),
    ]
    return Reply(200, headers, None, _events(gateway, order), order.held.close)


async def _events(gateway: Gateway, order: Order) -> AsyncIterator[bytes]:
    # A first comment takes the head through proxies that wait for a body.
    yield _HEARTBEAT
    try:
        async for picture in gateway.each(order):
            if picture is None:
                yield _HEARTBEAT
            else:
                async for piece in _completed(gateway, order, picture):
                    yield piece
    except GatewayError as error:
        yield _failed(order.outcome, error)
    except Exception as error:  # noqa: BLE001 - the head is out: the error can only be told as an event
        gateway.observer.fault(order.outcome.request_id, error)
        yield _failed(order.outcome, internal_error())


async def _completed(gateway: Gateway, order: Order, picture: Picture) -> AsyncIterator[bytes]:
    name = _EVENTS[order.asked.dialect]
    yield b'event: %b\ndata: {"type":"%b","b64_json":"' % (name, name)
    async for piece in encoded(picture):
        yield piece
    if picture.data is not None:
        picture.data.close()
    created, size = int(gateway.clock.now()), (size_word(picture) or "auto").encode()
    form = (output_format(picture) or "png").encode()
    facts = b'"created_at":%d,"size":"%b","quality":"auto","background":"auto","output_format":"%b"'
    yield b'",' + facts % (created, size, form) + USAGE + b"}\n\n"


def _failed(outcome: Outcome, error: GatewayError) -> bytes:
    outcome.code = error.kind.row.code
    return b"event: error\ndata: " + orjson.dumps({"type": "error", "error": error_body(error)}) + b"\n\n"


async def kept_alive(gateway: Gateway, order: Order, origin: str, silence: float) -> Reply:
    """The ordinary reply; after `silence` seconds without it, one that begins with white space.

    For proxies that cut a silent connection. The status is 200 from then on, an error comes as the body.
    """
    task = asyncio.get_running_loop().create_task(_drawn(gateway, order, origin))
    task.add_done_callback(hear)
    await asyncio.wait((task,), timeout=silence)
    if task.done():
        return task.result()
    headers = [JSON, *adjusted_header(order.plan.adjustments), *standing_headers(order.standings)]
    return Reply(200, headers, None, _after_blanks(gateway, task, order), order.held.close)


async def _drawn(gateway: Gateway, order: Order, origin: str) -> Reply:
    return images_reply(await gateway.generate(order), origin, order.held.close)


async def _after_blanks(gateway: Gateway, task: asyncio.Task[Reply], order: Order) -> AsyncIterator[bytes]:
    while not task.done():
        yield b" "
        await asyncio.wait((task,), timeout=gateway.options.heartbeat)
    try:
        reply = task.result()
    except GatewayError as error:
        order.outcome.code = error.kind.row.code
        reply = error_reply(error)
    except Exception as error:  # noqa: BLE001 - the head is out: the error can only be told in the body
        gateway.observer.fault(order.outcome.request_id, error)
        order.outcome.code = internal_error().kind.row.code
        reply = error_reply(internal_error())
    async for piece in all_pieces(reply):
        yield piece
