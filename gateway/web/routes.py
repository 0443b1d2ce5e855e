"""The route table, on one screen."""

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from gateway.core.errors import GatewayError, Kind, internal_error
from gateway.ports import Clock, Observer
from gateway.web.admin import Admin
from gateway.web.endpoints import Endpoints
from gateway.web.middleware import Dispatch, Endpoint, Front, send_reply
from gateway.web.render import Reply, error_reply, length_header
from gateway.web.scope import OUTCOME

# What a program in a browser may read of our answers.
_EXPOSED: Final = (
    "x-request-id",
    "openai-processing-ms",
    "openai-version",
    "retry-after",
    "retry-after-ms",
    "location",
    "preference-applied",
    "x-should-retry",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-images",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-images",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-images",
    "x-gateway-cache",
    "x-gateway-adjusted",
    "cache-status",
)


@dataclass(frozen=True, slots=True)
class Site:
    """What the routes are built from."""

    endpoints: Endpoints
    observer: Observer
    clock: Clock
    lifespan: Lifespan[Starlette]
    cors_origins: tuple[str, ...] = ()
    more: tuple[Route, ...] = ()


def build(site: Site) -> ASGIApp:
    """Put the endpoints under their paths."""
    endpoints = site.endpoints
    hot = {
        ("POST", "/v1/images/generations"): endpoints.generations,
        ("POST", "/v1/images/edits"): endpoints.edits,
        ("POST", "/v1/images/variations"): endpoints.variations,
        ("POST", "/v1/images/generations/async"): endpoints.generations_async,
        ("POST", "/v1/images/plan"): endpoints.plan,
    }
    routes: list[BaseRoute] = [
        *(_route(path, endpoint, method) for (method, path), endpoint in hot.items()),
        _route("/v1/images/jobs/{id}", endpoints.job),
        _route("/v1/models", endpoints.models),
        _route("/v1/models/{id:path}", endpoints.model),
        *site.more,
        _route("/livez", endpoints.live),
        _route("/readyz", endpoints.ready),
        _route("/metrics", endpoints.metrics),
        _route("/openapi.json", endpoints.openapi),
        _route("/", endpoints.greeting),
    ]
    handlers = {HTTPException: _http_error, GatewayError: _gateway_error, Exception: _fault}
    rest = Starlette(routes=routes, exception_handlers=handlers, lifespan=site.lifespan)
    rest.router.redirect_slashes = False
    app: ASGIApp = Dispatch(hot, rest, site.observer)
    if site.cors_origins:
        app = _Cors(
            app,
            allow_origins=site.cors_origins,
            allow_methods=("GET", "HEAD", "POST", "OPTIONS"),
            allow_headers=("*",),
            expose_headers=_EXPOSED,
        )
    return Front(app, site.observer, site.clock)


def media_route(endpoint: Endpoint) -> Route:
    """Where the media store is served, when there is one."""
    return _route("/v1/media/{name}", endpoint)


def admin_routes(admin: Admin) -> list[Route]:
    """Where the gateway is administered, when there is an admin key."""
    return [Route(path, _Served(methods), methods=[*methods, "OPTIONS"]) for path, methods in admin.routes().items()]


def _route(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
    return Route(path, _Served({method: endpoint}), methods=[method, "OPTIONS"])


class _Served:
    """The endpoints of a path as Starlette runs them; OPTIONS is answered for all, without a key."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = dict(endpoints)
        if "GET" in endpoints:
            self._endpoints["HEAD"] = endpoints["GET"]
        order = ("GET", "HEAD", "POST", "PATCH", "DELETE")
        self._allow = ", ".join([*(method for method in order if method in self._endpoints), "OPTIONS"]).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "OPTIONS":
            reply = Reply(204, [(b"allow", self._allow)], None, ())
        else:
            reply = await self._endpoints[scope["method"]](scope, receive)
        await send_reply(reply, send)


class _Cors(CORSMiddleware):
    """Starlette's, but for the body of a refused preflight: it is an error like every other."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == HTTPStatus.OK:
            return response
        message = f"{bytes(response.body).decode()}: the setting cors_origins names the origins that may call."
        refusal = _response(GatewayError(Kind.INVALID_HEADERS, message))
        for name, value in response.headers.items():
            refusal.headers.setdefault(name, value)
        return refusal


async def _gateway_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)  # noqa: S101 - registered for this type only
    request.scope[OUTCOME].code = error.kind.row.code
    return _response(error)


def _response(error: GatewayError) -> Response:
    reply = error_reply(error)
    response = Response(b"".join(reply.pieces) if not isinstance(reply.pieces, AsyncIterable) else b"", reply.status)
    response.raw_headers = [*reply.headers, *length_header(reply)]
    return response


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
