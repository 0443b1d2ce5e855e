"""LangChain's tool for Node."""

import pytest

from tests.acceptance.clients.running import Client, Run, Start
from tests.acceptance.pictures import decode, download, size_of
from tests.acceptance.programs import Served

TOOL = Client("langchain", package="@langchain/openai")


@pytest.fixture(scope="module")
def tool(start: Start, gateway: Served) -> Run:
    return start({"langchain": TOOL}, gateway)["langchain"].result()


def test_it_is_the_version_it_is_called(tool: Run) -> None:
    assert tool.given("version") == TOOL.pinned


def test_it_draws(tool: Run) -> None:
    assert size_of(download(tool.given("url"))) == (1024, 1024)
    assert size_of(decode(tool.given("b64_json"))) == (1024, 1024)
    assert [payload["model"] for payload in tool.sent("url")] == ["dall-e-3-t2i"]


def test_it_sends_a_request_a_picture(tool: Run) -> None:
    assert [size_of(download(image["image_url"])) for image in tool.given("two")] == [(1024, 1024)] * 2


def test_a_wrong_key_is_told(tool: Run) -> None:
    assert tool.error("wrong_key") == ("AuthenticationError", 401, "invalid_api_key", None)
