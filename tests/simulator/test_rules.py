"""What the simulator takes and refuses, model by model."""

from base64 import b64encode
from math import isclose
from typing import Any

import pytest

from gateway.core.catalogue import Catalogue
from gateway.core.shapes import Ratio, Ratios, Sides, Size, Sizes
from gateway.simulator.fields import Refusal
from gateway.simulator.rules import Drawing, check, pixels
from gateway.simulator.wire import Code

URL = "https://example.com/cat.png"
BASE64 = b64encode(b"\x89PNG not quite").decode()
RATIO, SIZE, SIDES, FREE, NONE = "stable-sd3-t2i", "cogview-4-t2i", "doubao-v3-t2i", "recraft-v3-t2i", "stable-sd3-i2i"
EDITS = "flux-pro-1.0-fill-t2i"


def read(catalogue: Catalogue, model: object, **fields: object) -> Drawing | Refusal:
    return check({"model": model, "prompt": "a cat", **fields}, catalogue)


def drawn(catalogue: Catalogue, model: str, **fields: object) -> tuple[int, int]:
    drawing = read(catalogue, model, **fields)
    assert isinstance(drawing, Drawing), drawing
    return drawing.width, drawing.height


def refused(catalogue: Catalogue, model: object, **fields: object) -> str:
    refusal = read(catalogue, model, **fields)
    assert isinstance(refusal, Refusal), refusal
    assert (refusal.status, refusal.code) == (400, Code.INVALID_REQUEST)
    return refusal.detail


def test_every_model_draws_from_a_prompt_alone_or_with_the_image_it_requires(catalogue: Catalogue) -> None:
    for model in catalogue.models.values():
        fields = {"image": URL} if model.image == "required" else {}

        assert isinstance(read(catalogue, model.id, **fields), Drawing), model.id


def test_every_listed_value_of_every_model_is_drawn_in_exactly_that_geometry(catalogue: Catalogue) -> None:
    for model in catalogue.models.values():
        match model.shape:
            case Ratios(values):
                for ratio in values:
                    width, height = drawn(catalogue, model.id, aspect_ratio=str(ratio))
                    assert width * ratio.height == height * ratio.width, (model.id, ratio)
            case Sizes(values):
                for size in values:
                    fields = {"width": size.width, "height": size.height}
                    assert drawn(catalogue, model.id, **fields) == drawn(catalogue, model.id, **fields, size=str(size))
                    assert drawn(catalogue, model.id, **fields) == (size.width, size.height)
            case Sides(low, high):
                assert drawn(catalogue, model.id, width=low, height=high) == (low, high)
            case _:
                pass


@pytest.mark.parametrize(
    ("model", "fields", "size"),
    [
        pytest.param(FREE, {}, (1024, 1024), id="nothing said"),
        pytest.param(FREE, {"width": 1, "height": 4096}, (1, 4096), id="any pixels"),
        pytest.param(FREE, {"aspect_ratio": "7:3"}, (1568, 672), id="any ratio"),
        pytest.param(FREE, {"width": 640, "height": 480, "aspect_ratio": "1:1"}, (640, 480), id="pixels before ratio"),
        pytest.param(RATIO, {}, (1024, 1024), id="ratio model, nothing said"),
        pytest.param("302ai-flux-v1.1-ultra-t2i", {}, (1408, 792), id="the one that falls back to 16:9"),
        pytest.param(SIZE, {}, (1024, 1024), id="size model, nothing said"),
        pytest.param(SIDES, {}, (512, 512), id="sides model, nothing said"),
        pytest.param(NONE, {"image": URL}, (1024, 1024), id="no geometry"),
    ],
)
def test_the_picture_has_the_asked_size(
    catalogue: Catalogue, model: str, fields: dict[str, Any], size: tuple[int, int]
) -> None:
    assert drawn(catalogue, model, **fields) == size


