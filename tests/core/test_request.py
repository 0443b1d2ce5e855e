"""Which bodies are read, and how; which are refused, and in which words."""

from base64 import b64encode
from typing import Any

import orjson
import pytest

from gateway.core.coerce import Adjustment, Geometry
from gateway.core.errors import GatewayError, Kind
from gateway.core.request import UNSUPPORTED, ImageRequest, parse, plain
from gateway.core.shapes import Ratio, Size

PNG = b64encode(b"\x89PNG\r\n\x1a\nand more").decode()
DEEP = 200_000
LONGEST = "x" * 32_000
FIELDS = ImageRequest.__struct_fields__


def body(**fields: object) -> bytes:
    return orjson.dumps({"prompt": "a cat", **fields})


def raw(field: str, value: str) -> bytes:
    return f'{{"prompt": "a cat", "{field}": {value}}}'.encode()


def refused(data: bytes) -> tuple[Kind, str | None, str]:
    with pytest.raises(GatewayError) as refusal:
        parse(data)
    return refusal.value.kind, refusal.value.param, refusal.value.message


NOTHING_SAID: list[dict[str, object]] = [
    {},
    dict.fromkeys([*FIELDS, *UNSUPPORTED, "size", "stream"]) | {"prompt": "a cat"},
    {"size": "", "aspect_ratio": "", "width": "", "height": ""},
    {"size": 0, "aspect_ratio": 0, "width": 0, "height": 0},
    {"size": 0.0, "width": 0.0, "height": -0.0},
    dict.fromkeys(UNSUPPORTED, ""),
    dict.fromkeys(UNSUPPORTED, 0),
    dict.fromkeys(UNSUPPORTED, False),
    {"size": "auto", "aspect_ratio": "AUTO", "quality": "auto", "background": "auto", "moderation": "auto"},
    {"size": " ", "image": "", "mask_image": "", "negative_prompt": "", "output_format": "", "response_format": ""},
    {"image": [], "model": " ", "n": 1, "stream": False},
    {"image": [""], "user": "me", "safety_identifier": "me"},
    {f"field{number}": {"a": [number]} for number in range(200)},
]


@pytest.mark.parametrize("fields", NOTHING_SAID, ids=range(len(NOTHING_SAID)))
def test_what_was_not_said_leaves_the_prompt_alone(fields: dict[str, object]) -> None:
    assert parse(body(**fields)) == ImageRequest(prompt="a cat")


def test_what_was_said_is_kept() -> None:
    request = parse(
        body(
            model=" DALL_E_3 ",
            n=4,
            size="1024x1024",
            aspect_ratio="16:9",
            width=640,
            height=480,
            image="https://example.com/cat.png",
            mask_image=PNG,
            negative_prompt="dogs",
            output_format="webp",
            seed=7,
            response_format="b64_json",
            quality="hd",
        )
    )

    assert request == ImageRequest(
        prompt="a cat",
        model="DALL_E_3",
        n=4,
        geometry=Geometry(Size(1024, 1024), Ratio(16, 9), Size(640, 480)),
        image="https://example.com/cat.png",
        mask_image=f"data:image/png;base64,{PNG}",
        negative_prompt="dogs",
        output_format="webp",
        seed=7,
        response_format="b64_json",
        dropped=(Adjustment("quality", "hd", "dropped"),),
    )


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        pytest.param({"prompt": LONGEST}, {"prompt": LONGEST}, id="the longest prompt"),
        pytest.param({"prompt": " 猫\n "}, {"prompt": " 猫\n "}, id="a prompt is not trimmed"),
        pytest.param({"negative_prompt": LONGEST}, {"negative_prompt": LONGEST}, id="the longest negative prompt"),
        pytest.param({"output_format": "x" * 200}, {"output_format": "x" * 200}, id="the longest word"),
        pytest.param({"n": 10}, {"n": 10}, id="ten pictures"),
        pytest.param({"batch_size": 3}, {"n": 3}, id="n by another name"),
        pytest.param({"n": 2, "batch_size": 3}, {"n": 2}, id="n speaks first"),
        pytest.param({"image_size": "7x3"}, {"geometry": Geometry(Size(7, 3))}, id="size by another name"),
        pytest.param({"size": "8x3", "image_size": "7x3"}, {"geometry": Geometry(Size(8, 3))}, id="size speaks first"),
        pytest.param({"stream": True}, {"stream": True}, id="a stream"),
        pytest.param({"seed": 0}, {"seed": 0}, id="seed zero is said"),
        pytest.param({"seed": -(2**63)}, {"seed": -(2**63)}, id="the lowest seed"),
        pytest.param({"seed": 2**63 - 1}, {"seed": 2**63 - 1}, id="the highest seed"),
        pytest.param({"response_format": "url"}, {"response_format": "url"}, id="a URL"),
        pytest.param({"image": [PNG]}, {"image": f"data:image/png;base64,{PNG}"}, id="one picture in a list"),
        pytest.param(
            {"width": 1, "height": 99_999}, {"geometry": Geometry(None, None, Size(1, 99_999))}, id="a line of pixels"
        ),
        pytest.param({"size": " 1024X768 "}, {"geometry": Geometry(Size(1024, 768))}, id="spaces around a size"),
        pytest.param({"size": "7:3"}, {"geometry": Geometry(Ratio(7, 3))}, id="a ratio as size"),
        pytest.param({"aspect_ratio": "7*3"}, {"geometry": Geometry(None, Size(7, 3))}, id="pixels as a ratio"),
    ],
)
def test_at_the_edge_of_what_is_read(fields: dict[str, object], kept: dict[str, Any]) -> None:
    assert parse(body(**fields)) == ImageRequest(**({"prompt": "a cat"} | kept))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("hd", "hd"),
        (True, "true"),
        (85, "85"),
        (-1, "-1"),
        ("black-forest-labs/FLUX.1", "black-forest-labs/FLUX.1"),
        (0.5, "0.5"),
        ("with spaces", "?"),
        ("a,b", "?"),
        ("a\r\nx-evil: 1", "?"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "?"),
        ("\u9ad8", "?"),
        ({"model": "x"}, "?"),
        ([1], "?"),
    ],
    ids=repr,
)
def test_what_302_cannot_do_is_dropped_and_told_in_a_form_fit_for_a_header(value: object, shown: str) -> None:
    for field in UNSUPPORTED:
        assert parse(body(**{field: value})).dropped == (Adjustment(field, shown, "dropped"),)
    assert plain(value) == shown


