"""OpenAI's own package for Python from 1 on: the steps that `openai.mjs` does with the one for Node."""

# ruff: noqa: ANN401 - a client gives what it likes, and all of it becomes JSON

import io
from importlib.metadata import version
from typing import Any

from openai import AzureOpenAI, OpenAI

from tests.acceptance.clients.python.steps import API_KEY, BASE_URL, ORIGIN, PICTURE, prompt, run

client = OpenAI(base_url=BASE_URL, api_key=API_KEY, _strict_response_validation=True)
azure = AzureOpenAI(azure_endpoint=ORIGIN, api_key=API_KEY, api_version="2025-04-01-preview")
png = PICTURE.read_bytes()


def at(path: str) -> OpenAI:
    """A client that was given a wrong base URL."""
    return OpenAI(base_url=f"{ORIGIN}{path}", api_key=API_KEY)


def told(answer: Any) -> Any:
    """What came back, as JSON; of a stream, all its events."""
    return answer.to_dict() if hasattr(answer, "to_dict") else [event.to_dict() for event in answer]


def draw(step: str, by: OpenAI = client, order: str = "", **fields: Any) -> Any:
    """A generation with whatever client."""
    return told(by.images.generate(prompt=prompt(step, order), **fields))


def edit(step: str, by: OpenAI = client, image: Any = png, **fields: Any) -> Any:
    """An edit of the picture, as bytes unless `image` is another form of it."""
    return told(by.images.edit(**{"image": image, "prompt": prompt(step), **fields}))


def raw() -> dict[str, Any]:
    """An answer with its head."""
    response = client.images.with_raw_response.generate(prompt=prompt("raw"))
    answer = told(response.parse())
    return {"data": answer["data"], "status": response.http_response.status_code, "headers": dict(response.headers)}


run(
    {
        "version": lambda: version("openai"),
        "url": lambda: draw("url", model="dall-e-3", size="1792x1024", quality="hd", style="vivid"),
        "b64_json": lambda: draw("b64_json", model="dall-e-3", response_format="b64_json"),
        "gpt_image": lambda: draw(
            "gpt_image", model="gpt-image-1", background="auto", quality="high", moderation="low"
        ),
        "nulls": lambda: draw("nulls", model=None, n=None, size=None, response_format=None),
        "three": lambda: draw("three", model="dall-e-2", n=3, size="256x256"),
        "foreign_fields": lambda: draw(
            "foreign_fields", extra_body={"negative_prompt": "rain", "seed": 7, "loras": [{"path": "a"}]}
        ),
        "raw": raw,
        "edit_stream": lambda: edit("edit_stream", image=PICTURE.open("rb")),
        "edit_buffer": lambda: edit("edit_buffer", model="gpt-image-1"),
        "edit_blob": lambda: edit("edit_blob", model="stable-sd3", image=("猫.png", io.BytesIO(png), "image/png")),
        "edit_array": lambda: edit("edit_array", image=[PICTURE], n=2, size="1024x1024"),
        "edit_fields": lambda: edit(
            "edit_fields",
            model="chatgpt-image-latest",
            image=("a.gif", png, "image/gif"),
            input_fidelity="high",
            output_compression=90,
            quality="high",
            response_format="url",
            user="42",
        ),
        "edit_mask": lambda: edit("edit_mask", mask=png),
        "edit_digits": lambda: edit("edit_digits", prompt="20261122"),
        "edit_two": lambda: edit("edit_two", image=[png, png]),
        "edit_text_file": lambda: edit("edit_text_file", image=("a.png", b"no picture")),
        "edit_not_possible": lambda: edit("edit_not_possible", model="dall-e-2"),
        "variation": lambda: told(client.images.create_variation(image=png)),
        "variation_b64_json": lambda: told(
            client.images.create_variation(
                model="dall-e-2", image=PICTURE.open("rb"), n=2, size="512x512", response_format="b64_json"
            )
        ),
        "stream": lambda: draw("stream", model="gpt-image-1", stream=True, partial_images=2),
        "stream_two": lambda: draw("stream_two", model="dall-e-2", stream=True, n=2),
        "stream_edit": lambda: edit("stream_edit", stream=True),
        "stream_refused": lambda: draw("stream_refused", model="no-such-model", stream=True),
        "stream_failed": lambda: draw("stream_failed", order="[[delay:0.5]] [[fail:nsfw]]", stream=True),
        "list": lambda: [model.id for model in client.models.list()],
        "retrieve": lambda: told(client.models.retrieve("dall-e-3-t2i")),
        "retrieve_unknown": lambda: client.models.retrieve("some/flux:pro"),
        "wrong_key": lambda: draw("wrong_key", OpenAI(base_url=BASE_URL, api_key="wrong")),
        "wrong_key_list": OpenAI(base_url=BASE_URL, api_key="wrong").models.list,
        "unknown_model": lambda: draw("unknown_model", model="no-such-model"),
        "bad_size": lambda: draw("bad_size", size="big"),
        "moderated": lambda: draw("moderated", order="[[fail:nsfw]]"),
        "limited": lambda: draw("limited", client.with_options(max_retries=0), order="[[fail:rate-limited]]"),
        "limited_again": lambda: draw(
            "limited_again", client.with_options(max_retries=1), order="[[fail:rate-limited]]"
        ),
        "unknown_outcome": lambda: draw("unknown_outcome", order="[[fail:reset]]"),
        "no_balance": lambda: draw("no_balance", order="[[fail:balance]]"),
        "azure": lambda: draw("azure", azure, model="dall-e-3"),
        "azure_edit": lambda: edit("azure_edit", azure, model="stable-sd3"),
        "azure_variation": lambda: told(azure.images.create_variation(image=png)),
        "azure_without_model": lambda: draw("azure_without_model", azure),
        "azure_list": lambda: [model.id for model in azure.models.list()],
        "azure_wrong_key": lambda: draw(
            "azure_wrong_key",
            AzureOpenAI(azure_endpoint=ORIGIN, api_key="wrong", api_version="2025-04-01-preview"),
            model="dall-e-3",
        ),
        "base_without_v1": lambda: draw("base_without_v1", at("")),
        "base_with_slash": lambda: draw("base_with_slash", at("/v1/")),
        "base_twice": lambda: draw("base_twice", at("/v1/v1")),
        "base_wrong": lambda: draw("base_wrong", at("/v2")),
    }
)
