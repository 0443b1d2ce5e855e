"""Where things are: the paths clients really use for ours, and the origin by which a caller knows us."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from starlette.types import Scope

from gateway.web.scope import DEPLOYMENT, HEADERS

_DEPLOYMENT = re.compile(r"/deployments/([^/]+)(/images/[a-z]+(?:/async)?)")
_HOST = re.compile(rb"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:[0-9]{1,5})?")
_SCHEMES: Final = frozenset({b"http", b"https"})
_ROOTS: Final = ("/images/", "/models", "/media/")


@dataclass(frozen=True, slots=True)
class WebOptions:
    """The settings of the HTTP side; bytes and seconds."""

    max_body: int
    max_form: int
    keepalive_after: float = 0.0
    public_url: str = ""
    trusted_proxies: tuple[str, ...] = ()


def canonical(scope: Scope) -> str:
    """The path we serve for a path that a client asked: base URLs are mistyped in known ways.

    `/images/…` without `/v1`, `/v1/v1/…`, a trailing slash, and Azure's `/openai/deployments/{model}/images/…`, whose
    model is left in the scope. Never a redirect: clients differ on what they do with the body then.
    """
    path: str = scope["path"].rstrip("/") or "/"
    path = path.removeprefix("/openai") if path.startswith("/openai/") else path
    while path.startswith("/v1/"):
        path = path.removeprefix("/v1")
    if match := _DEPLOYMENT.fullmatch(path):
        scope[DEPLOYMENT], path = match[1], match[2]
    return f"/v1{path}" if path.startswith(_ROOTS) else path


def origin(scope: Scope, options: WebOptions) -> bytes:
    """Scheme and host under which the caller reaches us: set, told by a trusted proxy, or the request's own."""
    if options.public_url:
        return options.public_url.rstrip("/").encode()
    headers: dict[bytes, bytes] = scope[HEADERS]
    scheme: bytes = scope.get("scheme", "http").encode()
    host = headers.get(b"host", b"")
    if _from_trusted_proxy(scope, options.trusted_proxies):
        told = headers.get(b"x-forwarded-proto", b"").partition(b",")[0].strip().lower()
        scheme = told if told in _SCHEMES else scheme
        host = headers.get(b"x-forwarded-host", host).partition(b",")[0].strip()
    return b"%b://%b" % (scheme, host if _HOST.fullmatch(host) else b"localhost")


def _from_trusted_proxy(scope: Scope, trusted: tuple[str, ...]) -> bool:
    client = scope.get("client")
    if not trusted or not client:
        return False
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network, strict=False) for network in trusted)
