"""The simulator as an ASGI application: its routes, and the life of one call.

What is refused, drawn, charged or failed, and how that looks, is decided in the modules it calls; here is only their
order: key, body, rules, money, orders, time, answer. A caller who hangs up does not stop a generation, nor its charge.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final, NamedTuple

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.core.catalogue import MICRO, Catalogue
from gateway.simulator import triggers
from gateway.simulator.books import REFUSED, SUCCEEDED, Books, Call
from gateway.simulator.faults import Dropped, Hanging, Scene, answer, reply
from gateway.simulator.fields import Refusal
from gateway.simulator.gallery import Gallery
from gateway.simulator.options import Failure, Options
from gateway.simulator.request_id import RequestId
from gateway.simulator.rules import Drawing, check
from gateway.simulator.tasks import IN_TASK, Task, Tasks
from gateway.simulator.triggers import Orders
from gateway.simulator.wire import Code, Json, error, moment, success

Clock = Callable[[], float]

_LARGEST_BODY: Final = 64 * 1024 * 1024
_SCHEME: Final = "bearer "


def build(
    options: Options,
    catalogue: Catalogue,
    clock: Clock = time.time,  # noqa: TID251 - the simulator is a program of its own: this is where its time comes in
) -> Starlette:
    """Make a simulator with its own money, pictures and memory; `clock` tells the seconds since 1970."""
    simulator = _Simulator(options, catalogue, clock)
    routes = [
        Route("/302/image/generate", simulator.generate, methods=["POST"]),
        Route("/302/v2/image/generate", simulator.submit, methods=["POST"]),
        Route("/302/v2/image/fetch/{task_id}", simulator.fetch),
        Route("/gpt/imgs/{day}/{name}", simulator.picture),
        Route("/dashboard/balance", simulator.balance),
        Route("/dashboard/record/{request_id}", simulator.record),
        Route("/_simulator/calls", simulator.calls),
        Route("/_simulator/calls", simulator.forget, methods=["DELETE"]),
    ]
    unknown = {404: _unknown_path, 405: _unknown_method}
    return Starlette(routes=routes, middleware=[Middleware(RequestId)], exception_handlers=unknown)


class _Begun(NamedTuple):
    call: Call
    drawing: Drawing
    seconds: float
    failure: Failure | None


class _Simulator:
    """The endpoints, and what they share."""

    def __init__(self, options: Options, catalogue: Catalogue, clock: Clock) -> None:
        self._options = options
        self._catalogue = catalogue
        self._clock = clock
        self._lot = Random(options.seed)
        self._gallery = Gallery(self._lot)
        self._tasks = Tasks(self._lot)
        self._books = Books(round(options.balance * MICRO))

    async def generate(self, request: Request) -> Response:
        """`POST /302/image/generate`: one call from its arrival to its answer, or to its failure."""
        begun = await self._begin(request)
        if isinstance(begun, Response):
            return begun
        call, drawing, seconds, failure = begun
        await asyncio.sleep(seconds)
        return self._answer(request, call, drawing, failure)

    async def submit(self, request: Request) -> Response:
        """`POST /302/v2/image/generate`: with `run_async=true` a task, named at once; else the task at its end."""
        begun = await self._begin(request)
        if isinstance(begun, Response):
            return begun
        call, drawing, seconds, failure = begun
        if failure is not None and failure not in IN_TASK and not failure.billed:
            return self._answer(request, call, drawing, failure)
        task = Task(call, {"model": drawing.model, "prompt": drawing.prompt}, self._hang(request, drawing))
        task.failure = failure if failure in IN_TASK else None
        if request.query_params.get("run_async") != "true":
            await self._work(task, seconds, drawing)
            return reply(task.describe())
        task_id = self._tasks.start(task, self._work(task, seconds, drawing))
        accepted: Json = {"task_id": task_id, "status": "pending", "created_at": moment(call.began)}
        call.status = 200
        if failure is None or failure in IN_TASK:
            return reply(accepted)
        authorization = request.headers["authorization"]
        now = self._clock()
        return answer(failure, Scene(call.request_id, authorization, drawing.model, task.url, now, now, accepted))

    async def fetch(self, request: Request) -> Response:
        """`GET /302/v2/image/fetch/{task_id}`: how a task stands; costs nothing."""
        if refusal := self._check_key(request):
            return _refuse(refusal)
        task = self._tasks.get(request.path_params["task_id"])
        return reply(task.describe()) if task else _refuse(Refusal(404, Code.NOT_FOUND))

    async def picture(self, request: Request) -> Response:
        """A picture by its URL; no key is needed."""
        picture = await self._gallery.look(request.url.path)
        return Response(picture, media_type="image/png") if picture else _refuse(Refusal(404, Code.NOT_FOUND))

    async def balance(self, request: Request) -> Response:
        """`GET /dashboard/balance`."""
        if refusal := self._check_key(request):
            return _refuse(refusal)
        return reply({"data": {"balance": self._books.balance()}})

    async def record(self, request: Request) -> Response:
        """`GET /dashboard/record/{request_id}`: what a call cost."""
        if refusal := self._check_key(request):
            return _refuse(refusal)
        record = self._books.record(request.path_params["request_id"])
        return reply({"data": record}) if record else reply({"code": -1, "msg": "record not found"}, 404)

    async def calls(self, _: Request) -> Response:
        """The newest calls, oldest first, for tests."""
        return Response(orjson.dumps([call.describe() for call in self._books.calls]), media_type="application/json")

    async def forget(self, _: Request) -> Response:
        """Empty the list of calls; the money and the records stay."""
        self._books.calls.clear()
        return Response(status_code=204)

    async def _begin(self, request: Request) -> _Begun | Response:
        """Note a call, and answer it where it is refused."""
        call = Call(request.scope["request_id"], _key(request)[-4:], self._clock())
        admitted = await self._admit(request, call)
        self._books.enter(call)
        if isinstance(admitted, Refusal):
            call.status, call.outcome = admitted.status, REFUSED
            return _refuse(admitted)
        drawing, orders = admitted
        return _Begun(call, drawing, self._latency(orders), orders.failure_of(_key(request)) or self._draw_failure())

    async def _admit(self, request: Request, call: Call) -> tuple[Drawing, Orders] | Refusal:
        if refusal := self._check_key(request):
            return refusal
        body = await _body(request)
        if body is None:
            return Refusal(413, Code.TOO_LARGE)
        try:
            call.payload = orjson.loads(body)
        except orjson.JSONDecodeError:
            return Refusal(400, Code.INVALID_REQUEST, "the body must be JSON")
        drawing = check(call.payload, self._catalogue)
        if isinstance(drawing, Refusal):
            return drawing
        call.model = drawing.model
        if self._price(drawing) > self._books.left:
            return Refusal(402, Code.BALANCE)
        orders = triggers.read(drawing.prompt)
        return orders if isinstance(orders, Refusal) else (drawing, orders)

    def _answer(self, request: Request, call: Call, drawing: Drawing, failure: Failure | None) -> Response:
        ended = self._clock()
        url = self._hang(request, drawing)
        if failure is None:
            call.status = 200
            self._books.settle(call, SUCCEEDED, ended, self._price(drawing))
            return reply(success(drawing.model, url, call.began, ended))
        authorization = request.headers["authorization"]
        response = answer(failure, Scene(call.request_id, authorization, drawing.model, url, call.began, ended))
        call.status = None if isinstance(response, Dropped | Hanging) else response.status_code
        self._books.settle(call, failure, ended, self._price(drawing) if failure.billed else 0)
        return response

    def _hang(self, request: Request, drawing: Drawing) -> str:
        """The URL at which a drawing will be seen."""
        if drawing.seed is None:  # as with a real model: who names no seed gets another picture each time
            drawing = replace(drawing, seed=self._lot.getrandbits(31))
        origin = self._options.public_origin or f"{request.url.scheme}://{request.url.netloc}"
        return origin.rstrip("/") + self._gallery.hang(drawing, time.strftime("%Y%m%d", time.gmtime(self._clock())))

    async def _work(self, task: Task, seconds: float, drawing: Drawing) -> None:
        """The life of a task: it takes its time, and is charged when it is done, once."""
        await asyncio.sleep(seconds)
        if task.failure is Failure.HANG:
            return
        task.ended = self._clock()
        task.call.status = 200
        failed = task.failure is not None
        self._books.settle(task.call, task.failure or SUCCEEDED, task.ended, 0 if failed else self._price(drawing))

    def _check_key(self, request: Request) -> Refusal | None:
        key = _key(request)
        if not key:
            return Refusal(401, Code.MISSING_KEY)
        good = key in self._options.keys if self._options.keys else key.startswith("sk-")
        # 302's own err_code for a wrong key is not known, only its words; -10002 is what it says of a disabled one.
        return None if good else Refusal(401, Code.INVALID_KEY)

    def _price(self, drawing: Drawing) -> int:
        return self._catalogue.models[drawing.model].price

    def _draw_failure(self) -> Failure | None:
        if not self._options.failures or self._lot.random() >= self._options.failure_rate:
            return None
        return self._lot.choice(self._options.failures)

    def _latency(self, orders: Orders) -> float:
        if orders.delay is not None:
            return orders.delay
        return max(0.0, self._options.delay + self._lot.uniform(-1, 1) * self._options.jitter)


def _key(request: Request) -> str:
    header = request.headers.get("authorization", "")
    return header[len(_SCHEME) :].strip() if header.lower().startswith(_SCHEME) else ""


async def _body(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            return None
    return bytes(body)


def _refuse(refusal: Refusal) -> Response:
    return reply(error(refusal.code, refusal.detail), refusal.status)


async def _unknown_path(_: Request, __: Exception) -> Response:
    return _refuse(Refusal(404, Code.NOT_FOUND))


async def _unknown_method(_: Request, __: Exception) -> Response:
    return _refuse(Refusal(405, Code.NOT_SUPPORTED))
