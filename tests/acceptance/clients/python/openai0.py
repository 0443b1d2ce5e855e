"""OpenAI's own package for Python in its last 0.x: module-level functions, objects that are dictionaries."""

# ruff: noqa: ANN401 - a client gives what it likes, and all of it becomes JSON

from importlib import import_module
from importlib.metadata import version
from typing import Any

from tests.acceptance.clients.python.steps import API_KEY, BASE_URL, PICTURE, prompt, run

openai: Any = import_module("openai")  # by name, for the types at hand are those of its newest version
openai.api_base = BASE_URL
openai.api_key = API_KEY
png = PICTURE.read_bytes()


def draw(step: str, order: str = "", **fields: Any) -> Any:
    """A generation."""
    return openai.Image.create(prompt=prompt(step, order), **fields).to_dict_recursive()


async def draw_async() -> Any:
    """A generation with the asynchronous half."""
    answer = await openai.Image.acreate(prompt=prompt("async"), n=1, size="512x512")
    return answer.to_dict_recursive()


run(
    {
        "version": lambda: version("openai"),
        "url": lambda: draw("url", n=1, size="1024x1024"),
        "three": lambda: draw("three", model="dall-e-2", n=3, size="256x256"),
        "b64_json": lambda: draw("b64_json", response_format="b64_json"),
        "async": draw_async,
        "edit": lambda: openai.Image.create_edit(
            image=PICTURE.open("rb"), mask=PICTURE.open("rb"), prompt=prompt("edit"), n="1", size="1024x1024"
        ).to_dict_recursive(),
        "variation": lambda: openai.Image.create_variation(
            image=png, n="1", size="1024x1024", response_format="b64_json"
        ).to_dict_recursive(),
        "list": lambda: [model["id"] for model in openai.Model.list()["data"]],
        "retrieve": lambda: openai.Model.retrieve("dall-e-3-t2i").to_dict_recursive(),
        "wrong_key": lambda: draw("wrong_key", api_key="wrong"),
        "unknown_model": lambda: draw("unknown_model", model="no-such-model"),
        "bad_size": lambda: draw("bad_size", size="big"),
        "limited": lambda: draw("limited", order="[[fail:rate-limited]]"),
        "unknown_outcome": lambda: draw("unknown_outcome", order="[[fail:reset]]"),
    }
)