@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        pytest.param(RATIO, {"aspect_ratio": "7:3"}, "must be one of 16:9", id="ratio not listed"),
        pytest.param(RATIO, {"aspect_ratio": "32:18"}, "must be one of 16:9", id="ratio spelled otherwise"),
        pytest.param(RATIO, {"aspect_ratio": 1.78}, "must be a string", id="ratio a number"),
        pytest.param(RATIO, {"width": 1024, "height": 1024}, "does not take height", id="pixels to a ratio model"),
        pytest.param(RATIO, {"size": "1024x1024"}, "does not take size", id="size to a ratio model"),
        pytest.param(SIZE, {"aspect_ratio": "1:1"}, "does not take aspect_ratio", id="ratio to a size model"),
        pytest.param(SIZE, {"width": 1000, "height": 1000}, "must be one of 1024x1024", id="size not listed"),
        pytest.param(SIZE, {"width": 1344, "height": 768, "size": "768x1344"}, "must be the same", id="two sizes"),
        pytest.param(SIZE, {"size": "1024x1024"}, "must be the same", id="size alone"),
        pytest.param(SIDES, {"width": 255, "height": 512}, "from 256 to 768", id="side too short"),
        pytest.param(SIDES, {"width": 512, "height": 769}, "from 256 to 768", id="side too long"),
        pytest.param(
            SIDES, {"width": 512, "height": 512, "size": "512x512"}, "does not take size", id="sides and size"
        ),
        pytest.param(SIDES, {"width": 512}, "go together", id="one side"),
        pytest.param(FREE, {"height": 512}, "go together", id="the other side"),
        pytest.param(FREE, {"width": 0, "height": 0}, "from 1 to 4096", id="zero sides"),
        pytest.param(FREE, {"width": 4097, "height": 1}, "from 1 to 4096", id="enormous"),
        pytest.param(FREE, {"width": "512", "height": 512}, "width must be a whole number", id="side a string"),
        pytest.param(FREE, {"width": 512, "height": 512.0}, "height must be a whole number", id="side a fraction"),
        pytest.param(FREE, {"width": True, "height": True}, "width must be a whole number", id="side a truth"),
        pytest.param(FREE, {"aspect_ratio": "wide"}, "written like 16:9", id="ratio malformed"),
        pytest.param(FREE, {"aspect_ratio": "1024x1024"}, "written like 16:9", id="pixels as ratio"),
        pytest.param(NONE, {"image": URL, "aspect_ratio": "1:1"}, "does not take aspect_ratio", id="no geometry"),
        pytest.param(NONE, {}, "requires image", id="image missing"),
        pytest.param(FREE, {"image": URL}, "does not take image", id="image not taken"),
        pytest.param(EDITS, {"image": ""}, "image must be", id="image empty"),
        pytest.param(EDITS, {"image": "not base64!"}, "image must be", id="image nothing"),
        pytest.param(EDITS, {"image": "ftp://example.com/cat.png"}, "image must be", id="image elsewhere"),
        pytest.param(EDITS, {"image": "https:///cat.png"}, "image must be", id="image nowhere"),
        pytest.param(EDITS, {"image": "https://[cat"}, "image must be", id="image malformed"),
        pytest.param(EDITS, {"image": "data:image/png;base64,"}, "image must be", id="image without bytes"),
        pytest.param(EDITS, {"image": "data:text/html;base64," + BASE64}, "image must be", id="image a page"),
        pytest.param(EDITS, {"image": [URL]}, "image must be", id="image a list"),
        pytest.param(EDITS, {"image": URL, "mask_image": "?"}, "mask_image must be", id="mask nothing"),
        pytest.param(FREE, {"prompt": " "}, "prompt must be", id="prompt blank"),
        pytest.param(FREE, {"prompt": None}, "prompt must be", id="prompt null"),
        pytest.param(FREE, {"negative_prompt": ""}, "negative_prompt must be", id="negative prompt empty"),
        pytest.param(FREE, {"output_format": None}, "output_format must be", id="output format null"),
        pytest.param(FREE, {"seed": None}, "seed must be", id="seed null"),
        pytest.param(FREE, {"seed": "7"}, "seed must be", id="seed a string"),
        pytest.param(FREE, {"n": 1}, "unknown parameter 'n'", id="n"),
        pytest.param(FREE, {"response_format": "url"}, "unknown parameter", id="OpenAI's words"),
        pytest.param(7, {}, "model must be a string", id="model a number"),
    ],
)
def test_what_a_model_does_not_take_is_refused_in_words(
    catalogue: Catalogue, model: object, fields: dict[str, Any], words: str
) -> None:
    assert words in refused(catalogue, model, **fields)


@pytest.mark.parametrize("form", [URL, "http://127.0.0.1:9/a", f"data:image/png;base64,{BASE64}", BASE64])
def test_a_picture_may_come_in_each_of_three_forms(catalogue: Catalogue, form: str) -> None:
    drawing = read(catalogue, EDITS, image=form, mask_image=form)

    assert isinstance(drawing, Drawing)
    assert drawing.from_image


def test_what_every_model_takes_is_read(catalogue: Catalogue) -> None:
    drawing = read(catalogue, FREE, negative_prompt="dogs", output_format="png", seed=7)

    assert drawing == Drawing(FREE, "a cat", 1024, 1024, seed=7)


@pytest.mark.parametrize("payload", [None, [], "x", 1, {}, {"prompt": "a cat"}, {"model": FREE}])
def test_what_is_no_request_at_all_is_refused(catalogue: Catalogue, payload: object) -> None:
    refusal = check(payload, catalogue)

    assert isinstance(refusal, Refusal)
    assert refusal.status == 400


@pytest.mark.parametrize("model", ["dall-e-3", "DALL-E-3-T2I", "gpt-image-1", "nonsense"])
def test_a_name_that_is_no_id_looks_like_an_outage(catalogue: Catalogue, model: str) -> None:
    assert read(catalogue, model) == Refusal(503, Code.NO_CHANNEL)


@pytest.mark.parametrize("text", ["1:1", "16:9", "9:21", "10:16", "1:3", "3:1", "239:100", "97:89"])
def test_a_ratio_becomes_about_a_megapixel_on_a_grid_of_eight(text: str) -> None:
    ratio = Ratio(*map(int, text.split(":")))

    size = pixels(ratio)

    assert (size.width % 8, size.height % 8) == (0, 0)
    assert 0.5 < size.width * size.height / 1024**2 <= 2
    assert isclose(size.width / size.height, ratio.width / ratio.height, rel_tol=0.1)


def test_an_absurd_ratio_stays_within_the_largest_side() -> None:
    assert pixels(Ratio(1, 50)) == Size(80, 4096)
    assert pixels(Ratio(99_999, 1)) == Size(4096, 8)
    assert pixels(Ratio(1, 99_999)) == Size(8, 4096)
