"""Messages to webhooks, signed as Standard Webhooks has it, and sent only to hosts that the operator named."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

import httpx
from standardwebhooks import Webhook

from gateway import __version__
from gateway.core.jobs import Receipt
from gateway.core.webhooks import is_allowed
from gateway.ports import Clock

_WITHIN: Final = 10.0
_CONNECT_WITHIN: Final = 5.0
_GONE: Final = 410


class SignedWebhooks:
    """Calls webhooks; without a secret, none. `within` is in seconds."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        secret: str,
        hosts: Collection[str],
        clock: Clock,
        within: float = _WITHIN,
    ) -> None:
        self._transport: Final = transport
        self._signer: Final = Webhook(secret) if secret else None
        self._hosts: Final = hosts
        self._clock: Final = clock
        self._within: Final = within

    async def post(self, url: str, id_: str, body: bytes) -> Receipt:
        """Send a message once, without following redirects; what is answered but the status is not read.

        A host that the settings no longer name is refused: they may be others than when the job was taken.
        """
        if self._signer is None or not is_allowed(url, self._hosts):
            return Receipt.REFUSED
        at = datetime.fromtimestamp(int(self._clock.now()), UTC)
        headers = {
            "content-type": "application/json",
            "user-agent": f"gateway302/{__version__}",
            "webhook-id": id_,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": self._signer.sign(id_, at, body.decode()),
        }
        timeout = {"connect": min(_CONNECT_WITHIN, self._within), "read": self._within}
        request = httpx.Request("POST", url, headers=headers, content=body, extensions={"timeout": timeout})
        try:
            async with asyncio.timeout(self._within):
                response = await self._transport.handle_async_request(request)
                await response.aclose()
        except (TimeoutError, httpx.TransportError):
            return Receipt.FAILED
        if response.status_code == _GONE:
            return Receipt.REFUSED
        return Receipt.TAKEN if response.is_success else Receipt.FAILED
