"""How values are written, and how shapes name theirs to people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.catalogue import Catalogue
from gateway.core.shapes import MAX_SIDE, Asked, Ratio, Size, parse_geometry, same_ratio

sides = st.integers(1, MAX_SIDE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1024x768", Size(1024, 768)),
        ("1024X768", Size(1024, 768)),
        ("1024*768", Size(1024, 768)),
        ("1024×768", Size(1024, 768)),
        ("1x99999", Size(1, 99999)),
        ("16:9", Ratio(16, 9)),
        ("10:16", Ratio(10, 16)),
        ("1024:768", Ratio(1024, 768)),
    ],
)
def test_a_value_is_told_by_its_form(text: str, value: Asked) -> None:
    parsed = parse_geometry(text)

    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "big", "auto", "1024", "x1024", "1024x", "0x10", "10x0", "0:1", "01x10", "-1x1", "+1x1", "1_0x10"),
        *("7/3", "7.5:3", "1x1x1", "1:1:1", "1024 x 768", " 1x1", "1x1\n", "1024x768px"),
        *("100000x1", "1x100000", "1:100000", "\uff11x\uff11", "\u0663:\u0664"),
    ],
    ids=ascii,
)
def test_anything_else_is_no_value(text: str) -> None:
    assert parse_geometry(text) is None


@given(value=st.builds(Size, sides, sides) | st.builds(Ratio, sides, sides))
def test_a_value_is_read_as_it_is_written(value: Asked) -> None:
    parsed = parse_geometry(str(value))

    assert parsed == value
    assert type(parsed) is type(value)


@given(one=st.builds(Size, sides, sides), factor=st.integers(1, 100))
def test_proportions_do_not_depend_on_scale(one: Size, factor: int) -> None:
    assert same_ratio(one, Ratio(one.width * factor, one.height * factor))
    assert not same_ratio(one, Ratio(one.width * factor + 1, one.height * factor))


@pytest.mark.parametrize(
    ("model", "kind", "supported"),
    [
        ("recraft-v3-t2i", "free", ("any",)),
        ("302ai-flux-v1.1-ultra-t2i", "ratios", ("21:9", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21")),
        ("dall-e-3-t2i", "sizes", ("256x256", "512x512", "1024x1024")),
        ("doubao-v3-t2i", "sides", ("each side 256 to 768",)),
        ("stable-sd3-i2i", "none", ()),
    ],
)
def test_a_shape_names_what_it_takes(catalogue: Catalogue, model: str, kind: str, supported: tuple[str, ...]) -> None:
    shape = catalogue.models[model].shape

    assert (shape.kind, shape.supported()) == (kind, supported)
