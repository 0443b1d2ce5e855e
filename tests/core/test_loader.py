"""What a catalogue file may say, how a later file overrides it, and how the loader words what it refuses."""

import pytest

from gateway.core.catalogue import Catalogue, CatalogueError, Model, load
from gateway.core.shapes import Ratio, Ratios, Sides, Size, Sizes

BASE = """
[shapes.free]
free = true
[shapes.wide]
ratios = ["16:9", "1:1"]
fallback = "16:9"
[models]
"a-t2i" = { shape = "free", image = "none", price = 0.01, sibling = "a-i2i" }
"a-i2i" = { shape = "free", image = "required", price = 0.02, sibling = "a-t2i" }
"b-t2i" = { shape = "wide", image = "none", price = 0.03 }
[aliases]
"b" = "a-t2i"
"""


def build(*files: str, default: str = "a-t2i") -> Catalogue:
    return load([(f"file{number}.toml", text) for number, text in enumerate(files, 1)], default)


def refusal(*files: str, default: str = "a-t2i") -> str:
    with pytest.raises(CatalogueError) as refused:
        build(*files, default=default)
    return str(refused.value)


def test_a_later_file_adds_to_the_earlier_ones() -> None:
    mine = """
    [shapes.tall]
    sizes = ["1x2"]
    fallback = "1x2"
    [models]
    "only-i2i" = { shape = "free", image = "required", price = 0 }
    "c-t2i" = { shape = "tall", image = "optional", price = 0, timeout = 0.5 }
    "Dee" = { shape = "free", image = "none", price = 1000 }
    [aliases]
    "see" = "C"
    "pre-*" = "default"
    """
    catalogue = build(BASE, mine)

    assert list(catalogue.models) == ["a-t2i", "a-i2i", "b-t2i", "only-i2i", "c-t2i", "Dee"]
    tall = Sizes((Size(1, 2),), Size(1, 2))
    assert catalogue.models["c-t2i"] == Model("c-t2i", "tall", tall, "optional", 0, timeout=0.5)
    assert catalogue.models["Dee"].price == 1_000_000_000
    for name, id_ in {"see": "c-t2i", "pre-1": "a-t2i", "DEE": "Dee", "only": "only-i2i"}.items():
        found = catalogue.resolve(name)
        assert found
        assert found.model.id == id_


def test_a_later_file_overrides_rows_and_shapes() -> None:
    mine = """
    [shapes.wide]
    ratios = ["21:9"]
    fallback = "21:9"
    [models]
    "a-i2i" = { shape = "wide", image = "required", price = 0.5, sibling = "a-t2i" }
    """
    models = build(BASE, mine).models

    wide = Ratios((Ratio(21, 9),), Ratio(21, 9))
    assert (models["a-i2i"].shape, models["a-i2i"].price) == (wide, 500_000)
    assert models["b-t2i"].shape == wide


@pytest.mark.parametrize("alias", ["dall-e-3", "DALL_E_3", "gpt-image-*", "gpt-image-2*", "chatgpt-image-latest"])
def test_a_later_file_overrides_aliases(models_toml: tuple[str, str], alias: str) -> None:
    mine = f'[aliases]\n"{alias}" = "cogview-4-t2i"\n'
    found = load([models_toml, ("mine.toml", mine)], "dall-e-3-t2i").resolve(alias.replace("*", "1"))

    assert found
    assert found.model.id == "cogview-4-t2i"


@pytest.mark.parametrize(
    ("name", "id_"),
    [("a-t2i", "a-t2i"), ("A", "b-t2i"), ("pre-1", "b-t2i"), ("pre-long-1", "a-i2i"), ("pre-long-2", "b-t2i")],
)
def test_an_id_speaks_before_an_alias_and_a_longer_alias_before_a_shorter(name: str, id_: str) -> None:
    mine = """
    [aliases]
    "a-t2i" = "b-t2i"
    "a" = "b-t2i"
    "pre-*" = "b-t2i"
    "pre-long-*" = "a-i2i"
    "pre-long-2" = "b-t2i"
    """
    found = build(BASE, mine).resolve(name)

    assert found
    assert found.model.id == id_


@pytest.mark.parametrize(
    ("text", "where", "remedy"),
    [
        pytest.param("[models", "file2.toml", "quoted", id="no TOML"),
        pytest.param('[aliases]\n"x" = "a-t2i"\n"x" = "b-t2i"\n', "line 3", "may stand once", id="an alias twice"),
        pytest.param("[modells]", "[modells]", "[shapes], [models] and [aliases]", id="unknown table"),
        pytest.param("shapes = 3", "[shapes]", "[shapes], [models] and [aliases]", id="a table that is none"),
        pytest.param(
            "[shapes.s]", "shape 's'", "exactly one of free, none, ratios, sizes, side", id="shape of nothing"
        ),
        pytest.param("[shapes.s]\nfree = true\nnone = true", "shape 's'", "exactly one of", id="shape of two kinds"),
        pytest.param("[shapes.s]\nfree = 1", "shape 's'", "columns are free", id="wrong type"),
        pytest.param("[shapes]\ns = 1", "shape 's'", "columns are free", id="shape that is no table"),
        pytest.param(
            "[shapes.s]\nratio = []", "shape 's'", "columns are free, none, ratios", id="unknown column of a shape"
        ),
        pytest.param("[shapes.s]\nratios = []", "shape 's'", "'16:9'", id="no ratios"),
        pytest.param('[shapes.s]\nratios = ["1x1"]\nfallback = "1x1"', "shape 's'", "'16:9'", id="a size among ratios"),
        pytest.param(
            '[shapes.s]\nratios = ["1:1", "3:1"]\nfallback = "2:1"', "shape 's'", "one of them", id="foreign fallback"
        ),
        pytest.param('[shapes.s]\nratios = ["1:1"]', "shape 's'", "fallback must be one of them", id="no fallback"),
        pytest.param(
            '[shapes.s]\nsizes = ["1:1"]\nfallback = "1:1"', "shape 's'", "'1024x1024'", id="a ratio among sizes"
        ),
        pytest.param("[shapes.s]\nside = [1, 9]", "shape 's'", "whole number within side", id="no fallback side"),
        pytest.param(
            "[shapes.s]\nside = [1, 9]\nfallback = 10", "shape 's'", "within side", id="fallback out of range"
        ),
        pytest.param("[shapes.s]\nside = [9, 1]\nfallback = 5", "shape 's'", "within side", id="range upside down"),
        pytest.param("[shapes.s]\nside = [0, 9]\nfallback = 5", "shape 's'", "within side", id="range from zero"),
        pytest.param("[shapes.s]\nside = [1]\nfallback = 1", "shape 's'", "columns are", id="half a range"),
    ],
)
def test_the_loader_names_file_row_and_remedy_of_a_wrong_shape(text: str, where: str, remedy: str) -> None:
    message = refusal(BASE, text)

    assert "file2.toml" in message
    assert where in message
    assert remedy in message


