"""How each failure goes over the wire: a status and a body, or a connection that ends.

Which call fails, and why, is decided elsewhere. Bodies in 302's own shapes come from `wire`.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.simulator.options import Failure
from gateway.simulator.wire import Code, Json, documented_error, error, success, task

_RETRY_AFTER: Final = {"retry-after": "3"}
_HTML: Final = (
    b"<html>\r\n<head><title>%b</title></head>\r\n<body>\r\n<center><h1>%b</h1></center>\r\n"
    b"<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


@dataclass(frozen=True, slots=True)
class Scene:
    """What an answer may need to know of the call that fails; `url` is where its picture would have been."""

    request_id: str
    authorization: str
    model: str
    url: str
    began: float
    ended: float
    accepted: Json | None = None
    """What V2 answers at once, where it was asked for a task."""

    @property
    def success(self) -> Json:
        """The answer that the call would have had."""
        return self.accepted or success(self.model, self.url, self.began, self.ended)


def reply(body: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body), status, dict(headers or {}), "application/json")


def answer(failure: Failure, scene: Scene) -> Response:
    """The answer, or what stands for one, of a call that fails in this way."""
    return _ANSWERS[failure](scene)


class Dropped(Response):
    """No answer: the connection ends before its first byte.

    ASGI has no word for that. But a server checks a head before it writes any of it, and no server may write a header
    with a line break in it: uvicorn is left with an answer that has begun and can neither go on nor be replaced by a
    500, and closes the connection (and logs that the answer was not completed). A test holds it to that, for both of
    uvicorn's parsers.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin an answer that cannot be written."""
        del scope, receive
        with suppress(Exception):  # each server has its own exception for it, and the refusal is what we want
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x-dropped", b"\r\n")]})


class Broken(Response):
    """Half of an answer: the head promises a body, the connection ends in the middle of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head and half the body, and return without the rest; the server can only hang up."""
        del scope, receive
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})


class Hanging(Response):
    """No answer, for as long as the caller cares to wait."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait until the caller hangs up."""
        del scope, send
        await receive()  # the body has been read: all that can still come is that the caller hangs up


def _error(status: int, code: Code) -> Callable[[Scene], Response]:
    return lambda _: reply(error(code), status)


def _documented(status: int, code: str, message: str, headers: Mapping[str, str]) -> Callable[[Scene], Response]:
    return lambda scene: reply(documented_error(code, message, scene.request_id), status, headers)


def _page(status: int, title: bytes) -> Callable[[Scene], Response]:
    return lambda _: Response(_HTML % (title, title), status, media_type="text/html")


def _truncated(scene: Scene) -> Response:
    whole = orjson.dumps(scene.success)
    return Response(whole[: len(whole) // 2], media_type="application/json")


def _task_failed(scene: Scene) -> Response:
    problem = "CUDA out of memory"
    return reply({"image_url": "", "data": task(scene.model, None, scene.began, scene.ended, problem)})


def _doubao_code(_: Scene) -> Response:
    data = {"code": 50411, "message": "Pre Img Risk Not Pass", "status": 50411, "data": None, "time_elapsed": "1.2s"}
    return reply({"data": data})


def _nsfw(scene: Scene) -> Response:
    # The vendor does give a picture, all black: a URL alone is no proof of success.
    images = [{"url": scene.url, "content_type": "image/png"}]
    return reply({"image_url": scene.url, "data": {"images": images, "has_nsfw_concepts": [True], "seed": 1}})


def _echo_key(scene: Scene) -> Response:
    return reply(error(Code.NETWORK, f"upstream refused the header Authorization: {scene.authorization}"), 500)


_ANSWERS: Final[Mapping[Failure, Callable[[Scene], Response]]] = {
    Failure.BAD_REQUEST: _error(400, Code.INVALID_REQUEST),
    Failure.UNAUTHORIZED: _error(401, Code.INVALID_KEY),
    Failure.FORBIDDEN: _error(403, Code.FORBIDDEN),
    Failure.BALANCE: _error(402, Code.BALANCE),
    Failure.QUOTA: _error(403, Code.QUOTA),
    Failure.DAILY_QUOTA: _error(403, Code.DAILY_QUOTA),
    Failure.MONTHLY_QUOTA: _error(403, Code.MONTHLY_QUOTA),
    Failure.KEY_EXPIRED: _error(401, Code.EXPIRED),
    Failure.RATE_LIMITED: _documented(429, "RateLimitExceeded", "Rate limit exceeded", _RETRY_AFTER),
    Failure.NO_CHANNEL: _error(503, Code.NO_CHANNEL),
    Failure.NETWORK: _error(500, Code.NETWORK),
    Failure.AI_TIMEOUT: _error(500, Code.AI_TIMEOUT),
    Failure.GENERATION_TIMEOUT: _error(504, Code.GENERATION_TIMEOUT),
    Failure.SERVER_ERROR: _documented(500, "InternalError", "Internal server error", {}),
    Failure.BAD_GATEWAY_HTML: _page(502, b"502 Bad Gateway"),
    Failure.OK_HTML: _page(200, b"Service maintenance"),
    Failure.TRUNCATED: _truncated,
    Failure.NO_PICTURE: lambda scene: reply({"data": task(scene.model, None, scene.began, scene.ended)}),
    Failure.EMPTY_URL: lambda scene: reply(success(scene.model, "", scene.began, scene.ended)),
    Failure.TASK_FAILED: _task_failed,
    Failure.ERROR_IN_200: _error(200, Code.NO_CHANNEL),
    Failure.DOUBAO_CODE: _doubao_code,
    Failure.NSFW: _nsfw,
    Failure.RESET: lambda _: Dropped(),
    Failure.RESET_MID_BODY: lambda scene: Broken(orjson.dumps(scene.success), media_type="application/json"),
    Failure.HANG: lambda _: Hanging(),
    Failure.ECHO_KEY: _echo_key,
}
