"""Heads that no honest client sends are refused before anything is read of them."""

import pytest

from tests.web.served import PATH, Web

GUARDED = [
    ("101-headers", [(f"x-{number}", "y") for number in range(101)]),
    ("one-long-value", [("x-long", "y" * 33_000)]),
    ("many-values", [(f"x-{number}", "y" * 1_000) for number in range(40)]),
    ("the-same-name-again-and-again", [("x-same", "y" * 1_000) for _ in range(40)]),
    ("long-names", [(f"x-{'y' * 1_000}-{number}", "z") for number in range(40)]),
    ("cookies", [("cookie", "y" * 4_000) for _ in range(10)]),
    ("two-idempotency-keys", [("idempotency-key", "one"), ("idempotency-key", "another")]),
]


@pytest.mark.parametrize("headers", [headers for _, headers in GUARDED], ids=[name for name, _ in GUARDED])
@pytest.mark.parametrize("path", [PATH, "/livez", "/nowhere"])
def test_heads_that_cannot_be_meant_are_refused(web: Web, headers: list[tuple[str, str]], path: str) -> None:
    answer = web.client.request("POST" if path == PATH else "GET", path, headers=headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_headers")
    assert answer.headers["x-request-id"]


def test_what_a_proxy_and_a_browser_add_is_no_matter(web: Web) -> None:
    headers = [(f"x-forwarded-{number}", "10.0.0.1, 10.0.0.2") for number in range(60)] + [("cookie", "c" * 8_000)]

    assert web.client.get("/livez", headers=headers).status_code == 200
