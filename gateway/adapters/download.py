"""The guarded fetcher: image bytes from where pictures may lie, and from nowhere else.

Allowed are the upstream's own origin, the operator's `image_hosts`, and any https host all of whose addresses are
public. An address is resolved once, checked, and connected to as it was checked: a second answer of the DNS has no say.
"""

import asyncio
import ipaddress
import random
import re
import socket
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.core.errors import GatewayError, Kind
from gateway.core.held import Held
from gateway.core.picture import is_http_url
from gateway.ports import Clock, Shelf

MAX_BYTES: Final = 50 * 1024 * 1024
_HOPS: Final = 2
_ATTEMPTS: Final = 4
_FETCH_TIMEOUT: Final = 60.0
_HTTPS: Final = 443
# 4xx is a host's last word, but for these: a fresh picture may not have reached the whole CDN yet.
_MAY_COME: Final = frozenset({403, 404, 408, 425, 429})
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
# Local NAT64 (RFC 8215), addresses that begin with an IPv4 one's zeros (RFC 4291, withdrawn), site-local (RFC 3879).
_NEVER: Final = tuple(map(ipaddress.IPv6Network, ("64:ff9b:1::/48", "::/96", "fec0::/10")))
# 302's own clients show a browser's agent to its file host; ours is honest and adds what the host may look for.
_HEADERS: Final = [
    ("accept", "image/*"),
    ("accept-encoding", "identity"),
    ("user-agent", "Mozilla/5.0 (compatible; gateway302)"),
]


class _Refused(Exception):  # noqa: N818 - a verdict, never seen outside
    """A URL or an answer that must not be used; trying again would not help."""


class _Failed(Exception):  # noqa: N818 - as above
    """A fetch that went wrong; trying again may help."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """Where the guard does not ask for public addresses: the upstream's origin, and exact `host[:port]` entries."""

    origin: tuple[str, str, int]
    mirrors: frozenset[tuple[str, int | None]]

    @classmethod
    def of(cls, upstream_url: str, image_hosts: Iterable[str]) -> "Hosts":
        """Read the settings."""
        url = httpx.URL(upstream_url)
        pairs = (httpx.URL(f"https://{host}") for host in image_hosts)
        return cls((url.scheme, url.host, _port(url)), frozenset((pair.host, pair.port) for pair in pairs))

    def trusted(self, url: httpx.URL) -> bool:
        """Whether this very host and port were named by the operator."""
        named = {(url.host, _port(url)), (url.host, None)}
        return (url.scheme, url.host, _port(url)) == self.origin or bool(named & self.mirrors)


class PublicResolver(AbstractResolver):
    """Resolves a name and refuses it when any of its addresses is not public."""

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a host; raises OSError where one of them must not be reached."""
        found = await self._resolver.resolve(host, port, family)
        if not found or not all(is_public(entry["host"]) for entry in found):
            message = "an address of the host is not public"
            raise OSError(message)
        return found

    async def close(self) -> None:
        """Close the resolver behind."""
        await self._resolver.close()


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet, however it is wrapped (mapped, 6to4, Teredo, NAT64)."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if any(ip in network for network in _NEVER):
            return False
    return ip.is_global and not ip.is_multicast


class GuardedDownloader:
    """Fetches pictures: `public` connects only to checked addresses, `trusted` to the hosts the operator named."""

    def __init__(
        self,
        public: httpx.AsyncBaseTransport,
        trusted: httpx.AsyncBaseTransport,
        hosts: Hosts,
        shelf: Shelf,
        clock: Clock,
    ) -> None:
        self._public: Final = public
        self._trusted: Final = trusted
        self._hosts: Final = hosts
        self._shelf: Final = shelf
        self._clock: Final = clock
        self._slots: Final = asyncio.Semaphore(32)

    async def fetch(self, url: str, deadline: float) -> Held:
        """Fetch a picture before the deadline (monotonic seconds), trying a few times: it is paid, and asking is free.

        It is fetched whole, so that what can go wrong has gone wrong before anything is answered.

        Raises:
            GatewayError: `image_unavailable`, in the same words whatever the cause.
        """
        remaining = min(_FETCH_TIMEOUT, deadline - self._clock.monotonic())
        try:
            async with asyncio.timeout(remaining), self._slots:
                return await self._persist(url)
        except (TimeoutError, _Refused, _Failed) as exc:
            message = (
                "The picture was made, but its bytes cannot be fetched now; ask again and only the fetch is repeated."
            )
            raise GatewayError(Kind.IMAGE_UNAVAILABLE, message) from exc

    async def _persist(self, url: str) -> Held:
        for attempt in range(_ATTEMPTS - 1):
            try:
                return await self._follow(url)
            except _Failed:
                # Full jitter: many pictures of one host fail together and must not come back together.
                await asyncio.sleep(random.uniform(0, 0.25 * 2**attempt))  # noqa: S311 - not a secret
        return await self._follow(url)

    async def _follow(self, url: str) -> Held:
        for _ in range(_HOPS + 1):
            target = self._checked(url)
            transport = self._trusted if self._hosts.trusted(target) else self._public
            request = httpx.Request(
                "GET", target, headers=_HEADERS, extensions={"timeout": {"connect": 3.0, "read": 20.0}}
            )
            try:
                response = await transport.handle_async_request(request)
            except httpx.TransportError as exc:
                raise _Failed from exc
            try:
                location = response.headers.get("location")
                if response.status_code in {301, 302, 303, 307, 308} and location:
                    url = _joined(target, location)
                    continue
                return await self._take(response)
            finally:
                await response.aclose()
        raise _Refused

    async def _take(self, response: httpx.Response) -> Held:
        if not response.is_success:
            raise _Failed if response.status_code in _MAY_COME or response.is_server_error else _Refused
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _Refused
        length = response.headers.get("content-length", "")
        try:
            held = await self._shelf.hold(_chunks(response), int(length) if _LENGTH.fullmatch(length) else None)
        except (httpx.TransportError, OSError) as exc:
            raise _Failed from exc
        if held.media_type is None:
            held.close()
            raise _Refused
        return held

    def _checked(self, url: str) -> httpx.URL:
        if not is_http_url(url):
            raise _Refused
        try:
            target = httpx.URL(url)
            if self._hosts.trusted(target):
                return target
        except (httpx.InvalidURL, ValueError) as exc:
            # ValueError: a host that is no name, which httpx only notices when it is asked for it.
            raise _Refused from exc
        # A literal address never meets the resolver, so it is refused here.
        if target.scheme != "https" or _port(target) != _HTTPS or _is_literal(target.host):
            raise _Refused
        return target


def _joined(base: httpx.URL, location: str) -> str:
    try:
        return str(base.join(location))
    except (httpx.InvalidURL, ValueError) as exc:
        raise _Refused from exc


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > MAX_BYTES:
            raise _Refused
        yield chunk


def _port(url: httpx.URL) -> int:
    return url.port or (_HTTPS if url.scheme == "https" else 80)


def _is_literal(host: str) -> bool:
    # 127.1, 0x7f.1 and 2130706433 are addresses to a resolver too: a name has a letter in its last label.
    last = host.rstrip(".").rpartition(".")[2]
    return ":" in host or not last or last[0].isdigit() or aiohttp.helpers.is_ip_address(host)
