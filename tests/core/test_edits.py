"""The bodies of edits and variations, as OpenAI's clients write them in JSON and in forms."""

from base64 import b64encode

import orjson
import pytest

from gateway.core.edits import parse_edit, parse_form
from gateway.core.errors import GatewayError, Kind
from gateway.core.request import Dialect, Form, ImageRequest, parse

CAT, MASK = "https://example.com/cat.png", "https://example.com/mask.png"
PNG, GIF = b"\x89PNG\r\n\x1a\n" + bytes(99), b"GIF89a" + bytes(99)
PNG_URI, GIF_URI = (
    f"data:image/{kind};base64,{b64encode(data).decode()}" for kind, data in (("png", PNG), ("gif", GIF))
)
PROMPT = "A variation of this picture."

Body = dict[str, object]
Parts = list[tuple[str, bytes]]


def edit(**fields: object) -> ImageRequest:
    return parse_edit(orjson.dumps({"prompt": "a hat", **fields}))


def form(fields: dict[str, str], pictures: Parts, dialect: Dialect = Dialect.EDITS) -> ImageRequest:
    return parse_form(dialect, Form(fields, pictures), PROMPT)


@pytest.mark.parametrize(
    ("fields", "image", "mask"),
    [
        ({"images": [{"image_url": CAT}]}, CAT, None),
        ({"images": [{"image_url": PNG_URI, "file_id": None}]}, PNG_URI, None),
        ({"images": [{"image_url": CAT}], "mask": {"image_url": MASK}}, CAT, MASK),
        ({"images": None, "image": CAT, "mask": None}, CAT, None),
        ({"image": [CAT], "mask_image": MASK}, CAT, MASK),
    ],
    ids=lambda value: str(value)[:60],
)
def test_json_names_its_picture_in_openais_way_or_302s(fields: Body, image: str, mask: str | None) -> None:
    assert edit(**fields) == ImageRequest(prompt="a hat", image=image, mask_image=mask)


@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({}, Kind.IMAGE_REQUIRED, "image"),
        ({"images": []}, Kind.IMAGE_REQUIRED, "image"),
        ({"images": [{"image_url": ""}]}, Kind.IMAGE_REQUIRED, "image"),
        ({"image": ""}, Kind.IMAGE_REQUIRED, "image"),
        ({"image": " "}, Kind.IMAGE_REQUIRED, "image"),
        ({"image": []}, Kind.IMAGE_REQUIRED, "image"),
        ({"image": [""]}, Kind.IMAGE_REQUIRED, "image"),
        ({"images": [{}]}, Kind.INVALID_VALUE, "images"),
        ({"images": [{"file_id": "file-1"}]}, Kind.INVALID_VALUE, "images"),
        ({"images": [{"image_url": CAT}, {"image_url": CAT}]}, Kind.INVALID_VALUE, "images"),
        ({"images": [CAT]}, Kind.INVALID_VALUE, "images"),
        ({"images": CAT}, Kind.INVALID_VALUE, "images"),
        ({"image": CAT, "mask": MASK}, Kind.INVALID_VALUE, "mask"),
        ({"image": CAT, "mask": {"file_id": "file-1"}}, Kind.INVALID_VALUE, "mask"),
        ({"image": "a cat!"}, Kind.INVALID_IMAGE, "image"),
        ({"image": CAT, "prompt": ""}, Kind.MISSING_PARAMETER, "prompt"),
        ({"image": CAT, "n": 11}, Kind.INVALID_VALUE, "n"),
        ({"image": CAT, "n": "1"}, Kind.INVALID_VALUE, "n"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_json_edit_is_refused_by_its_field(fields: Body, kind: Kind, param: str) -> None:
    with pytest.raises(GatewayError) as refusal:
        edit(**fields)

    assert (refusal.value.kind, refusal.value.param) == (kind, param)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"prompt": "\xff"}', b'{"prompt": 1}'])
def test_what_is_no_json_is_refused_as_for_generations(data: bytes) -> None:
    told = []
    for read in (parse, parse_edit):
        with pytest.raises(GatewayError) as refusal:
            read(data)
        told.append((refusal.value.kind, refusal.value.message))

    assert told[0] == told[1]


@pytest.mark.parametrize(
    "pictures",
    [
        [("image", PNG)],
        [("image[]", PNG)],
        [("image[0]", PNG)],
        [("markup", GIF), ("image", PNG), ("file", b"no picture")],
    ],
    ids=lambda pictures: ",".join(name for name, _ in pictures),
)
def test_a_forms_picture_is_found_under_every_spelling(pictures: Parts) -> None:
    assert form({"prompt": "a hat"}, pictures) == ImageRequest(prompt="a hat", image=PNG_URI)


