"""Messages to webhooks: signed so that the library's own check takes them, and sent to nobody else."""

import asyncio
import base64

import httpx
import pytest
from standardwebhooks import Webhook

from gateway.adapters.clock import SystemClock
from gateway.adapters.webhooks import SignedWebhooks
from gateway.core.jobs import Receipt

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
URL = "https://hooks.example/path"
BODY = '{"data":"🦊"}'.encode()


def webhooks(handler: object, secret: str = SECRET, within: float = 5.0) -> SignedWebhooks:
    return SignedWebhooks(httpx.MockTransport(handler), secret, ("hooks.example",), SystemClock(), within)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "receipt"),
    [
        (200, Receipt.TAKEN),
        (204, Receipt.TAKEN),
        (302, Receipt.FAILED),
        (404, Receipt.FAILED),
        (410, Receipt.REFUSED),
        (429, Receipt.FAILED),
        (500, Receipt.FAILED),
    ],
)
async def test_a_message_is_signed_and_its_status_read(status: int, receipt: Receipt) -> None:
    seen: list[httpx.Request] = []

    async def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, headers={"location": "https://hooks.example/other"})

    assert await webhooks(handle).post(URL, "job_1", BODY) is receipt

    [request] = seen
    assert Webhook(SECRET).verify(request.content, dict(request.headers)) == {"data": "🦊"}
    assert (str(request.url), request.headers["webhook-id"], request.content) == (URL, "job_1", BODY)
    assert request.headers.get("authorization") is None


async def test_silence_and_a_broken_connection_are_failures() -> None:
    async def silent(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError(request)

    async def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    assert await webhooks(silent, within=0.05).post(URL, "job_1", BODY) is Receipt.FAILED
    assert await webhooks(broken).post(URL, "job_1", BODY) is Receipt.FAILED


async def test_a_host_that_is_no_longer_named_is_not_called() -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request)

    assert await webhooks(never).post("https://elsewhere.example/", "job_1", BODY) is Receipt.REFUSED
    assert await webhooks(never, secret="").post(URL, "job_1", BODY) is Receipt.REFUSED
