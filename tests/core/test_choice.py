"""Which model draws: by name, by the picture that comes along, by what is set for those who name none."""

import orjson
import pytest

from gateway.core.catalogue import Catalogue, load
from gateway.core.coerce import Policy
from gateway.core.errors import GatewayError, Kind
from gateway.core.request import ImageRequest, parse
from gateway.core.translate import Plan, Rules, translate

CAT = "https://example.com/cat.png"
PLAIN, FORWARD = Rules(), Rules(unknown_models="forward")

Body = dict[str, object]
Defaults = dict[str, str]

DALL_E, EDITS = {"default": "dall-e-3"}, {"for_edits": "302ai-kolors-i2i"}


def plan(catalogue: Catalogue, fields: Body, rules: Rules = PLAIN) -> Plan:
    request = parse(orjson.dumps({"prompt": "a cat", **fields}))
    return translate(request, catalogue, Policy.DOCUMENTED, "gateway", rules)


def refused(catalogue: Catalogue, fields: Body) -> tuple[Kind, str | None, str]:
    with pytest.raises(GatewayError) as refusal:
        plan(catalogue, fields)
    return refusal.value.kind, refusal.value.param, refusal.value.message


@pytest.mark.parametrize(
    ("fields", "model", "adjustments"),
    [
        pytest.param({}, "dall-e-3-t2i", [], id="the default model"),
        pytest.param({"model": "dall-e-3"}, "dall-e-3-t2i", [], id="a twin is no change"),
        pytest.param({"model": "gpt-image-1"}, "dall-e-3-t2i", ["model=gpt-image-1->dall-e-3-t2i"], id="OpenAI's id"),
        pytest.param({"model": "stable-sd3", "image": CAT}, "stable-sd3-i2i", [], id="a bare name with an image"),
        pytest.param(
            {"model": "Stable-SD3-t2i", "image": CAT},
            "stable-sd3-i2i",
            ["model=Stable-SD3-t2i->stable-sd3-i2i"],
            id="a full name with an image",
        ),
        pytest.param(
            {"model": "302ai-kolors-t2i", "image": CAT, "size": "640x480"},
            "302ai-kolors-i2i",
            ["model=302ai-kolors-t2i->302ai-kolors-i2i"],
            id="a free sibling",
        ),
        pytest.param(
            {"model": "flux-pro-1.0-canny", "image": CAT}, "flux-pro-1.0-canny-t2i", [], id="an optional image"
        ),
        pytest.param({"model": "flux-pro-1.0-canny"}, "flux-pro-1.0-canny-t2i", [], id="an optional image left out"),
        pytest.param(
            {"model": "gpt-image-1", "size": "1536x1024", "quality": "high", "style": "vivid"},
            "dall-e-3-t2i",
            [
                "model=gpt-image-1->dall-e-3-t2i",
                "size=1536x1024->1024x1024",
                "quality=high->dropped",
                "style=vivid->dropped",
            ],
            id="all kinds of change, in order",
        ),
    ],
)
def test_the_model_is_chosen_and_every_change_is_told(
    catalogue: Catalogue, fields: Body, model: str, adjustments: list[str]
) -> None:
    found = plan(catalogue, fields)

    assert (found.model.id, [str(adjustment) for adjustment in found.adjustments]) == (model, adjustments)
    assert found.known


CHOICES: list[tuple[Body, Defaults, str]] = [
    ({}, {}, "stable-sd3-t2i"),
    ({"image": CAT}, {}, "stable-sd3-i2i"),
    ({"model": "gpt-image-1", "image": CAT}, {}, "stable-sd3-i2i"),
    # A sibling of what was chosen or set speaks first, then the model that is set for pictures.
    ({"image": CAT}, EDITS, "stable-sd3-i2i"),
    ({"image": CAT}, EDITS | DALL_E, "302ai-kolors-i2i"),
    ({"model": "gpt-image-1", "image": CAT}, EDITS | DALL_E, "302ai-kolors-i2i"),
    ({"model": "stable-sd3-t2i", "image": CAT}, EDITS | DALL_E, "stable-sd3-i2i"),
    ({"model": "flux-pro-1.0-fill", "image": CAT}, EDITS | DALL_E, "flux-pro-1.0-fill-t2i"),
    ({}, EDITS | DALL_E, "dall-e-3-t2i"),
]
VARIATIONS: list[tuple[str | None, str]] = [
    (None, "flux-pro-1.0-fill-t2i"),
    ("dall-e-2", "flux-pro-1.0-fill-t2i"),
    ("gpt-image-1", "flux-pro-1.0-fill-t2i"),
    ("stable-sd3", "stable-sd3-i2i"),
    ("stable-sd3-t2i", "stable-sd3-i2i"),
    ("flux-pro-1.0-canny", "flux-pro-1.0-canny-t2i"),
]


