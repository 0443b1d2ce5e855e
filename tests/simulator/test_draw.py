"""The pictures: real, of the asked size, the same for the same drawing and different for another."""

import io
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from PIL import Image, ImageFont

from gateway.simulator.canvas import Canvas
from gateway.simulator.caption import wrap
from gateway.simulator.draw import _COMPOSITIONS, draw
from gateway.simulator.palettes import PALETTES, Palette
from gateway.simulator.rules import Drawing

Composition = Callable[[Canvas, Palette, Random], None]

SMALL = Drawing("dall-e-3-t2i", "a lighthouse at dusk", 256, 256)


def opened(picture: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(picture))
    image.load()
    return image


@pytest.mark.parametrize(
    ("width", "height"),
    [(1024, 1024), (1408, 792), (672, 1568), (256, 256), (768, 256), (1, 1), (8, 4096), (4096, 8), (95, 200)],
)
def test_a_picture_is_a_png_of_exactly_the_asked_size(width: int, height: int) -> None:
    image = opened(draw(replace(SMALL, width=width, height=height)))

    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (width, height))


@pytest.mark.parametrize("composition", _COMPOSITIONS)
def test_every_composition_fills_every_format_by_day_and_by_night(composition: Composition) -> None:
    for number, palette in enumerate(PALETTES[1:3]):
        for width, height in ((96, 96), (160, 40), (40, 160), (3, 3)):
            canvas = Canvas(width, height)

            composition(canvas, palette, Random(number))

            assert len(canvas.image.getcolors(width * height) or []) > 1


def test_what_lies_outside_a_canvas_is_cut_off() -> None:
    canvas = Canvas(8, 8)

    canvas.dot(8, 3, (255, 255, 255))
    canvas.dot(3, -1, (255, 255, 255))
    canvas.disc(20, 20, 5, (255, 255, 255))
    canvas.wash([(255, 255, 255), (255, 255, 255)], 8)

    assert canvas.image.getcolors() == [(64, (0, 0, 0))]


def test_the_same_drawing_is_the_same_bytes() -> None:
    assert draw(SMALL) == draw(replace(SMALL))


def test_prompt_model_seed_size_and_source_each_make_another_picture() -> None:
    others = [
        replace(SMALL, prompt="a lighthouse at dawn"),
        replace(SMALL, model="dall-e-2-t2i"),
        replace(SMALL, seed=7),
        replace(SMALL, width=264),
        replace(SMALL, from_image=True),
    ]

    assert len({draw(SMALL), *map(draw, others)}) == 6


@pytest.mark.parametrize(
    "prompt",
    [
        "a",
        "word " * 500,
        "x" * 3000,
        "une forêt d'été",
        "一只猫 in the rain",
        "🙂",
        "\n\t\x00",
        "[[fail:hang]]",
        "a\u0301" * 999,
    ],
)
def test_any_prompt_can_be_written_on_the_picture(prompt: str) -> None:
    assert opened(draw(replace(SMALL, prompt=prompt))).size == (256, 256)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param("a cat", ["a cat"], id="short"),
        pytest.param("", [], id="empty"),
        pytest.param("Ünïcödé “quotes” – dash", ["Unicode", '"quotes" -', "dash"], id="accents and quotes"),
        pytest.param("一只猫", ["..."], id="letters the font has not"),
        pytest.param("aaaaaaaaaaaaaaa", ["aaaaaaaaa", "aaaaaa"], id="a word too long for a line"),
    ],
)
def test_a_prompt_is_broken_into_lines(text: str, lines: list[str]) -> None:
    assert wrap(text, ImageFont.load_default(20), 104) == lines


def test_a_prompt_too_long_for_the_pane_ends_in_dots() -> None:
    font = ImageFont.load_default(20)

    lines = wrap("many words " * 20, font, 150)

    assert len(lines) == 3
    assert lines[-1].endswith("...")
    assert max(map(font.getlength, lines)) <= 150


def test_a_palette_is_complete() -> None:
    assert {(len(palette.sky), len(palette.accents)) for palette in PALETTES} == {(4, 5)}
