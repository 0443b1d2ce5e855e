"""Where a webhook may be."""

import orjson
import pytest

from gateway.core.errors import GatewayError
from gateway.core.webhooks import webhook_in

HOSTS = ("Hooks.example", "inside.example:8080", "[::1]:9000")


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example",
        "https://HOOKS.example/path?query=%20&a=b",
        "https://hooks.example:443/",
        "http://inside.example:8080/a",
        "https://inside.example:8080/a",
        "https://[::1]:9000/",
    ],
)
def test_a_host_that_is_named_may_be_called(url: str) -> None:
    assert webhook_in(orjson.dumps({"webhook": url}), HOSTS) == url


@pytest.mark.parametrize("body", [{}, {"webhook": None}, {"webhook": ""}, {"prompt": "x"}])
@pytest.mark.parametrize("hosts", [(), HOSTS])
def test_none_is_none(body: dict[str, str], hosts: tuple[str, ...]) -> None:
    assert webhook_in(orjson.dumps(body), hosts) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/",
        "http://hooks.example:443/",
        "https://hooks.example:444/",
        "https://inside.example/",
        "http://inside.example/",
        "https://sub.hooks.example/",
        "https://hooks.example.evil.example/",
        "https://hooks.example@evil.example/",
        "https://hooks.example\\@evil.example/",
        "https://evil.example#hooks.example",
        "https://hooks.example#fragment",
        "https://hooks.example/a b",
        "https://hooks.example/\r\nx: y",
        "https://hooks.example/\n",
        "https://hooks.example/ü",
        "ftp://hooks.example/",
        "//hooks.example/",
        "https://",
        "https://hooks.example/" + "a" * 2048,
        7,
        ["https://hooks.example/"],
        {"url": "https://hooks.example/"},
    ],
)
def test_any_other_is_refused(url: object) -> None:
    with pytest.raises(GatewayError) as caught:
        webhook_in(orjson.dumps({"webhook": url}), HOSTS)

    assert (caught.value.kind.row.code, caught.value.param) == ("invalid_value", "webhook")


def test_without_hosts_it_is_told_why() -> None:
    with pytest.raises(GatewayError, match="webhook_hosts"):
        webhook_in(b'{"webhook": "https://hooks.example/"}', ())