@pytest.mark.parametrize(("fields", "defaults", "model"), CHOICES, ids=map(str, range(len(CHOICES))))
def test_whoever_names_no_model_of_302s_gets_the_one_that_is_set(
    models_toml: tuple[str, str], fields: Body, defaults: Defaults, model: str
) -> None:
    catalogue = load([models_toml], defaults.get("default", "stable-sd3"), for_edits=defaults.get("for_edits"))
    found = plan(catalogue, fields)

    named = str(fields.get("model", catalogue.default.id))
    changed = [f"model={named}->{model}"] if model not in {named, f"{named}-t2i"} else []
    assert (found.model.id, [str(adjustment) for adjustment in found.adjustments]) == (model, changed)


@pytest.mark.parametrize(("name", "model"), VARIATIONS)
def test_a_variation_by_openais_names_is_drawn_by_the_model_that_is_set(
    models_toml: tuple[str, str], name: str | None, model: str
) -> None:
    catalogue = load([models_toml], "dall-e-3", for_edits="302ai-kolors-i2i", for_variations="flux-pro-1.0-fill")
    asked = ImageRequest(prompt="a cat", model=name, image=CAT, variation=True)

    assert translate(asked, catalogue, Policy.DOCUMENTED, "gateway", PLAIN).model.id == model


@pytest.mark.parametrize("name", [None, "dall-e-2", "gpt-image-1"])
def test_where_no_model_is_set_for_variations_those_that_could_are_named(
    catalogue: Catalogue, name: str | None
) -> None:
    asked = ImageRequest(prompt="a cat", model=name, image=CAT, variation=True)
    with pytest.raises(GatewayError, match="These do: stable-sd3-i2i, ") as refusal:
        translate(asked, catalogue, Policy.DOCUMENTED, "gateway", PLAIN)

    assert (refusal.value.kind, refusal.value.param) == (Kind.INVALID_VALUE, "image")


def test_dall_e_2_itself_is_no_model_for_edits(models_toml: tuple[str, str]) -> None:
    catalogue = load([models_toml], "dall-e-3", for_edits="302ai-kolors-i2i", for_variations="flux-pro-1.0-fill")

    assert refused(catalogue, {"model": "dall-e-2", "image": CAT})[:2] == (Kind.INVALID_VALUE, "image")


@pytest.mark.parametrize("model", ["stable-sd3-i2i", "302ai-kolors-i2i"])
def test_a_model_that_draws_from_a_picture_needs_one(catalogue: Catalogue, model: str) -> None:
    kind, param, message = refused(catalogue, {"model": model})

    assert (kind, param) == (Kind.IMAGE_REQUIRED, "image")
    assert model in message


@pytest.mark.parametrize(
    "fields", [{"model": "recraft-v3"}, {"model": "dall-e-3"}, {"model": "gpt-image-1"}, {}], ids=str
)
def test_a_model_that_takes_no_image_names_those_that_do(catalogue: Catalogue, fields: Body) -> None:
    kind, param, message = refused(catalogue, {"image": CAT, **fields})

    assert (kind, param) == (Kind.INVALID_VALUE, "image")
    assert all(id_ in message for id_ in catalogue.taking_images())


@pytest.mark.parametrize(
    ("name", "shown"), [("gpt-4o", "'gpt-4o'"), ("a\r\nb", "'?'"), ("x" * 999, "'?'")], ids=["a", "b", "c"]
)
def test_an_unknown_model_is_refused(catalogue: Catalogue, name: str, shown: str) -> None:
    kind, param, message = refused(catalogue, {"model": name})

    assert (kind, param) == (Kind.MODEL_NOT_FOUND, "model")
    assert message == f"The model {shown} does not exist; GET /v1/models lists those that do."


@pytest.mark.parametrize("fields", [{}, {"image": CAT}], ids=str)
def test_an_unknown_model_goes_through_as_it_is_where_that_is_set(catalogue: Catalogue, fields: Body) -> None:
    found = plan(catalogue, {"model": "Kling_V2-t2i", "size": "77x7", "n": 2, **fields}, FORWARD)

    assert not found.known
    assert (found.price, found.adjustments) == (0, ())
    expected = {"model": "Kling_V2-t2i", "prompt": "a cat", "width": 77, "height": 7, **fields}
    assert [orjson.loads(payload.body) for payload in found.payloads] == [expected] * 2


@pytest.mark.parametrize("model", ["a\0b", "a\nb", "a\u2028b", "a" * 257])
def test_what_no_id_can_be_is_not_forwarded(catalogue: Catalogue, model: str) -> None:
    with pytest.raises(GatewayError) as caught:
        plan(catalogue, {"model": model}, FORWARD)

    assert caught.value.kind is Kind.MODEL_NOT_FOUND


def test_forwarding_changes_nothing_for_models_that_are_known(catalogue: Catalogue) -> None:
    for model in ("dall-e-3", "gpt-image-1", "LUMA"):
        assert plan(catalogue, {"model": model}, FORWARD) == plan(catalogue, {"model": model})