@pytest.mark.parametrize(
    ("row", "remedy"),
    [
        pytest.param('{ shape = "round", image = "none", price = 1 }', "it is one of free, wide", id="unknown shape"),
        pytest.param(
            '{ shape = "free", image = "none", price = 1, owner = "me" }', "columns are shape", id="unknown column"
        ),
        pytest.param('{ shape = "free", image = "none" }', "price", id="no price"),
        pytest.param('{ shape = "free", image = "none", price = "1" }', "price", id="price in words"),
        pytest.param('{ shape = "free", image = "none", price = -1 }', "USD an image, from 0", id="negative price"),
        pytest.param('{ shape = "free", image = "none", price = 1000.1 }', "to 1000", id="price in micro-USD"),
        pytest.param('{ shape = "free", image = "none", price = nan }', "USD an image", id="price that is no number"),
        pytest.param('{ shape = "free", image = "maybe", price = 1 }', "image", id="unknown use of images"),
        pytest.param('{ shape = "free", image = "none", price = 1, timeout = 0 }', "more than 0", id="no time"),
        pytest.param(
            '{ shape = "free", image = "none", price = 1, timeout = inf }',
            "more than 0",
            id="a timeout that never comes",
        ),
        pytest.param(
            '{ shape = "free", image = "none", price = 1, timeout = nan }', "more than 0", id="time without end"
        ),
        pytest.param(
            '{ shape = "free", image = "none", price = 1, sibling = "b-t2i" }', "names it back", id="one-sided sibling"
        ),
        pytest.param(
            '{ shape = "free", image = "none", price = 1, sibling = "y" }', "must be a row", id="unknown sibling"
        ),
        pytest.param('"free"', "columns are shape", id="no table"),
    ],
)
def test_the_loader_names_file_row_and_remedy_of_a_wrong_model(row: str, remedy: str) -> None:
    message = refusal(BASE, f'[models]\n"x-t2i" = {row}')

    assert "file2.toml:2: model 'x-t2i'" in message
    assert remedy in message


@pytest.mark.parametrize(
    ("text", "row", "remedy"),
    [
        pytest.param('[aliases]\n"x" = "nobody"', "'x'", "write an id or 'default'", id="alias of nothing"),
        pytest.param('[aliases]\n"x" = "b"\n"b" = "x"', "'x'", "write an id or 'default'", id="aliases in a circle"),
        pytest.param('[aliases]\n"x" = 3', "'x'", "a model id or 'default'", id="alias of a number"),
        pytest.param(
            '[models]\n"A_T2I" = { shape = "free", image = "none", price = 1 }',
            "'A_T2I'",
            "keep one",
            id="one id twice",
        ),
    ],
)
def test_the_loader_names_file_row_and_remedy_of_a_wrong_name(text: str, row: str, remedy: str) -> None:
    message = refusal(BASE, text)

    assert "file2.toml" in message
    assert row in message
    assert remedy in message


@pytest.mark.parametrize("fallback", [1, 5, 9])
def test_a_range_of_sides_has_its_ends(fallback: int) -> None:
    mine = (
        f'[shapes.s]\nside = [1, 9]\nfallback = {fallback}\n[models]\nx = {{ shape = "s", image = "none", price = 0 }}'
    )

    assert build(BASE, mine).models["x"].shape == Sides(1, 9, fallback)


@pytest.mark.parametrize("default", ["", "nobody", "gpt-image-1"])
def test_a_default_model_must_be_a_model(default: str) -> None:
    mine = '[aliases]\n"gpt-image-*" = "default"'

    assert f"default_model {default!r}" in refusal(BASE, mine, default=default)


@pytest.mark.parametrize(
    ("model", "complaint"),
    [("nobody", "'nobody' is in no catalogue row"), ("b-t2i", "'b-t2i' takes no picture; these do: a-i2i")],
)
@pytest.mark.parametrize("setting", ["edit", "variation"])
def test_a_default_model_for_pictures_must_be_one_that_takes_them(setting: str, model: str, complaint: str) -> None:
    defaults = {"for_edits" if setting == "edit" else "for_variations": model}
    with pytest.raises(CatalogueError, match=f"^{setting}_model {complaint}"):
        load([("file1.toml", BASE)], "a-t2i", **defaults)


def test_without_models_there_is_no_default() -> None:
    assert "default_model" in refusal("")
