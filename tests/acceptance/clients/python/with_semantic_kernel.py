"""Semantic Kernel's services that draw: OpenAI's, and Azure's."""

# ruff: noqa: ANN401 - a client gives what it likes, and all of it becomes JSON

from importlib.metadata import version
from typing import Any

from openai import AsyncAzureOpenAI, AsyncOpenAI
from semantic_kernel.connectors.ai.open_ai import AzureTextToImage, OpenAITextToImage  # type: ignore[import-not-found]

from tests.acceptance.clients.python.steps import API_KEY, BASE_URL, ORIGIN, PICTURE, prompt, run


def service(model: str, key: str = API_KEY) -> Any:
    """OpenAI's service, with a client of another base URL."""
    client = AsyncOpenAI(base_url=BASE_URL, api_key=key)
    return OpenAITextToImage(ai_model_id=model, async_client=client)


def azure(deployment: str) -> Any:
    """Azure's service. It insists on https unless it is given a client."""
    client = AsyncAzureOpenAI(
        azure_endpoint=ORIGIN, azure_deployment=deployment, api_key=API_KEY, api_version="2025-04-01-preview"
    )
    return AzureTextToImage(deployment_name=deployment, endpoint="https://unused.example", async_client=client)


run(
    {
        "version": lambda: version("semantic-kernel"),
        "one": lambda: service("dall-e-3").generate_image(prompt("one"), 1024, 1024),
        "url": lambda: service("dall-e-3").generate_images(prompt("url")),
        "gpt_image": lambda: service("gpt-image-1").generate_images(prompt("gpt_image")),
        "edit": lambda: service("gpt-image-1").edit_image(prompt("edit"), image_paths=[str(PICTURE)]),
        "edit_mask": lambda: service("gpt-image-1").edit_image(
            prompt("edit_mask"), image_files=[PICTURE.open("rb")], mask_path=str(PICTURE)
        ),
        "azure": lambda: azure("dall-e-3").generate_images(prompt("azure")),
        "azure_edit": lambda: azure("stable-sd3").edit_image(prompt("azure_edit"), image_paths=[str(PICTURE)]),
        "wrong_key": lambda: service("dall-e-3", key="wrong").generate_images(prompt("wrong_key")),
    }
)
