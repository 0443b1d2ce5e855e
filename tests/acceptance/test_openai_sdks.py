"""OpenAI's own packages for Node and Python in all their great versions, each doing the same steps.

`make test` runs those for Node, and has other tests for Python; `make clients` runs all of them.
"""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, Final

import pytest

from tests.acceptance.clients.running import Client, Run, pick, starting
from tests.acceptance.pictures import MODELS, decode, size_of
from tests.acceptance.programs import Served, Simulator

NODE: Final = {
    "node-7": Client("openai", package="openai"),
    "node-6": Client("openai", package="openai6"),
    "node-5": Client("openai", package="openai5"),
    "node-4": Client("openai", package="openai4"),
}
PYTHON: Final = {
    "python-3": Client("sdk"),
    "python-2": Client("sdk", venv=".venv-openai2"),
    "python-1": Client("sdk", venv=".venv-openai1"),
}
USAGE: Final = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}
EDITED: Final = {"model": "302ai-kolors-i2i", "image": "the picture"}


ALL: Final = [*NODE, *(pytest.param(name, marks=pytest.mark.clients) for name in PYTHON)]
STREAMING: Final = [name for name in ALL if name != "node-4"]


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, gateway: Served, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Run]]]:
    """All that somebody asks for, started together."""
    asked = any(item.get_closest_marker("clients") for item in request.session.items)
    with starting(simulator, tmp_path_factory.mktemp("pictures")) as start:
        yield start(NODE | PYTHON if asked else NODE, gateway)


@pytest.fixture(params=ALL)
def sdk(request: pytest.FixtureRequest, runs: dict[str, Future[Run]]) -> Run:
    return runs[request.param].result()


@pytest.fixture(params=STREAMING)
def streaming(request: pytest.FixtureRequest, runs: dict[str, Future[Run]]) -> Run:
    return runs[request.param].result()


@pytest.mark.parametrize("name", ALL)
def test_it_is_the_version_it_is_called(runs: dict[str, Future[Run]], name: str) -> None:
    version = runs[name].result().given("version")

    assert version.startswith(f"{name.rpartition('-')[2]}.")
    assert name not in NODE or version == NODE[name].pinned


# --- generations


def test_a_picture_is_drawn_behind_a_url(sdk: Run) -> None:
    answer = sdk.given("url")

    assert set(answer) == {"created", "data"}
    assert isinstance(answer["created"], int)
    assert list(answer["data"][0]) == ["url"]
    assert sdk.sizes("url") == [(1024, 1024)]


@pytest.mark.parametrize(
    ("step", "usage"), [("b64_json", None), ("gpt_image", USAGE)], ids=["asked-for", "as-gpt-image-does"]
)
def test_a_picture_is_drawn_in_base64(sdk: Run, step: str, usage: dict[str, Any] | None) -> None:
    answer = sdk.given(step)

    assert [list(image) for image in answer["data"]] == [["b64_json"]]
    assert sdk.sizes(step) == [(1024, 1024)]
    assert (answer["output_format"], answer["size"], answer.get("usage")) == ("png", "1024x1024", usage)


def test_null_is_nothing_said(sdk: Run) -> None:
    assert sdk.sizes("nulls") == [(1024, 1024)]
    assert sdk.sent("nulls") == [{"model": "dall-e-3-t2i"}]


def test_three_pictures_are_three(sdk: Run) -> None:
    assert len(set(sdk.pictures("three"))) == 3
    assert sdk.sizes("three") == [(256, 256)] * 3


def test_fields_beyond_openais_reach_the_model_where_it_knows_them(sdk: Run) -> None:
    assert sdk.sizes("foreign_fields") == [(1024, 1024)]
    assert sdk.sent("foreign_fields") == [{"model": "dall-e-3-t2i", "negative_prompt": "rain", "seed": 7}]


def test_the_head_of_an_answer_can_be_read(sdk: Run) -> None:
    head = sdk.given("raw")["headers"]

    assert head["x-request-id"].startswith("req_")
    assert head["openai-processing-ms"].isdecimal()
    assert head["openai-version"] == "2020-10-01"
    assert head["x-gateway-cache"] == "miss"


# --- edits and variations


@pytest.mark.parametrize(
    ("step", "count", "sent"),
    [
        pytest.param("edit_stream", 1, EDITED, id="an-open-file"),
        pytest.param("edit_buffer", 1, EDITED, id="bytes"),
        pytest.param("edit_blob", 1, {"model": "stable-sd3-i2i", "image": "the picture"}, id="a-name-beyond-ascii"),
        pytest.param("edit_array", 2, EDITED, id="a-list-of-one"),
        pytest.param("edit_fields", 1, EDITED, id="everything-said-and-called-a-gif"),
        pytest.param("edit_mask", 1, {**EDITED, "mask_image": "the picture"}, id="mask"),
        pytest.param("azure_edit", 1, {"model": "stable-sd3-i2i", "image": "the picture"}, id="azure"),
    ],
)
def test_a_picture_is_edited(sdk: Run, step: str, count: int, sent: dict[str, Any]) -> None:
    assert sdk.sizes(step) == [(1024, 1024)] * count
    assert [pick(payload, "model", "image", "mask_image") for payload in sdk.sent(step)] == [sent] * count


