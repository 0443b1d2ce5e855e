"""`/admin/v1`: teams, keys, audit and ledger, for whoever holds the admin key.

Guard clauses around the service that the commands use too. No key of a caller works here, and the admin key nowhere
else; without an admin key there are no such paths.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

import orjson
from starlette.types import Receive, Scope

from gateway.core.errors import GatewayError, Kind, invalid_value
from gateway.core.keys import credentials
from gateway.core.outcome import Outcome
from gateway.core.pages import Page, Sought, Wanted, read_sought, read_wanted
from gateway.core.usage import Asked, as_csv, read_asked
from gateway.ports import DatabaseUnavailableError
from gateway.web.middleware import Endpoint, read_body
from gateway.web.render import Reply, error_reply, json_reply
from gateway.web.scope import HEADERS, begin

Json = dict[str, Any]

ACTOR: Final = "admin"
ROOT: Final = "/admin/v1"
_MOST_BODY: Final = 64 * 1024
_NO_STORE: Final = (b"cache-control", b"no-store")
_PAGED: Final = ("limit", "after")
_CSV: Final = (b"content-type", b"text/csv; charset=utf-8")
_OF_USAGE: Final = ("by", "team", "key", "model", "since", "until", "format")
_SOUGHT: Final = ("team", "key", "state", "model", "since", "until")


class _Teams(Protocol):
    """Teams and keys; raises `GatewayError` and `DatabaseUnavailableError`."""

    async def teams(self, wanted: Wanted) -> Page: ...
    async def team(self, name: str) -> Json: ...
    async def create_team(self, actor: str, data: Mapping[str, object]) -> Json: ...
    async def change_team(self, actor: str, name: str, data: Mapping[str, object]) -> Json: ...
    async def keys(self, wanted: Wanted, team: str | None = None) -> Page: ...
    async def key(self, id_: str) -> Json: ...
    async def create_key(self, actor: str, team: str, data: Mapping[str, object]) -> Json: ...
    async def change_key(self, actor: str, id_: str, data: Mapping[str, object]) -> Json: ...
    async def rotate_key(self, actor: str, id_: str, data: Mapping[str, object]) -> Json: ...
    async def revoke_key(self, actor: str, id_: str) -> Json: ...


class _History(Protocol):
    """What was done and drawn, and what a person says it cost; raises as `_Teams`."""

    async def audit(self, wanted: Wanted) -> Page: ...
    async def generations(self, wanted: Wanted, sought: Sought) -> Page: ...
    async def generation(self, id_: str) -> Json: ...
    async def settle(self, actor: str, id_: str, data: Mapping[str, object]) -> Json: ...


class _Report(Protocol):
    """What was used; raises as `_Teams`."""

    async def usage(self, asked: Asked) -> list[Json]: ...


@dataclass(frozen=True, slots=True)
class Request:
    """A request of whoever holds the admin key: what its path names, its query and its body."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Json

    @property
    def page(self) -> Wanted:
        """The page it wants. Raises GatewayError: `invalid_value`."""
        return read_wanted(self.query.get("limit"), self.query.get("after"))


