"""The route table, on one screen."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from gateway.core.errors import GatewayError, Kind, internal_error
from gateway.ports import Clock, Observer
from gateway.web.endpoints import Endpoints
from gateway.web.middleware import OUTCOME, Endpoint, Front
from gateway.web.render import Reply, error_reply


def build(endpoints: Endpoints, observer: Observer, clock: Clock, lifespan: Lifespan[Starlette]) -> ASGIApp:
    """Put the endpoints under their paths."""
    hot = {
        ("POST", "/v1/images/generations"): endpoints.generations,
        ("POST", "/v1/images/plan"): endpoints.plan,
    }
    routes: list[BaseRoute] = [
        *(_route(path, endpoint, method) for (method, path), endpoint in hot.items()),
        _route("/v1/models", endpoints.models),
        _route("/v1/models/{id:path}", endpoints.model),
        _route("/livez", endpoints.live),
        _route("/readyz", endpoints.ready),
        _route("/metrics", endpoints.metrics),
        _route("/", endpoints.greeting),
    ]
    handlers = {HTTPException: _http_error, GatewayError: _gateway_error, Exception: _fault}
    rest = Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)
    rest.router.redirect_slashes = False
    return Front(hot, rest, observer, clock)


def _route(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
    return Route(path, _Served(endpoint), methods=[method])


class _Served:
    """An endpoint as Starlette runs it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = await self._endpoint(scope, receive)
        await _response(reply)(scope, receive, send)


def _response(reply: Reply) -> Response:
    response = Response(b"".join(reply.pieces), reply.status)
    response.raw_headers = [*reply.headers, (b"content-length", b"%d" % reply.length)]
    return response


async def _gateway_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)  # noqa: S101 - registered for this type only
    request.scope[OUTCOME].code = error.kind.row.code
    return _response(error_reply(error))


async def _fault(request: Request, _error: Exception) -> Response:
    # Starlette raises the exception again after this answer; the front logs it there.
    return await _gateway_error(request, internal_error())


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type only
    what = f"{request.method} {request.scope['path'][:200]}"
    if error.status_code == Kind.METHOD_NOT_ALLOWED.row.status:
        allowed = (error.headers or {}).get("Allow", "")
        response = await _gateway_error(
            request, GatewayError(Kind.METHOD_NOT_ALLOWED, f"{what} is not possible; this URL takes {allowed}.")
        )
        response.headers["allow"] = allowed
        return response
    message = (
        f"Unknown URL: {what}. Pictures are drawn by POST /v1/images/generations; GET /v1/models lists the models."
    )
    return await _gateway_error(request, GatewayError(Kind.UNKNOWN_URL, message))
