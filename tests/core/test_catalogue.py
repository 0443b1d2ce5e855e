"""The real catalogue against 302's page, and the names it answers to."""

from typing import assert_never

import pytest

from gateway.core.catalogue import Catalogue, Model, forwarded, load
from gateway.core.shapes import Free, Ratios, Shape, Sides, Sizes, Unshaped
from tests.core.seed import ROWS, RULES, SIBLINGS, Row, Rule


def rule(shape: Shape) -> Rule:
    """A shape in the words of the page."""
    match shape:
        case Free():
            return Rule("free")
        case Unshaped():
            return Rule("none")
        case Ratios():
            return Rule("ratio", tuple(map(str, shape.values)), str(shape.fallback))
        case Sizes():
            return Rule("size", tuple(map(str, shape.values)), str(shape.fallback))
        case Sides():
            return Rule("side", (str(shape.low), str(shape.high)), str(shape.fallback))
        case _:
            assert_never(shape)


def test_the_models_are_those_of_the_page_in_its_order_with_its_rules(catalogue: Catalogue) -> None:
    found = [Row(model.id, model.shape_name, model.image, model.price / 1e6) for model in catalogue.models.values()]

    assert found == ROWS
    assert {model.shape_name: rule(model.shape) for model in catalogue.models.values()} == RULES


def test_siblings_are_the_same_model_of_the_other_kind(catalogue: Catalogue) -> None:
    pairs = {(model.id, other.id) for model in catalogue.models.values() if (other := catalogue.sibling(model))}

    assert pairs == set(SIBLINGS.items()) | {(i2i, t2i) for t2i, i2i in SIBLINGS.items()}


def test_the_models_that_take_images_are_those_that_need_one_or_may_have_one(catalogue: Catalogue) -> None:
    assert catalogue.taking_images() == [row.id for row in ROWS if row.image != "none"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_model_is_found_in_any_case_with_either_dash_and_without_its_suffix(catalogue: Catalogue, row: Row) -> None:
    bare = row.id[: -len("-t2i")]
    taken = {"required": True}.get(row.image, False)
    for name in (row.id, row.id.upper(), row.id.replace("-", "_"), f" {row.id} ", bare, bare.title()):
        found = catalogue.resolve(name, with_image=taken)

        assert found, name
        assert (found.model.id, found.substituted) == (row.id, False)


@pytest.mark.parametrize(
    ("name", "with_image", "id_", "substituted"),
    [
        ("dall-e-3", False, "dall-e-3-t2i", False),
        ("DALL_E_2", False, "dall-e-2-t2i", False),
        ("dall-e-3", True, "dall-e-3-t2i", False),
        ("luma", True, "luma-t2i", False),
        ("stable-sd3", False, "stable-sd3-t2i", False),
        ("stable-sd3", True, "stable-sd3-i2i", False),
        ("Stable_SD3.5-Medium", True, "stable-sd3.5-medium-i2i", False),
        ("302ai-kolors", True, "302ai-kolors-i2i", False),
        ("stable-sd3-t2i", True, "stable-sd3-t2i", False),
        ("gpt-image-1", False, "dall-e-3-t2i", True),
        ("GPT_Image_2.5-Sunburst-2026-09-08", False, "dall-e-3-t2i", True),
        ("chatgpt-image-latest", False, "dall-e-3-t2i", True),
    ],
)
def test_a_name_leads_to_its_model(
    catalogue: Catalogue, name: str, with_image: bool, id_: str, substituted: bool
) -> None:
    found = catalogue.resolve(name, with_image=with_image)

    assert found
    assert (found.model.id, found.substituted) == (id_, substituted)


@pytest.mark.parametrize("name", ["", "-t2i", "gpt-image", "chatgpt-image-1", "dall-e", "dall-e-3-i2i", "gpt-4o", "*"])
def test_an_unknown_name_leads_nowhere(catalogue: Catalogue, name: str) -> None:
    assert catalogue.resolve(name) is None


@pytest.mark.parametrize("default", ["cogview-4-t2i", "COGVIEW_4"])
def test_openais_ids_lead_to_the_default_model_that_is_set(models_toml: tuple[str, str], default: str) -> None:
    catalogue = load([models_toml], default)
    found = catalogue.resolve("gpt-image-1")

    assert found
    assert catalogue.default.id == found.model.id == "cogview-4-t2i"


def test_a_forwarded_name_is_free_may_have_an_image_and_has_no_price() -> None:
    assert forwarded("kling-v2-t2i") == Model("kling-v2-t2i", "free", Free(), "optional", 0)