Work = Callable[[Request], Awaitable[Json | Reply]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path: what it does, its status, and the names its query may have."""

    work: Work
    status: int = 200
    query: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Admin:
    """The endpoints. `upstream_keys` tells the state of the keys of 302.AI, `reload` reads settings and files anew."""

    key: str
    roster: _Teams
    history: _History
    report: _Report
    upstream_keys: Callable[[], list[Json]]
    reload: Callable[[], Awaitable[Json]]

    def routes(self) -> dict[str, dict[str, Endpoint]]:
        """The endpoints by path and method."""
        return {
            f"{ROOT}/{path}": {method: self._guarded(operation) for method, operation in methods.items()}
            for path, methods in self._operations().items()
        }

    def _operations(self) -> dict[str, dict[str, Operation]]:
        roster, history, off = self.roster, self.history, {"disabled": True}
        return {
            "teams": {
                "GET": Operation(self._teams, query=_PAGED),
                "POST": Operation(lambda request: roster.create_team(ACTOR, request.body), 201),
            },
            "teams/{name}": {
                "GET": Operation(lambda request: roster.team(request.path["name"])),
                "PATCH": Operation(lambda request: roster.change_team(ACTOR, request.path["name"], request.body)),
                "DELETE": Operation(lambda request: roster.change_team(ACTOR, request.path["name"], off)),
            },
            "teams/{name}/keys": {
                "GET": Operation(self._keys, query=_PAGED),
                "POST": Operation(lambda request: roster.create_key(ACTOR, request.path["name"], request.body), 201),
            },
            "keys": {"GET": Operation(self._keys, query=_PAGED)},
            "keys/{id}": {
                "GET": Operation(lambda request: roster.key(request.path["id"])),
                "PATCH": Operation(lambda request: roster.change_key(ACTOR, request.path["id"], request.body)),
                "DELETE": Operation(self._revoke),
            },
            "keys/{id}/rotate": {
                "POST": Operation(lambda request: roster.rotate_key(ACTOR, request.path["id"], request.body))
            },
            "keys/{id}/revoke": {"POST": Operation(self._revoke)},
            "audit": {"GET": Operation(self._audit, query=_PAGED)},
            "generations": {"GET": Operation(self._generations, query=(*_PAGED, *_SOUGHT))},
            "generations/{id}": {"GET": Operation(lambda request: history.generation(request.path["id"]))},
            "generations/{id}/settle": {
                "POST": Operation(lambda request: history.settle(ACTOR, request.path["id"], request.body))
            },
            "usage": {"GET": Operation(self._usage, query=_OF_USAGE)},
            "reload": {"POST": Operation(lambda _request: self.reload())},
            "upstream-keys": {"GET": Operation(self._upstream_keys)},
        }

    async def _teams(self, request: Request) -> Json:
        return (await self.roster.teams(request.page)).told()

    async def _keys(self, request: Request) -> Json:
        return (await self.roster.keys(request.page, request.path.get("name"))).told()

    async def _revoke(self, request: Request) -> Json:
        return await self.roster.revoke_key(ACTOR, request.path["id"])

    async def _audit(self, request: Request) -> Json:
        return (await self.history.audit(request.page)).told()

    async def _generations(self, request: Request) -> Json:
        return (await self.history.generations(request.page, read_sought(request.query))).told()

    async def _usage(self, request: Request) -> Json | Reply:
        asked = read_asked(request.query)
        rows = await self.report.usage(asked)
        if asked.format == "csv":
            body = as_csv(rows, asked.by).encode()
            return Reply(200, [_CSV, _NO_STORE], len(body), (body,))
        return Page(rows).told()

    async def _upstream_keys(self, _request: Request) -> Json:
        return Page(self.upstream_keys()).told()

    def _guarded(self, operation: Operation) -> Endpoint:
        async def endpoint(scope: Scope, receive: Receive) -> Reply:
            outcome = begin(scope, "admin")
            try:
                self._authenticate(scope)
                request = Request(scope["path_params"], _query(scope, operation.query), await _body(scope, receive))
                told = await operation.work(request)
            except GatewayError as error:
                return _failed(outcome, error)
            except DatabaseUnavailableError:
                message = "The database is away; what was asked may have been done all the same."
                return _failed(outcome, GatewayError(Kind.STORE_UNAVAILABLE, message))
            return told if isinstance(told, Reply) else json_reply(told, operation.status, [_NO_STORE])

        return endpoint

    def _authenticate(self, scope: Scope) -> None:
        secret = credentials(scope[HEADERS].get(b"authorization"), None) or b""
        # Of digests, so that not even the length shows in the time it takes.
        given, right = hashlib.sha256(secret).digest(), hashlib.sha256(self.key.encode()).digest()
        if not hmac.compare_digest(given, right):
            message = "This needs the admin key: `Authorization: Bearer GATEWAY_ADMIN_KEY`."
            raise GatewayError(Kind.INVALID_API_KEY, message)


def _failed(outcome: Outcome, error: GatewayError) -> Reply:
    outcome.code = error.kind.row.code
    reply = error_reply(error)
    reply.headers.append(_NO_STORE)
    return reply


def _query(scope: Scope, known: tuple[str, ...]) -> dict[str, str]:
    try:
        pairs = parse_qsl(scope["query_string"].decode("ascii"), max_num_fields=20, errors="strict")
    except ValueError as error:
        raise GatewayError(Kind.INVALID_VALUE, "The query cannot be read.") from error
    for name, value in pairs:
        if name not in known:
            takes = f"there are {', '.join(known)}" if known else "this takes none"
            raise invalid_value(name[:60], f"There is no parameter {name[:60]!r}; {takes}.")
        if not value.isprintable():
            raise invalid_value(name, f"{name} has characters that nothing is named with.")
    return dict(pairs)


async def _body(scope: Scope, receive: Receive) -> Json:
    """The JSON object of a request; an absent body is an empty one."""
    if scope["method"] in {"GET", "HEAD"}:
        return {}
    data = await read_body(scope, receive, _MOST_BODY)
    try:
        body = orjson.loads(data) if data.strip() else {}
    except orjson.JSONDecodeError as error:
        raise GatewayError(Kind.INVALID_JSON, "The body is not JSON.") from error
    if not isinstance(body, dict):
        raise GatewayError(Kind.INVALID_JSON, "The body must be a JSON object.")
    return body
