"""Each kind of error is the SDK's own exception, and the SDK sends again exactly when that costs nothing."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from openai import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    DefaultHttpxClient,
    InternalServerError,
    NotFoundError,
    OpenAI,
    RateLimitError,
)

from tests.acceptance.programs import KEY, Served, Simulator, unique

MODEL = "dall-e-3-t2i"


@pytest.fixture(scope="module")
def http() -> Iterator[DefaultHttpxClient]:
    with DefaultHttpxClient(trust_env=False) as client:
        yield client


@pytest.fixture
def sdk(gateway: Served, http: DefaultHttpxClient) -> OpenAI:
    return OpenAI(base_url=gateway.v1, api_key=KEY, http_client=http)


class Refused(NamedTuple):
    error: type[APIStatusError]
    status: int
    code: str
    param: str | None = None
    type: str = "invalid_request_error"


def seen(error: APIStatusError) -> Refused:
    return Refused(type(error), error.status_code, error.code or "", error.param, error.type or "")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {"model": "no-such-model"}, Refused(NotFoundError, 404, "model_not_found", "model"), id="unknown-model"
        ),
        pytest.param({"prompt": ""}, Refused(BadRequestError, 400, "missing_parameter", "prompt"), id="empty-prompt"),
        pytest.param({"prompt": None}, Refused(BadRequestError, 400, "missing_parameter", "prompt"), id="null-prompt"),
        pytest.param({"prompt": {"text": "x"}}, Refused(BadRequestError, 400, "invalid_value", "prompt"), id="object"),
        pytest.param({"n": 11}, Refused(BadRequestError, 400, "invalid_value", "n"), id="n-11"),
        pytest.param({"n": 0}, Refused(BadRequestError, 400, "invalid_value", "n"), id="n-0"),
        pytest.param({"n": "3"}, Refused(BadRequestError, 400, "invalid_value", "n"), id="n-text"),
        pytest.param({"size": "big"}, Refused(BadRequestError, 400, "invalid_value", "size"), id="size"),
        pytest.param({"aspect_ratio": "7/3"}, Refused(BadRequestError, 400, "invalid_value", "aspect_ratio"), id="7/3"),
        pytest.param({"width": 512}, Refused(BadRequestError, 400, "invalid_value", "height"), id="width-alone"),
        pytest.param({"height": 512}, Refused(BadRequestError, 400, "invalid_value", "width"), id="height-alone"),
        pytest.param(
            {"response_format": "png"}, Refused(BadRequestError, 400, "invalid_value", "response_format"), id="format"
        ),
        pytest.param(
            {"model": "stable-sd3-i2i"}, Refused(BadRequestError, 400, "image_required", "image"), id="image-missing"
        ),
        pytest.param(
            {"model": "stable-sd3-i2i", "image": "!!!"},
            Refused(BadRequestError, 400, "invalid_image", "image"),
            id="image-broken",
        ),
        pytest.param(
            {"image": "https://example.com/a.png"}, Refused(BadRequestError, 400, "invalid_value", "image"), id="no-i2i"
        ),
    ],
)
def test_a_request_at_fault_is_an_error_that_names_the_field_and_costs_nothing(
    sdk: OpenAI, simulator: Simulator, fields: dict[str, object], expected: Refused
) -> None:
    prompt = unique()

    with pytest.raises(APIStatusError) as caught:
        sdk.images.generate(model=MODEL, prompt=prompt, extra_body=fields)

    assert seen(caught.value) == expected
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.request_id
    assert simulator.calls(prompt) == []


@pytest.mark.parametrize(
    "key", ["wrong", "sk-of-the-acceptance-tests", f"{KEY}x"], ids=["wrong", "upstream's", "longer"]
)
def test_a_wrong_key_is_an_authentication_error(gateway: Served, http: DefaultHttpxClient, key: str) -> None:
    sdk = OpenAI(base_url=gateway.v1, api_key=key, http_client=http)

    for ask in (lambda: sdk.images.generate(prompt="x"), sdk.models.list, lambda: sdk.models.retrieve(MODEL)):
        with pytest.raises(AuthenticationError) as caught:
            ask()
        assert seen(caught.value) == Refused(AuthenticationError, 401, "invalid_api_key")
        assert key not in caught.value.message


def test_an_unknown_model_cannot_be_retrieved(sdk: OpenAI) -> None:
    with pytest.raises(NotFoundError) as caught:
        sdk.models.retrieve("no-such-model")

    assert seen(caught.value) == Refused(NotFoundError, 404, "model_not_found", "model")


def test_a_base_url_without_v1_is_a_not_found_error_that_names_the_right_url(
    gateway: Served, http: DefaultHttpxClient
) -> None:
    sdk = OpenAI(base_url=f"{gateway.url}/v2", api_key=KEY, http_client=http)

    with pytest.raises(NotFoundError) as caught:
        sdk.images.generate(prompt="x")

    assert caught.value.code == "unknown_url"
    assert "/v1/images/generations" in caught.value.message


SERVER = "server_error"
UPSTREAM_FAILURES = [
    ("bad-request", Refused(BadRequestError, 400, "upstream_invalid_request"), "false"),
    ("unauthorized", Refused(InternalServerError, 503, "upstream_credentials", type=SERVER), "false"),
    ("forbidden", Refused(InternalServerError, 503, "upstream_credentials", type=SERVER), "false"),
    ("balance", Refused(InternalServerError, 503, "upstream_balance", type=SERVER), "false"),
    ("quota", Refused(InternalServerError, 503, "upstream_balance", type=SERVER), "false"),
    ("rate-limited", Refused(RateLimitError, 429, "upstream_rate_limited", type="requests"), "true"),
    ("no-channel", Refused(InternalServerError, 503, "upstream_model_unavailable", type=SERVER), "true"),
    ("network", Refused(InternalServerError, 502, "upstream_unknown", type=SERVER), "false"),
    ("ai-timeout", Refused(InternalServerError, 504, "upstream_timeout", type=SERVER), "false"),
    ("generation-timeout", Refused(InternalServerError, 504, "upstream_timeout", type=SERVER), "false"),
    ("server-error", Refused(InternalServerError, 502, "upstream_unknown", type=SERVER), "false"),
    ("bad-gateway-html", Refused(InternalServerError, 502, "upstream_unknown", type=SERVER), "false"),
    ("ok-html", Refused(InternalServerError, 502, "upstream_unknown", type=SERVER), "false"),
    ("truncated", Refused(InternalServerError, 502, "upstream_unknown", type=SERVER), "false"),
    ("no-picture", Refused(InternalServerError, 502, "upstream_unknown", type=SERVER), "false"),
    ("empty-url", Refused(InternalServerError, 502, "upstream_unknown", type=SERVER), "false"),
    ("task-failed", Refused(InternalServerError, 502, "upstream_unknown", type=SERVER), "false"),
    ("error-in-200", Refused(InternalServerError, 503, "upstream_model_unavailable", type=SERVER), "true"),
    (
        "doubao-code",
        Refused(BadRequestError, 400, "content_policy_violation", type="image_generation_user_error"),
        "false",
    ),
    ("nsfw", Refused(BadRequestError, 400, "content_policy_violation", type="image_generation_user_error"), "false"),
    ("reset", Refused(InternalServerError, 502, "upstream_unknown", type=SERVER), "false"),
    ("reset-mid-body", Refused(InternalServerError, 502, "upstream_unknown", type=SERVER), "false"),
    ("hang", Refused(InternalServerError, 504, "upstream_timeout", type=SERVER), "false"),
    ("echo-key", Refused(InternalServerError, 502, "upstream_unknown", type=SERVER), "false"),
]
IDS = [name for name, _, _ in UPSTREAM_FAILURES]


@pytest.mark.parametrize(("failure", "expected", "retry"), UPSTREAM_FAILURES, ids=IDS)
def test_each_failure_of_302_is_its_own_error_and_the_sdk_with_its_default_retries_never_pays_twice(
    sdk: OpenAI, simulator: Simulator, request: pytest.FixtureRequest, failure: str, expected: Refused, retry: str
) -> None:
    prompt = unique(f"[[fail:{failure}]]")
    if failure == "rate-limited":
        sdk = sdk.with_options(base_url=request.getfixturevalue("limited").v1)
    if retry == "true":  # it would be sent again, after a wait of seconds: the header is enough
        sdk = sdk.with_options(max_retries=0)

    with pytest.raises(APIStatusError) as caught:
        sdk.images.generate(model=MODEL, prompt=prompt)

    assert seen(caught.value) == expected
    assert caught.value.response.headers["x-should-retry"] == retry
    assert "sk-" not in caught.value.response.text
    # What 302 has no channel for is asked once more by the gateway itself.
    assert len(simulator.calls(prompt)) == (2 if expected.code == "upstream_model_unavailable" else 1)


def test_what_may_be_sent_again_says_after_what_time(limited: Served, simulator: Simulator) -> None:
    with limited.client() as client:
        answers = [
            client.post("/v1/images/generations", json={"model": MODEL, "prompt": unique(f"[[fail:{failure}]]")})
            for failure in ("no-channel", "rate-limited")
        ]
        again = client.post("/v1/images/generations", json={"model": MODEL, "prompt": unique()})

    assert [answer.headers["retry-after"] for answer in answers] == ["10", "3"]
    assert answers[0].headers["retry-after-ms"] == "10000"
    # The only key is asked again: its callers were told to wait, and 302 may limit one model and not another.
    assert again.status_code == 200


def test_nothing_sent_is_a_server_error_that_may_be_sent_again(http: DefaultHttpxClient, unreachable: Served) -> None:
    sdk = OpenAI(base_url=unreachable.v1, api_key=KEY, http_client=http, max_retries=0)

    with pytest.raises(InternalServerError) as caught:
        sdk.images.generate(model=MODEL, prompt=unique())

    assert seen(caught.value) == Refused(InternalServerError, 502, "upstream_unreachable", type=SERVER)
    assert caught.value.response.headers["x-should-retry"] == "true"
