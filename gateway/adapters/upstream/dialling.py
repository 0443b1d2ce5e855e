"""New connections: names looked up, addresses tried, certificates verified. Nothing of a request is sent here."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import httpx
from aiohappyeyeballs import start_connection

from gateway.adapters.upstream.connection import Connection
from gateway.adapters.upstream.messages import Origin

# A burst of calls asks for a name once. In seconds.
_NAMES_LIVE: Final = 10.0
# How long an address is given before the next one is tried beside it, in seconds (RFC 8305).
_NEXT_ADDRESS: Final = 0.25

_Addresses = list[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]


class Dialler:
    """Opens connections; `tls` is what https ones are verified by."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls: Final = tls or ssl.create_default_context()
        self._lookups: Final[dict[tuple[str, int], tuple[asyncio.Future[_Addresses], float]]] = {}

    async def dial(self, origin: Origin, within: float | None, on_lost: Callable[[Connection], None]) -> Connection:
        """Open a connection, `within` seconds.

        Raises:
            httpx.UnsupportedProtocol: neither http nor https.
            httpx.ConnectTimeout, httpx.ConnectError: there is none.
        """
        if origin.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(origin.scheme)
        tls = self._tls if origin.scheme == "https" else None
        try:
            async with asyncio.timeout(within):
                addresses = await self._look_up(origin.host, origin.port or (443 if tls else 80))
                opened = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(on_lost), sock=opened, ssl=tls, server_hostname=origin.host if tls else None
                )
                return connection
        except TimeoutError as exc:
            raise httpx.ConnectTimeout("no connection in time") from exc
        except (OSError, RuntimeError, UnicodeError) as exc:
            raise httpx.ConnectError(type(exc).__name__) from exc

    async def _look_up(self, host: str, port: int) -> _Addresses:
        loop = asyncio.get_running_loop()
        lookup, until = self._lookups.get((host, port), (None, 0.0))
        if lookup is None or loop.time() >= until or (lookup.done() and lookup.exception() is not None):
            lookup = loop.run_in_executor(None, _addresses, host, port)
            self._lookups[host, port] = lookup, loop.time() + _NAMES_LIVE
        # One caller that gives up must not end the others' lookup.
        return await asyncio.shield(lookup)


def _addresses(host: str, port: int) -> _Addresses:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