def test_every_field_of_openai_that_302_cannot_do_is_told() -> None:
    assert set(UNSUPPORTED) == {
        *("quality", "style", "background", "moderation", "output_compression", "input_fidelity", "partial_images"),
        *("complexity", "frame_count", "frame_duration_ms", "svg"),
    }


@pytest.mark.parametrize(
    "value",
    ["big", "0x10", "1024", "7/3", "100000x1", "1x1000000", "\uff11x\uff11", 1024, 1.5, True, False, [1], {}],
    ids=ascii,
)
@pytest.mark.parametrize("field", ["size", "aspect_ratio"])
def test_a_malformed_geometry_names_its_field_and_says_what_would_be_right(field: str, value: object) -> None:
    kind, param, message = refused(body(**{field: value}))

    assert (kind, param) == (Kind.INVALID_VALUE, field)
    assert message.startswith(f"{field} is ")
    assert "1024x1024" in message


@pytest.mark.parametrize("value", [-1, 100_000, 512.5, "512", "wide", True, False, [512], {}], ids=repr)
@pytest.mark.parametrize(("field", "other"), [("width", "height"), ("height", "width")])
def test_a_malformed_side_names_its_field(field: str, other: str, value: object) -> None:
    kind, param, message = refused(body(**{field: value, other: 512}))

    assert (kind, param) == (Kind.INVALID_VALUE, field)
    assert "whole number" in message


@pytest.mark.parametrize("unsaid", [{}, {"nothing": None}, {"nothing": 0}, {"nothing": ""}], ids=str)
@pytest.mark.parametrize(("said", "missing"), [("width", "height"), ("height", "width")])
def test_one_side_alone_names_the_other(said: str, missing: str, unsaid: dict[str, object]) -> None:
    kind, param, message = refused(
        body(**{said: 512}, **dict.fromkeys([missing] if unsaid else [], unsaid.get("nothing")))
    )

    assert (kind, param) == (Kind.INVALID_VALUE, missing)
    assert message == f"{said} is given and {missing} is not: give both or neither."


WRONG_TYPES: dict[str, list[object]] = {
    "prompt": [1, True, ["a"], {}],
    "model": [1, ["dall-e-3"], {}],
    "n": ["1", 1.5, True, [1], {}],
    "image": [1, {}, [1], [["a"]]],
    "mask_image": [1, ["a"], {}],
    "negative_prompt": [1, ["a"], {}],
    "output_format": [1, ["png"], {}],
    "seed": ["1", 1.5, True, [1]],
    "response_format": [1, ["url"], {}],
    "stream": [1, "true", [True]],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG_TYPES.items() for value in values], ids=repr
)
def test_a_wrong_type_names_its_field(field: str, value: object) -> None:
    kind, param, message = refused(body(**{field: value}))

    assert (kind, param) == (Kind.INVALID_VALUE, field)
    assert message.startswith(f"{field} has the wrong type: Expected ")


