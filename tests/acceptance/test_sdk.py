"""OpenAI's own package, the newest, draws with every model."""

from collections.abc import AsyncIterator, Iterator

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from tests.acceptance.pictures import DATA_URI, MODELS, decode, download, extra, fits, size_of
from tests.acceptance.programs import KEY, OTHER_KEY, Served, Simulator, unique


@pytest.fixture(scope="module")
def sdk(gateway: Served) -> Iterator[OpenAI]:
    http = DefaultHttpxClient(trust_env=False)
    with OpenAI(base_url=gateway.v1, api_key=KEY, http_client=http, _strict_response_validation=True) as client:
        yield client


@pytest.fixture
async def async_sdk(gateway: Served) -> AsyncIterator[AsyncOpenAI]:
    http = DefaultAsyncHttpxClient(trust_env=False)
    async with AsyncOpenAI(
        base_url=gateway.v1, api_key=OTHER_KEY, http_client=http, _strict_response_validation=True
    ) as client:
        yield client


def test_the_catalogue_has_69_models() -> None:
    assert len(MODELS) == 69


@pytest.mark.parametrize("model", MODELS)
def test_every_model_draws_a_url_and_then_the_same_picture_as_base64(
    sdk: OpenAI, simulator: Simulator, model: str
) -> None:
    prompt = unique()

    linked = sdk.images.generate(model=model, prompt=prompt, size="1792x1024", extra_body=extra(model))
    encoded = sdk.images.generate(
        model=model, prompt=prompt, size="1792x1024", response_format="b64_json", extra_body=extra(model)
    )

    assert linked.data
    assert encoded.data
    assert linked.data[0].url
    assert (linked.data[0].b64_json, encoded.data[0].url) == (None, None)
    picture = decode(encoded.data[0].b64_json)
    assert picture == download(linked.data[0].url)
    assert fits(model, size_of(picture)), size_of(picture)
    assert [call["model"] for call in simulator.calls(prompt)] == [model]


@pytest.mark.parametrize("model", MODELS)
async def test_every_model_draws_for_the_async_client(async_sdk: AsyncOpenAI, simulator: Simulator, model: str) -> None:
    prompt = unique()

    answer = await async_sdk.images.generate(model=model, prompt=prompt, extra_body=extra(model))

    assert answer.data
    assert [bool(image.url) for image in answer.data] == [True]
    assert [call["model"] for call in simulator.calls(prompt)] == [model]


def test_n_pictures_are_n_calls_and_n_different_pictures(sdk: OpenAI, simulator: Simulator) -> None:
    prompt = unique()

    answer = sdk.images.generate(model="doubao-v3-t2i", prompt=prompt, n=3, size="256x256", response_format="b64_json")

    assert answer.data
    pictures = {decode(image.b64_json) for image in answer.data}
    assert len(pictures) == 3
    assert {size_of(picture) for picture in pictures} == {(256, 256)}
    payloads = [call["payload"] for call in simulator.calls(prompt)]
    assert payloads == [{"model": "doubao-v3-t2i", "prompt": prompt, "width": 256, "height": 256}] * 3


@pytest.mark.parametrize("model", ["gpt-image-1", "gpt-image-1-mini", "gpt-image-2.6-flare", "chatgpt-image-latest"])
def test_openais_image_models_answer_in_base64_with_usage(sdk: OpenAI, model: str) -> None:
    answer = sdk.images.generate(model=model, prompt=unique(), size="1024x1024", quality="high", background="auto")

    assert answer.data
    assert answer.data[0].url is None
    assert size_of(decode(answer.data[0].b64_json)) == (1024, 1024)
    assert answer.usage
    assert answer.usage.to_dict() == {
        "total_tokens": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
    }


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        pytest.param("dall-e-3", "dall-e-3-t2i", id="dall-e-3"),
        pytest.param("dall-e-2", "dall-e-2-t2i", id="dall-e-2"),
        pytest.param("STABLE_SD3", "stable-sd3-t2i", id="case-and-underscores"),
        pytest.param(None, "dall-e-3-t2i", id="none-at-all"),
    ],
)
def test_the_names_people_use_lead_to_models(sdk: OpenAI, simulator: Simulator, asked: str | None, drawn: str) -> None:
    prompt = unique()

    answer = sdk.images.generate(model=asked, prompt=prompt, n=None, size=None)

    assert answer.data
    assert answer.data[0].url
    assert [call["model"] for call in simulator.calls(prompt)] == [drawn]


def test_a_picture_asked_for_with_a_source_goes_to_the_sibling_that_takes_one(
    sdk: OpenAI, simulator: Simulator
) -> None:
    prompt = unique()

    raw = sdk.images.with_raw_response.generate(model="stable-sd3", prompt=prompt, extra_body={"image": DATA_URI})

    assert raw.headers["x-gateway-cache"] == "miss"
    assert [call["payload"] for call in simulator.calls(prompt)] == [
        {"model": "stable-sd3-i2i", "prompt": prompt, "image": DATA_URI}
    ]


def test_a_change_is_told_in_a_header(sdk: OpenAI) -> None:
    raw = sdk.images.with_raw_response.generate(
        model="stable-sd3-t2i", prompt=unique(), size="1792x1024", quality="hd", style="vivid"
    )

    assert raw.headers["x-gateway-adjusted"] == (
        "size=1792x1024->aspect_ratio=16:9, quality=hd->dropped, style=vivid->dropped"
    )
    assert raw.headers["x-request-id"].startswith("req_")


def test_models_are_listed_and_retrieved(sdk: OpenAI) -> None:
    listed = list(sdk.models.list())
    retrieved = sdk.models.retrieve("stable-sd3-t2i")

    assert [model.id for model in listed] == list(MODELS)
    assert {model.object for model in listed} == {"model"}
    assert retrieved == next(model for model in listed if model.id == "stable-sd3-t2i")
    assert retrieved.to_dict()["capabilities"] == {
        "shape": "stability",
        "kind": "ratios",
        "supported": ["16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21"],
        "fallback": "1:1",
        "image": "none",
        "sibling": "stable-sd3-i2i",
        "price": 0.1,
    }


async def test_models_are_listed_for_the_async_client(async_sdk: AsyncOpenAI) -> None:
    assert [model.id async for model in async_sdk.models.list()] == list(MODELS)
