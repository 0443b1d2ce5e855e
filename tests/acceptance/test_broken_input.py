"""Broken input of any kind is a 4xx in OpenAI's shape: never a 5xx, never a hang, never a call that costs."""

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from tests.acceptance.programs import KEY, Served, Simulator, unique

PATH = "/v1/images/generations"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def client(gateway: Served) -> Iterator[httpx.Client]:
    with gateway.client() as opened:
        yield opened


@pytest.fixture(autouse=True)
def nothing_is_spent(simulator: Simulator) -> Iterator[None]:
    simulator.forget()
    yield
    assert simulator.calls() == []


def post(client: httpx.Client, content: bytes) -> tuple[int, str | None, str | None]:
    """Status, code and param of an answer, which must be in OpenAI's shape."""
    answer = client.post(PATH, content=content, headers={"content-type": "application/json"})
    error = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-should-retry"] == "false"
    return answer.status_code, error["code"], error["param"]


NOT_JSON = {
    "empty": b"",
    "blank": b" \r\n\t",
    "nul": b"\0",
    "text": b"draw me a cat",
    "form": b"prompt=cat&n=1",
    "xml": b"<prompt>cat</prompt>",
    "cut-short": b'{"prompt": "cat"',
    "trailing-comma": b'{"prompt": "cat",}',
    "two-objects": b'{"prompt": "cat"}{"prompt": "dog"}',
    "single-quotes": b"{'prompt': 'cat'}",
    "comment": b'{"prompt": "cat" /* a cat */}',
    "nan": b'{"prompt": "cat", "n": NaN}',
    "bom": b'\xef\xbb\xbf{"prompt": "cat"}',
    "utf-16": '{"prompt": "cat"}'.encode("utf-16"),
    "broken-utf-8": b'{"prompt": "\xff\xfe"}',
    "lone-surrogate": b'{"prompt": "\\ud800"}',
    "broken-escape": b'{"prompt": "\\x41"}',
    "raw-newline": b'{"prompt": "a\ncat"}',
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "array": b'["cat"]',
    "string": b'"cat"',
    "number": b"1",
    "null": b"null",
    "true": b"true",
    "deep-array": b"[" * 200_000,
    "deep-object": b'{"a":' * 100_000,
    "deep-value": b'{"prompt":"cat","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_json_object_is_invalid_json(client: httpx.Client, body: bytes) -> None:
    assert post(client, body) == (400, "invalid_json", None)


VALUES: list[tuple[str, Any]] = [
    ("true", True),
    ("number", 7.5),
    ("huge-integer", 10**400),
    ("negative", -1),
    ("text", "\u202egpj.exe\0"),
    ("array", [1, 2]),
    ("object", {"a": {"b": 1}}),
]
REFUSES: dict[str, list[str]] = {
    "prompt": ["true", "number", "huge-integer", "negative", "array", "object"],
    "model": ["true", "number", "huge-integer", "negative", "text", "array", "object"],
    "n": ["true", "number", "huge-integer", "negative", "text", "array", "object"],
    "size": ["true", "number", "huge-integer", "negative", "text", "array", "object"],
    "aspect_ratio": ["true", "number", "huge-integer", "negative", "text", "array", "object"],
    "width": ["true", "number", "huge-integer", "negative", "text", "array", "object"],
    "height": ["true", "number", "huge-integer", "negative", "text", "array", "object"],
    "image": ["true", "number", "huge-integer", "negative", "text", "array", "object"],
    "mask_image": ["true", "number", "huge-integer", "negative", "text", "array", "object"],
    "negative_prompt": ["true", "number", "huge-integer", "negative", "array", "object"],
    "output_format": ["true", "number", "huge-integer", "negative", "array", "object"],
    "seed": ["true", "number", "huge-integer", "text", "array", "object"],
    "response_format": ["true", "number", "huge-integer", "negative", "text", "array", "object"],
    "stream": ["number", "huge-integer", "negative", "text", "array", "object"],
}


@pytest.mark.parametrize(("field", "refused"), REFUSES.items(), ids=REFUSES)
def test_a_value_of_a_wrong_type_is_refused_by_its_name(client: httpx.Client, field: str, refused: list[str]) -> None:
    for name, value in VALUES:
        if name in refused:
            # orjson has no integers beyond 64 bits, JSON has.
            text = str(value) if name == "huge-integer" else orjson.dumps(value).decode()
            other = {"width": ', "height": 512', "height": ', "width": 512'}.get(field, "")
            prompt = "" if field == "prompt" else f'"prompt": "{unique()}", '
            status, code, param = post(client, f'{{{prompt}"{field}": {text}{other}}}'.encode())
            assert (status, param) == ((404 if code == "model_not_found" else 400), field), (name, code)


@pytest.mark.parametrize("path", [PATH, "/v1/images/plan"], ids=["generations", "plan"])
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_body_over_28_mib_is_too_large(client: httpx.Client, path: str, chunked: bool) -> None:
    body = b'{"prompt": "' + b"x" * (28 * MIB) + b'"}'

    answer = client.post(path, content=(body[i : i + MIB] for i in range(0, len(body), MIB)) if chunked else body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def test_a_long_prompt_is_refused_by_its_name(client: httpx.Client) -> None:
    assert post(client, orjson.dumps({"prompt": "x" * 32_001})) == (400, "invalid_value", "prompt")


def test_a_megabyte_of_every_field_is_refused(client: httpx.Client) -> None:
    body = {name: "x" * MIB for name in REFUSES if name not in ("n", "seed", "stream")}

    assert post(client, orjson.dumps(body))[0] == 400


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "multipart/form-data; boundary=x", "application/xml", "image/png", "json", "é", "a/b/c", ";;;"],
)
def test_another_media_type_is_unsupported(client: httpx.Client, content_type: str) -> None:
    answer = client.post(PATH, content=b'{"prompt": ""}', headers={b"content-type": content_type.encode()})

    expected = 400 if content_type == ";;;" else 415
    assert answer.status_code == expected
    assert list(answer.json()["error"]) == ["message", "type", "param", "code"]


@pytest.mark.parametrize("coercion", ["", "lenient", "x" * 5000, "docum\u00e9nted"], ids=["none", "other", "long", "é"])
def test_an_unknown_policy_is_refused_by_its_header(client: httpx.Client, coercion: str) -> None:
    headers = {b"x-gateway-coercion": coercion.encode("latin-1")}

    answer = client.post(PATH, json={"prompt": "a cat"}, headers=headers)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-gateway-coercion")


@pytest.mark.parametrize(
    "authorization",
    [b"", b"Bearer", b"Basic Zm9vOmJhcg==", KEY.encode(), b"Bearer \xff\xfe", b"Bearer " + b"x" * 20_000],
    ids=["empty", "no-key", "basic", "no-scheme", "bytes", "long"],
)
def test_an_odd_credential_is_a_401(gateway: Served, authorization: bytes) -> None:
    answer = httpx.post(
        gateway.url + PATH, json={"prompt": "a cat"}, headers={b"authorization": authorization}, trust_env=False
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