def test_a_form_is_read_in_any_order_by_the_bytes_alone() -> None:
    found = form({"prompt": "a hat"}, [("mask", PNG), ("image", GIF)])

    assert found == ImageRequest(prompt="a hat", image=GIF_URI, mask_image=PNG_URI)


def test_a_forms_picture_may_be_an_address() -> None:
    assert form({"prompt": "a hat", "image": CAT}, []) == ImageRequest(prompt="a hat", image=CAT)


def test_a_forms_text_is_what_json_would_say() -> None:
    fields = {"n": "2", "seed": "-5", "stream": "true", "width": "640", "height": "480", "size": "auto", "user": "me"}
    words = {"model": "stable-sd3", "negative_prompt": "dogs", "output_format": "png", "response_format": "url"}
    dropped = {"quality": "hd", "partial_images": "2", "svg[model]": "x"}

    assert form({"prompt": "a hat", **fields, **words, **dropped}, [("image", PNG)]) == edit(
        **words,
        image=PNG_URI,
        n=2,
        seed=-5,
        stream=True,
        width=640,
        height=480,
        quality="hd",
        partial_images=2,
    )


@pytest.mark.parametrize("text", ["42", "007", "1234567890", "1.5", "true", "null"])
@pytest.mark.parametrize("field", ["prompt", "negative_prompt", "model", "output_format"])
def test_a_forms_words_are_words_whatever_they_look_like(field: str, text: str) -> None:
    found = form({"prompt": "a hat", field: text}, [("image", PNG)])

    assert getattr(found, field) == text


@pytest.mark.parametrize(
    ("fields", "pictures", "kind", "param"),
    [
        ({"prompt": "a hat"}, [], Kind.IMAGE_REQUIRED, "image"),
        ({"prompt": "a hat"}, [("mask", PNG)], Kind.IMAGE_REQUIRED, "image"),
        ({"prompt": "a hat", "image": " "}, [], Kind.IMAGE_REQUIRED, "image"),
        ({"prompt": "a hat"}, [("image", PNG), ("image[]", PNG)], Kind.INVALID_VALUE, "image"),
        ({"prompt": "a hat"}, [("image", b"")], Kind.INVALID_IMAGE, "image"),
        ({"prompt": "a hat"}, [("image", b"<svg/>")], Kind.INVALID_IMAGE, "image"),
        ({"prompt": "a hat"}, [("image", PNG), ("mask", b"<svg/>")], Kind.INVALID_IMAGE, "mask"),
        ({"prompt": "a hat", "n": "two"}, [("image", PNG)], Kind.INVALID_VALUE, "n"),
        ({"prompt": "a hat", "n": "0"}, [("image", PNG)], Kind.INVALID_VALUE, "n"),
        ({"prompt": "a hat", "stream": "maybe"}, [("image", PNG)], Kind.INVALID_VALUE, "stream"),
        ({"prompt": "a hat", "size": "1024"}, [("image", PNG)], Kind.INVALID_VALUE, "size"),
        ({"prompt": "a hat", "width": "9"}, [("image", PNG)], Kind.INVALID_VALUE, "height"),
        ({}, [("image", PNG)], Kind.MISSING_PARAMETER, "prompt"),
    ],
    ids=str,
)
def test_a_wrong_form_is_refused_by_its_field(fields: dict[str, str], pictures: Parts, kind: Kind, param: str) -> None:
    with pytest.raises(GatewayError) as refusal:
        form(fields, pictures)

    assert (refusal.value.kind, refusal.value.param) == (kind, param)


@pytest.mark.parametrize(("fields", "prompt"), [({}, PROMPT), ({"prompt": ""}, PROMPT), ({"prompt": "a hat"}, "a hat")])
def test_a_variation_needs_no_prompt(fields: dict[str, str], prompt: str) -> None:
    found = form(fields, [("image", PNG)], Dialect.VARIATIONS)

    assert found == ImageRequest(prompt=prompt, image=PNG_URI, variation=True)


def test_a_variation_needs_a_picture() -> None:
    with pytest.raises(GatewayError) as refusal:
        form({}, [], Dialect.VARIATIONS)

    assert refusal.value.kind is Kind.IMAGE_REQUIRED
