"""Vercel's AI SDK, with its provider for OpenAI and the one for whoever speaks like OpenAI."""

from concurrent.futures import Future
from typing import Final

import pytest

from tests.acceptance.clients.running import Client, Run, Start, pick
from tests.acceptance.programs import Served

SDKS: Final = {f"ai-{major}": Client("ai", package=f"ai{major}") for major in (5, 6, 7)}


@pytest.fixture(scope="module")
def runs(start: Start, keeping: Served) -> dict[str, Future[Run]]:
    # Its version 7 asks for no format and fetches what the URL shows, on a private address from its own origin only.
    return start(SDKS, keeping)


@pytest.fixture(params=SDKS)
def sdk(request: pytest.FixtureRequest, runs: dict[str, Future[Run]]) -> Run:
    return runs[request.param].result()


@pytest.fixture(params=["ai-6", "ai-7"])
def editing(request: pytest.FixtureRequest, runs: dict[str, Future[Run]]) -> Run:
    return runs[request.param].result()


@pytest.mark.parametrize(("name", "client"), SDKS.items(), ids=SDKS)
def test_it_is_the_version_it_is_called(runs: dict[str, Future[Run]], name: str, client: Client) -> None:
    assert runs[name].result().given("version") == client.pinned


@pytest.mark.parametrize(
    ("step", "sizes"),
    [
        ("gpt_image", [(1024, 1024)]),
        ("dall_e", [(1024, 1024)]),
        ("three", [(1024, 1024)] * 3),
        ("options", [(1024, 1024)]),
        ("compatible_gpt_image", [(1024, 1024)]),
        ("compatible", [(1024, 1024)]),
        ("compatible_three", [(256, 256)] * 3),
    ],
)
def test_it_draws(sdk: Run, step: str, sizes: list[tuple[int, int]]) -> None:
    assert {image["type"] for image in sdk.given(step)} == {"image/png"}
    assert sdk.sizes(step) == sizes


def test_three_pictures_are_three(sdk: Run) -> None:
    assert len(set(sdk.pictures("three"))) == 3
    assert len(set(sdk.pictures("compatible_three"))) == 3


@pytest.mark.parametrize(
    ("step", "sent"),
    [
        ("edit", {"model": "302ai-kolors-i2i", "image": "the picture"}),
        ("edit_mask", {"model": "302ai-kolors-i2i", "image": "the picture", "mask_image": "the picture"}),
        ("compatible_edit", {"model": "stable-sd3-i2i", "image": "the picture"}),
    ],
)
def test_it_edits(editing: Run, step: str, sent: dict[str, str]) -> None:
    assert editing.sizes(step) == [(1024, 1024)]
    assert [pick(payload, "model", "image", "mask_image") for payload in editing.sent(step)] == [sent]


@pytest.mark.parametrize("step", ["edit", "edit_mask", "compatible_edit"])
def test_an_edit_by_the_version_that_knows_none_names_the_field_it_put_it_in(
    runs: dict[str, Future[Run]], step: str
) -> None:
    assert runs["ai-5"].result().error(step) == ("AI_APICallError", 400, "invalid_value", "prompt")


@pytest.mark.parametrize(
    ("step", "error", "retryable"),
    [
        ("wrong_key", ("AI_APICallError", 401, "invalid_api_key", None), False),
        ("unknown_model", ("AI_APICallError", 404, "model_not_found", "model"), False),
        ("moderated", ("AI_APICallError", 400, "content_policy_violation", None), False),
        ("limited", ("AI_APICallError", 429, "upstream_rate_limited", None), True),
    ],
)
def test_an_error_has_our_words(sdk: Run, step: str, error: tuple[str, int, str, str | None], retryable: bool) -> None:
    assert sdk.error(step) == error
    assert sdk.seen[step]["message"]
    assert sdk.seen[step]["retryable"] is retryable


def test_what_was_refused_is_not_sent_again(sdk: Run) -> None:
    assert len(sdk.sent("moderated")) == 1
