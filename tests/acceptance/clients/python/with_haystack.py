"""Haystack's component that draws; it reads base64 only."""

# ruff: noqa: ANN401 - a client gives what it likes, and all of it becomes JSON

from importlib.metadata import version
from typing import Any

from haystack.components.generators import OpenAIImageGenerator  # type: ignore[import-not-found]
from haystack.utils import Secret  # type: ignore[import-not-found]

from tests.acceptance.clients.python.steps import API_KEY, BASE_URL, prompt, run


def draw(step: str, key: str = API_KEY, **fields: Any) -> Any:
    """A generation."""
    component = OpenAIImageGenerator(api_base_url=BASE_URL, api_key=Secret.from_token(key), **fields)
    component.warm_up()
    return component.run(prompt(step))["images"]


run(
    {
        "version": lambda: version("haystack-ai"),
        "default": lambda: draw("default"),
        "dall_e": lambda: draw("dall_e", model="dall-e-3", quality="high", size="1024x1536"),
        "wrong_key": lambda: draw("wrong_key", key="wrong"),
    }
)
