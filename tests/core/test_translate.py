"""What a request becomes: the very bytes that go to 302, and their price."""

import orjson
import pytest

from gateway.core.catalogue import Catalogue
from gateway.core.coerce import Policy
from gateway.core.errors import GatewayError, Kind
from gateway.core.request import ImageRequest, parse
from gateway.core.translate import (
    ImageFormat,
    Plan,
    Rules,
    describe,
    image_format,
    is_gpt_image,
    translate,
)

CAT, DOG = "https://example.com/cat.png", "https://example.com/dog.png"
PLAIN = Rules()

Body = dict[str, object]


def request(fields: Body) -> ImageRequest:
    return parse(orjson.dumps({"prompt": "a cat", **fields}))


def plan(catalogue: Catalogue, fields: Body) -> Plan:
    return translate(request(fields), catalogue, Policy.DOCUMENTED, "gateway", PLAIN)


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        pytest.param({}, b'{"model":"dall-e-3-t2i","prompt":"a cat"}', id="nothing but a prompt"),
        pytest.param(
            {"model": "dall-e-2", "size": "512x512"},
            b'{"height":512,"model":"dall-e-2-t2i","prompt":"a cat","size":"512x512","width":512}',
            id="a listed size",
        ),
        pytest.param(
            {"model": "Luma_T2I", "size": "1792x1024"},
            b'{"aspect_ratio":"16:9","model":"luma-t2i","prompt":"a cat"}',
            id="a ratio",
        ),
        pytest.param(
            {"model": "doubao-v3", "size": "600x300"},
            b'{"height":300,"model":"doubao-v3-t2i","prompt":"a cat","width":600}',
            id="sides",
        ),
        pytest.param(
            {"model": "recraft-v3", "size": "640x480", "aspect_ratio": "7:3"},
            b'{"aspect_ratio":"7:3","height":480,"model":"recraft-v3-t2i","prompt":"a cat","width":640}',
            id="free, said both ways",
        ),
        pytest.param(
            {"model": "stable-sd3", "image": CAT, "size": "512x512"},
            b'{"image":"https://example.com/cat.png","model":"stable-sd3-i2i","prompt":"a cat"}',
            id="an image",
        ),
        pytest.param(
            {
                "model": "flux-pro-1.0-fill",
                "image": CAT,
                "mask_image": DOG,
                "negative_prompt": "dogs",
                "output_format": "png",
                "seed": 0,
            },
            b'{"image":"https://example.com/cat.png","mask_image":"https://example.com/dog.png",'
            b'"model":"flux-pro-1.0-fill-t2i","negative_prompt":"dogs","output_format":"png",'
            b'"prompt":"a cat","seed":0}',
            id="everything that goes through",
        ),
        pytest.param(
            {"n": 3, "image": "", "width": 0, "height": 0, "quality": "hd", "user": "me", "response_format": "url"},
            b'{"model":"dall-e-3-t2i","prompt":"a cat"}',
            id="what is never sent",
        ),
        pytest.param(
            {"prompt": 'ein "Bär"\n\u732b'},
            '{"model":"dall-e-3-t2i","prompt":"ein \\"Bär\\"\\n\u732b"}'.encode(),
            id="any text",
        ),
    ],
)
def test_the_payload_is_byte_for_byte(catalogue: Catalogue, fields: Body, body: bytes) -> None:
    assert {payload.body for payload in plan(catalogue, fields).payloads} == {body}


@pytest.mark.parametrize(("model", "n", "price"), [("dall-e-3", 1, 40_000), ("302ai-sdxl-lighting", 10, 50_000)])
def test_the_price_is_that_of_all_pictures_in_micro_usd(catalogue: Catalogue, model: str, n: int, price: int) -> None:
    assert plan(catalogue, {"model": model, "n": n}).price == price


def test_a_text_that_is_no_unicode_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(GatewayError) as refusal:
        translate(ImageRequest(prompt="\ud800"), catalogue, Policy.DOCUMENTED, "gateway", PLAIN)

    assert refusal.value.kind is Kind.INVALID_JSON


def test_the_policy_is_obeyed(catalogue: Catalogue) -> None:
    asked = request({"model": "doubao-v3", "size": "1024x1024"})
    documented = translate(asked, catalogue, Policy.DOCUMENTED, "gateway", PLAIN)
    nearest = translate(asked, catalogue, Policy.NEAREST, "gateway", PLAIN)

    assert [orjson.loads(one.payloads[0].body)["width"] for one in (documented, nearest)] == [512, 768]
    with pytest.raises(GatewayError, match="the coercion policy is strict"):
        translate(asked, catalogue, Policy.STRICT, "gateway", PLAIN)


def test_a_plan_is_told_to_people_in_usd(catalogue: Catalogue) -> None:
    found = plan(catalogue, {"model": "gpt-image-1", "n": 2})
    body = {"model": "dall-e-3-t2i", "prompt": "a cat"}

    assert orjson.loads(orjson.dumps(describe(found, [True, False]))) == {
        "object": "image.plan",
        "model": "dall-e-3-t2i",
        "payloads": [body, body],
        "adjustments": ["model=gpt-image-1->dall-e-3-t2i"],
        "fingerprints": [payload.fingerprint for payload in found.payloads],
        "price": 0.08,
        "price_per_image": 0.04,
        "cached": [True, False],
    }


@pytest.mark.parametrize("default", ["url", "b64_json", "both"])
@pytest.mark.parametrize(
    ("model", "newer"),
    [
        (None, False),
        ("dall-e-3", False),
        ("my-gpt-image-1", False),
        ("gpt-image-1", True),
        ("GPT_Image_2", True),
        ("chatgpt-image-latest", True),
    ],
)
def test_openais_newer_ids_answer_in_base64_unless_asked_otherwise(
    model: str | None, newer: bool, default: ImageFormat
) -> None:
    rules = Rules(response_format=default)

    assert Rules().response_format == "url"
    assert is_gpt_image(model) is newer
    assert image_format(request({"model": model}), rules) == ("b64_json" if newer else default)
    assert image_format(request({"model": model, "response_format": "url"}), rules) == "url"
    assert image_format(request({"model": model, "response_format": "b64_json"}), rules) == "b64_json"
