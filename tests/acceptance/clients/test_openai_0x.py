"""OpenAI's own package for Python in its last 0.x, which old programs still have."""

import pytest

from tests.acceptance.clients.running import Client, Run, Start
from tests.acceptance.pictures import MODELS
from tests.acceptance.programs import Served


@pytest.fixture(scope="module")
def sdk(start: Start, gateway: Served) -> Run:
    return start({"python-0": Client("openai0", venv=".venv-openai0")}, gateway)["python-0"].result()


def test_it_is_the_last_0x(sdk: Run) -> None:
    assert sdk.given("version") == "0.28.1"


@pytest.mark.parametrize(
    ("step", "sizes"),
    [
        ("url", [(1024, 1024)]),
        ("three", [(256, 256)] * 3),
        ("b64_json", [(1024, 1024)]),
        ("async", [(512, 512)]),
        ("edit", [(1024, 1024)]),
        ("variation", [(1024, 1024)]),
    ],
)
def test_it_draws(sdk: Run, step: str, sizes: list[tuple[int, int]]) -> None:
    assert sdk.sizes(step) == sizes


def test_its_edit_has_picture_and_mask(sdk: Run) -> None:
    (sent,) = sdk.sent("edit")

    assert (sent["model"], sent["image"], sent["mask_image"]) == ("302ai-kolors-i2i", "the picture", "the picture")


def test_it_lists_and_retrieves_models(sdk: Run) -> None:
    assert sdk.given("list") == list(MODELS)
    assert sdk.given("retrieve")["id"] == "dall-e-3-t2i"


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("wrong_key", ("AuthenticationError", 401, None, None)),
        ("unknown_model", ("InvalidRequestError", 404, "model_not_found", "model")),
        ("bad_size", ("InvalidRequestError", 400, "invalid_value", "size")),
        ("limited", ("RateLimitError", 429, None, None)),
        ("unknown_outcome", ("APIError", 502, None, None)),
    ],
)
def test_an_error_is_its_own_exception_with_our_words(
    sdk: Run, step: str, error: tuple[str, int, str | None, str | None]
) -> None:
    assert sdk.error(step) == error
    assert "Invalid response object" not in sdk.seen[step]["message"]


def test_it_sends_nothing_twice(sdk: Run) -> None:
    assert len(sdk.sent("unknown_outcome")) == 1
