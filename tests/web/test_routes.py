"""Every answer of every path is JSON in OpenAI's shape, and has an id to ask about."""

import re

import httpx
import pytest

from tests.web.served import PATH, Web

ANSWERS = [
    ("GET", "/", 200, None),
    ("GET", "/livez", 200, None),
    ("GET", "/readyz", 200, None),
    ("GET", "/v1/models", 200, None),
    ("GET", "/v1/models/dall-e-3", 200, None),
    ("GET", "/v1/models/Stable_SD3-t2i", 200, None),
    ("GET", "/v1/models/302ai-flux-dev-t2i?api-version=1", 200, None),
    ("GET", "/v1/models/302%2Fflux-pro", 404, "model_not_found"),
    ("GET", "/v1/models/no-such-model", 404, "model_not_found"),
    ("GET", "/v1", 404, "unknown_url"),
    ("GET", "/v1/v1/v1", 404, "unknown_url"),
    ("GET", "/favicon.ico", 404, "unknown_url"),
    ("GET", "/v1/images", 404, "unknown_url"),
    ("POST", "/v1/chat/completions", 404, "unknown_url"),
    ("GET", "/.env", 404, "unknown_url"),
    ("GET", "/%F0%9F%A6%8A", 404, "unknown_url"),
    ("GET", PATH, 405, "method_not_allowed"),
    ("PUT", PATH, 405, "method_not_allowed"),
    ("DELETE", "/v1/models/dall-e-3", 405, "method_not_allowed"),
    ("POST", "/v1/models", 405, "method_not_allowed"),
    ("GET", "/v1/images/plan", 405, "method_not_allowed"),
    ("POST", "/livez", 405, "method_not_allowed"),
    ("POST", "/metrics", 405, "method_not_allowed"),
    ("TRACE", "/", 405, "method_not_allowed"),
]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"), ANSWERS, ids=[f"{method} {path}" for method, path, _, _ in ANSWERS]
)
def test_each_path_and_method_has_its_answer(web: Web, method: str, path: str, status: int, code: str | None) -> None:
    answer = web.client.request(method, path)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    if code is None:
        assert "error" not in answer.json()
        return
    error = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert (error["code"], error["type"]) == (code, "invalid_request_error")
    assert answer.headers["x-should-retry"] == "false"


ALLOWED = [
    (PATH, {"POST"}),
    ("/v1/images/plan", {"POST"}),
    ("/v1/models", {"GET", "HEAD"}),
    ("/v1/models/dall-e-3", {"GET", "HEAD"}),
    ("/livez", {"GET", "HEAD"}),
    ("/readyz", {"GET", "HEAD"}),
    ("/metrics", {"GET", "HEAD"}),
    ("/", {"GET", "HEAD"}),
]


@pytest.mark.parametrize(("path", "methods"), ALLOWED, ids=[path for path, _ in ALLOWED])
def test_a_wrong_method_is_told_the_right_ones(web: Web, path: str, methods: set[str]) -> None:
    answer = web.client.request("PATCH", path)

    assert set(re.split(r",\s*", answer.headers["allow"])) - {"OPTIONS"} == methods
    assert all(method in answer.json()["error"]["message"] for method in methods)


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/v1/models", "/v1/models/dall-e-3"])
def test_head_is_get_without_its_body(web: Web, path: str) -> None:
    head, get = web.client.head(path), web.client.get(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":
        assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/metrics", 200),
        ("POST", PATH, 400),
        ("GET", PATH, 405),
        ("GET", "/nowhere", 404),
        ("GET", "/v1/models/nope", 404),
        ("HEAD", "/v1/models", 200),
    ],
)
def test_every_answer_carries_its_own_id_and_openais_headers(web: Web, method: str, path: str, status: int) -> None:
    answers = [web.client.request(method, path, headers={"x-request-id": "theirs"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [status] * 2
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert all(re.fullmatch(r"req_[0-9a-f]{32}", id_) for id_ in ids)
    for answer in answers:
        assert answer.headers["openai-processing-ms"].isdigit()
        assert answer.headers["openai-version"] == "2020-10-01"
        assert answer.headers["x-content-type-options"] == "nosniff"


KEYED = [("GET", "/v1/models"), ("GET", "/v1/models/dall-e-3"), ("POST", PATH), ("POST", "/v1/images/plan")]


@pytest.mark.parametrize(("method", "path"), KEYED, ids=[path for _, path in KEYED])
@pytest.mark.parametrize("key", [None, "wrong"], ids=["none", "wrong"])
def test_without_a_right_key_nothing_is_told(web: Web, method: str, path: str, key: str | None) -> None:
    headers = {} if key is None else {"api-key": key}

    answer = httpx.request(method, web.client.base_url.join(path), headers=headers, trust_env=False)

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/nowhere"])
def test_health_and_metrics_need_no_key(web: Web, path: str) -> None:
    answer = httpx.get(web.client.base_url.join(path), trust_env=False)

    assert answer.status_code == (404 if path == "/nowhere" else 200)


def test_one_connection_serves_many_requests_whatever_came_of_them(web: Web) -> None:
    for _ in range(3):
        assert web.ask(prompt="").status_code == 400
        assert web.client.get("/nowhere").status_code == 404
        assert web.client.get("/livez").status_code == 200
