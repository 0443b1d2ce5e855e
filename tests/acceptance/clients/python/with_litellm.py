"""LiteLLM as a client: the gateway is an OpenAI-compatible provider of its."""

from importlib.metadata import version
from typing import Any

import litellm

from tests.acceptance.clients.python.steps import API_KEY, BASE_URL, PICTURE, prompt, run

litellm.suppress_debug_info = True
WHERE = {"api_base": BASE_URL, "api_key": API_KEY}


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


def edit(step: str, **fields: Any) -> dict[str, Any]:
    """An edit."""
    return told(litellm.image_edit(image=PICTURE.open("rb"), prompt=prompt(step), **fields, **WHERE))


run(
    {
        "version": lambda: version("litellm"),
        "url": lambda: draw("url", "openai/dall-e-3", size="1792x1024", quality="hd"),
        "foreign_model": lambda: draw("foreign_model", "openai/luma-t2i", extra_body={"aspect_ratio": "16:9"}),
        "gpt_image": lambda: draw("gpt_image", "openai/gpt-image-1", n=2),
        "async": draw_async,
        "edit": lambda: edit("edit", model="openai/gpt-image-1"),
        "edit_mask": lambda: edit("edit_mask", model="openai/gpt-image-1", mask=PICTURE.open("rb")),
        "variation": lambda: told(
            litellm.image_variation(model="openai/dall-e-2", image=PICTURE.open("rb"), n=1, **WHERE)
        ),
        "wrong_key": lambda: draw("wrong_key", "openai/dall-e-3", api_key="wrong"),
        "unknown_model": lambda: draw("unknown_model", "openai/no-such-model"),
        "moderated": lambda: draw("moderated", "openai/dall-e-3", order="[[fail:nsfw]]"),
        "unknown_outcome": lambda: draw("unknown_outcome", "openai/dall-e-3", order="[[fail:reset]]"),
    }
)
