"""Frameworks that draw through OpenAI's packages. Too heavy for every run of the tests: `make clients` runs these."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.acceptance.clients.running import Client, Run, Start, pick
from tests.acceptance.pictures import decode, download, size_of
from tests.acceptance.programs import Served, Simulator, serving, settings

NEW: Final = ".venv-frameworks"  # those that stand on the OpenAI package's 3.x
EDITED: Final = {"model": "302ai-kolors-i2i", "image": "the picture"}
WRONG_KEY: Final = ("AuthenticationError", 401, "invalid_api_key", None)


@pytest.fixture(scope="module")
def generous(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway that answers with the URL and the picture."""
    with serving(settings(simulator.url, tmp_path_factory.mktemp("data"), response_format_default="both")) as running:
        yield running


@pytest.fixture(scope="module")
def litellm(start: Start, gateway: Served) -> Run:
    return start({"litellm": Client("with_litellm", venv=".venv-litellm")}, gateway)["litellm"].result()


@pytest.fixture(scope="module")
def langchain(start: Start, gateway: Served) -> Run:
    return start({"langchain": Client("with_langchain", venv=NEW)}, gateway)["langchain"].result()


@pytest.fixture(scope="module")
def haystack(start: Start, generous: Served) -> Run:
    # It names no format and reads base64 alone, which by default only OpenAI's newer models answer with.
    return start({"haystack": Client("with_haystack", venv=NEW)}, generous)["haystack"].result()


@pytest.fixture(scope="module")
def semantic_kernel(start: Start, gateway: Served) -> Run:
    return start({"kernel": Client("with_semantic_kernel", venv=NEW)}, gateway)["kernel"].result()


@pytest.mark.parametrize(
    ("step", "count"),
    [
        ("url", 1),
        ("foreign_model", 1),
        ("gpt_image", 2),
        ("async", 1),
        ("edit", 1),
        ("edit_mask", 1),
        ("variation", 1),
        ("azure", 1),
        ("azure_edit", 1),
    ],
)
def test_litellm_draws(litellm: Run, step: str, count: int) -> None:
    assert len(litellm.sizes(step)) == count


def test_litellms_edits_have_their_picture(litellm: Run) -> None:
    (edit,), (masked,), (azure,) = (litellm.sent(step) for step in ("edit", "edit_mask", "azure_edit"))

    assert pick(edit, "model", "image", "mask_image") == EDITED
    assert pick(masked, "model", "image", "mask_image") == {**EDITED, "mask_image": "the picture"}
    assert pick(azure, "model", "image") == {"model": "stable-sd3-i2i", "image": "the picture"}


@pytest.mark.parametrize(
    ("step", "name", "status"),
    [
        ("wrong_key", "AuthenticationError", 401),
        ("unknown_model", "NotFoundError", 404),
        ("moderated", "BadRequestError", 400),
        ("unknown_outcome", "BadGatewayError", 502),
    ],
)
def test_litellm_knows_the_errors(litellm: Run, step: str, name: str, status: int) -> None:
    assert litellm.error(step)[:2] == (name, status)


def test_litellm_sends_nothing_twice(litellm: Run) -> None:
    assert len(litellm.sent("unknown_outcome")) == 1


def test_langchain_draws(langchain: Run) -> None:
    assert size_of(download(langchain.given("url"))) == (1024, 1024)
    assert size_of(download(langchain.given("tool"))) == (1024, 1024)
    assert len(set(langchain.given("two").split("\n"))) == 2
    assert langchain.error("wrong_key") == WRONG_KEY


def test_haystack_draws(haystack: Run) -> None:
    assert [size_of(decode(text)) for text in haystack.given("default")] == [(1024, 1024)]
    assert [size_of(decode(text)) for text in haystack.given("dall_e")] == [(1024, 1024)]
    assert haystack.error("wrong_key") == WRONG_KEY


@pytest.mark.parametrize("step", ["url", "gpt_image", "edit", "edit_mask", "azure", "azure_edit"])
def test_semantic_kernel_draws(semantic_kernel: Run, step: str) -> None:
    assert semantic_kernel.sizes(step) == [(1024, 1024)]


def test_semantic_kernels_edits_have_their_picture(semantic_kernel: Run) -> None:
    (edit,), (masked,), (azure,) = (semantic_kernel.sent(step) for step in ("edit", "edit_mask", "azure_edit"))

    assert pick(edit, "model", "image", "mask_image") == EDITED
    assert pick(masked, "model", "image", "mask_image") == {**EDITED, "mask_image": "the picture"}
    assert pick(azure, "model", "image") == {"model": "stable-sd3-i2i", "image": "the picture"}


def test_semantic_kernel_tells_a_wrong_key(semantic_kernel: Run) -> None:
    assert semantic_kernel.error("wrong_key")[0] == "ServiceResponseException"
    assert "Incorrect API key" in semantic_kernel.seen["wrong_key"]["message"]
