"""LiteLLM as a client: the gateway is an OpenAI-compatible provider of its."""

# ruff: noqa: ANN401 - a client gives what it likes, and all of it becomes JSON

from importlib.metadata import version
from typing import Any

import litellm  # type: ignore[import-not-found]

from tests.acceptance.clients.python.steps import API_KEY, BASE_URL, ORIGIN, PICTURE, prompt, run

litellm.suppress_debug_info = True
WHERE = {"api_base": BASE_URL, "api_key": API_KEY}
AZURE = {"api_base": ORIGIN, "api_version": "2025-04-01-preview"}


def told(answer: Any) -> dict[str, Any]:
    """What came back, as JSON; LiteLLM fills the fields of its own objects that were not there with None."""
    given = answer.model_dump() if hasattr(answer, "model_dump") else dict(answer)
    return {
        "created": given["created"],
        "data": [{name: value for name, value in image.items() if value} for image in given["data"]],
    }


def draw(step: str, model: str, order: str = "", **fields: Any) -> dict[str, Any]:
    """A generation."""
    return told(litellm.image_generation(prompt=prompt(step, order), model=model, **{**WHERE, **fields}))


async def draw_async() -> dict[str, Any]:
    """A generation with the asynchronous half."""
    return told(await litellm.aimage_generation(prompt=prompt("async"), model="openai/luma-t2i", **WHERE))


def edit(step: str, model: str, **fields: Any) -> dict[str, Any]:
    """An edit."""
    given = {"image": PICTURE.open("rb"), "prompt": prompt(step), "model": model}
    return told(litellm.image_edit(**{**given, **WHERE, **fields}))


run(
    {
        "version": lambda: version("litellm"),
        "url": lambda: draw("url", "openai/dall-e-3", size="1792x1024", quality="hd"),
        "foreign_model": lambda: draw("foreign_model", "openai/luma-t2i", extra_body={"aspect_ratio": "16:9"}),
        "gpt_image": lambda: draw("gpt_image", "openai/gpt-image-1", n=2),
        "async": draw_async,
        "edit": lambda: edit("edit", "openai/gpt-image-1"),
        "edit_mask": lambda: edit("edit_mask", "openai/gpt-image-1", mask=PICTURE.open("rb")),
        "variation": lambda: told(
            litellm.image_variation(model="openai/dall-e-2", image=PICTURE.open("rb"), n=1, **WHERE)
        ),
        "azure": lambda: draw("azure", "azure/dall-e-3", **AZURE),
        "azure_edit": lambda: edit("azure_edit", "azure/stable-sd3", **AZURE),
        "wrong_key": lambda: draw("wrong_key", "openai/dall-e-3", api_key="wrong"),
        "unknown_model": lambda: draw("unknown_model", "openai/no-such-model"),
        "moderated": lambda: draw("moderated", "openai/dall-e-3", order="[[fail:nsfw]]"),
        "unknown_outcome": lambda: draw("unknown_outcome", "openai/dall-e-3", order="[[fail:reset]]"),
    }
)