@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({"prompt": None}, Kind.MISSING_PARAMETER, "prompt"),
        ({"prompt": ""}, Kind.MISSING_PARAMETER, "prompt"),
        ({"prompt": " \n\t"}, Kind.MISSING_PARAMETER, "prompt"),
        ({"prompt": LONGEST + "x"}, Kind.INVALID_VALUE, "prompt"),
        ({"n": 0}, Kind.INVALID_VALUE, "n"),
        ({"n": -1}, Kind.INVALID_VALUE, "n"),
        ({"n": 11}, Kind.INVALID_VALUE, "n"),
        ({"seed": 2**63}, Kind.INVALID_VALUE, "seed"),
        ({"negative_prompt": LONGEST + "x"}, Kind.INVALID_VALUE, "negative_prompt"),
        ({"output_format": "x" * 201}, Kind.INVALID_VALUE, "output_format"),
        ({"response_format": "base64"}, Kind.INVALID_VALUE, "response_format"),
        ({"response_format": "URL"}, Kind.INVALID_VALUE, "response_format"),
        ({"image": [PNG, PNG]}, Kind.INVALID_VALUE, "image"),
        ({"image": "file:///etc/passwd"}, Kind.INVALID_IMAGE, "image"),
        ({"image": ["a cat"]}, Kind.INVALID_IMAGE, "image"),
        ({"mask_image": "a cat"}, Kind.INVALID_IMAGE, "mask_image"),
        ({"batch_size": 0}, Kind.INVALID_VALUE, "batch_size"),
        ({"image_size": "big"}, Kind.INVALID_VALUE, "image_size"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_refused_value_names_its_field(fields: dict[str, object], kind: Kind, param: str) -> None:
    assert refused(body(**fields))[:2] == (kind, param)


@pytest.mark.parametrize("field", ["n", "seed", "width", "height", "size", "aspect_ratio", "prompt", "image", "stream"])
@pytest.mark.parametrize("digits", [25, 400, 5000])
def test_a_huge_number_is_refused(field: str, digits: int) -> None:
    kind, param, message = refused(raw(field, "9" * digits))

    assert (kind, param) == (Kind.INVALID_VALUE, field)
    assert len(message) < 200


def test_a_huge_number_that_is_not_read_is_no_reason_to_refuse() -> None:
    assert parse(raw("quality", "9" * 4000)).dropped == (Adjustment("quality", "?", "dropped"),)
    assert parse(raw("unknown", "9" * 5000)) == ImageRequest(prompt="a cat")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"prompt=a+cat", id="a form"),
        pytest.param(b'{"prompt": "a cat"', id="cut short"),
        pytest.param(b'{"prompt": "a cat"} trailing', id="trailing"),
        pytest.param(b'\xef\xbb\xbf{"prompt": "a cat"}', id="byte order mark"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"a cat"', id="a string"),
        pytest.param(b'{"prompt": "\xff"}', id="invalid UTF-8"),
        pytest.param(b'{"prompt": "a\ncat"}', id="a bare control character"),
        pytest.param(raw("prompt", r'"\ud800"'), id="a lone high surrogate"),
        pytest.param(raw("prompt", r'"\udc00"'), id="a lone low surrogate"),
        pytest.param(raw("size", r'"\udc00"'), id="a lone surrogate as size"),
        pytest.param(raw("n", "NaN"), id="NaN"),
        pytest.param(raw("size", "-Infinity"), id="infinity"),
        pytest.param(raw("unknown", "[" * DEEP + "]" * DEEP), id="deep lists"),
        pytest.param(raw("unknown", '{"a":' * DEEP + "1" + "}" * DEEP), id="deep objects"),
        pytest.param(raw("size", "[" * DEEP), id="a deep size"),
        pytest.param(raw("quality", "[" * DEEP + "]" * DEEP), id="a deep dropped field"),
    ],
)
def test_what_is_no_json_object_is_refused_as_such(data: bytes) -> None:
    kind, param, message = refused(data)

    assert (kind, param) == (Kind.INVALID_JSON, None)
    assert len(message) < 200


def test_what_was_said_is_quoted_shortly() -> None:
    message = refused(body(size="x" * 10_000))[2]

    assert "xxxxx…" in message
    assert len(message) < 200