def test_an_edit_is_answered_as_asked(sdk: Run) -> None:
    assert list(sdk.given("edit_stream")["data"][0]) == ["url"]
    assert list(sdk.given("edit_buffer")["data"][0]) == ["b64_json"]
    assert sdk.given("edit_buffer")["usage"] == USAGE
    assert list(sdk.given("edit_fields")["data"][0]) == ["url"]


def test_a_prompt_of_digits_is_still_text_in_a_form(sdk: Run) -> None:
    assert sdk.sizes("edit_digits") == [(1024, 1024)]
    assert "20261122" in [payload["prompt"] for payload in sdk.payloads]


@pytest.mark.parametrize("step", ["variation", "azure_variation"])
def test_a_picture_is_varied(sdk: Run, step: str) -> None:
    assert sdk.sizes(step) == [(1024, 1024)]


def test_variations_come_as_asked_whatever_model_openai_had_for_them(sdk: Run) -> None:
    assert [list(image) for image in sdk.given("variation_b64_json")["data"]] == [["b64_json"]] * 2
    assert sdk.sizes("variation_b64_json") == [(512, 512)] * 2


# --- streams


@pytest.mark.parametrize(
    ("step", "type_", "count"),
    [
        pytest.param("stream", "image_generation.completed", 1, id="generation"),
        pytest.param("stream_two", "image_generation.completed", 2, id="two"),
        pytest.param("stream_edit", "image_edit.completed", 1, id="edit"),
    ],
)
def test_a_stream_has_one_event_a_picture(streaming: Run, step: str, type_: str, count: int) -> None:
    events = streaming.given(step)

    assert [event["type"] for event in events] == [type_] * count
    pictures = [decode(event["b64_json"]) for event in events]
    assert len(set(pictures)) == count
    assert {size_of(picture) for picture in pictures} == {(1024, 1024)}
    for event in events:
        assert isinstance(event["created_at"], int)
        assert (event["size"], event["output_format"], event["usage"]) == ("1024x1024", "png", USAGE)
        assert event["quality"] in {"auto", "low", "medium", "high"}
        assert event["background"] in {"auto", "opaque", "transparent"}


def test_a_stream_that_fails_under_way_throws_what_happened(streaming: Run) -> None:
    assert streaming.error("stream_failed") == ("APIError", None, "content_policy_violation", None)


def test_a_stream_that_cannot_begin_is_a_plain_error(sdk: Run) -> None:
    assert sdk.error("stream_refused") == ("NotFoundError", 404, "model_not_found", "model")


def test_an_sdk_that_knows_no_streams_gets_their_text(runs: dict[str, Future[Run]]) -> None:
    text = runs["node-4"].result().given("stream")

    assert "event: image_generation.completed\ndata: {" in text
    assert text.endswith("\n\n")


# --- models


@pytest.mark.parametrize("step", ["list", "azure_list"])
def test_models_are_listed(sdk: Run, step: str) -> None:
    assert sdk.given(step) == list(MODELS)


def test_a_model_is_retrieved(sdk: Run) -> None:
    model = sdk.given("retrieve")

    assert (model["id"], model["object"], model["owned_by"]) == ("dall-e-3-t2i", "model", "302ai")


# --- errors


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("wrong_key", ("AuthenticationError", 401, "invalid_api_key", None)),
        ("wrong_key_list", ("AuthenticationError", 401, "invalid_api_key", None)),
        ("azure_wrong_key", ("AuthenticationError", 401, "invalid_api_key", None)),
        ("unknown_model", ("NotFoundError", 404, "model_not_found", "model")),
        ("retrieve_unknown", ("NotFoundError", 404, "model_not_found", "model")),
        ("base_wrong", ("NotFoundError", 404, "unknown_url", None)),
        ("bad_size", ("BadRequestError", 400, "invalid_value", "size")),
        ("edit_two", ("BadRequestError", 400, "invalid_value", "image")),
        ("edit_text_file", ("BadRequestError", 400, "invalid_image", "image")),
        ("edit_not_possible", ("BadRequestError", 400, "invalid_value", "image")),
        ("moderated", ("BadRequestError", 400, "content_policy_violation", None)),
        ("limited", ("RateLimitError", 429, "upstream_rate_limited", None)),
        ("no_balance", ("InternalServerError", 503, "upstream_balance", None)),
        ("unknown_outcome", ("InternalServerError", 502, "upstream_unknown", None)),
    ],
)
def test_an_error_is_the_sdks_own_exception(sdk: Run, step: str, error: tuple[str, int, str, str | None]) -> None:
    assert sdk.error(step) == error
    assert sdk.seen[step]["requestId"].startswith("req_")


@pytest.mark.parametrize(
    ("step", "calls"),
    [
        pytest.param("unknown_outcome", 1, id="not-what-may-have-been-billed"),
        pytest.param("moderated", 1, id="not-what-was-refused"),
        pytest.param("no_balance", 1, id="not-what-nobody-can-pay"),
        pytest.param("limited_again", 2, id="what-costs-nothing"),
    ],
)
def test_it_sends_again_only_what_it_is_told_to(sdk: Run, step: str, calls: int) -> None:
    assert len(sdk.sent(step)) == calls


# --- paths


@pytest.mark.parametrize("step", ["base_without_v1", "base_with_slash", "base_twice", "azure", "azure_without_model"])
def test_other_ways_to_the_same_endpoint(sdk: Run, step: str) -> None:
    assert sdk.sizes(step) == [(1024, 1024)]
    assert sdk.sent(step) == [{"model": "dall-e-3-t2i"}]
