"""LangChain's wrapper and its tool."""

from importlib.metadata import version

from langchain_community.tools.openai_dalle_image_generation import OpenAIDALLEImageGenerationTool  # type: ignore[import-not-found]
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper  # type: ignore[import-not-found]

from tests.acceptance.clients.python.steps import API_KEY, BASE_URL, prompt, run

WHERE = {"base_url": BASE_URL, "api_key": API_KEY}

run(
    {
        "version": lambda: version("langchain-community"),
        "url": lambda: DallEAPIWrapper(**WHERE).run(prompt("url")),
        "two": lambda: DallEAPIWrapper(**WHERE, model="dall-e-3", n=2, size="1792x1024").run(prompt("two")),
        "tool": lambda: OpenAIDALLEImageGenerationTool(api_wrapper=DallEAPIWrapper(**WHERE)).invoke(prompt("tool")),
        "wrong_key": lambda: DallEAPIWrapper(base_url=BASE_URL, api_key="wrong").run(prompt("wrong_key")),
    }
)
