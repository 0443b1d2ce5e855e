"""What is sent for what was said, rule by rule; the laws that hold for everything are in test_laws.py."""

import orjson
import pytest

from gateway.core.catalogue import Catalogue
from gateway.core.coerce import Adjustment, Policy, coerce
from gateway.core.errors import GatewayError, Kind
from gateway.core.request import parse
from tests.core.oracle import told

STABILITY, IDEOGRAM, STANDARD, ULTRA = "stable-sd3-t2i", "ideogram-v2-t2i", "luma-t2i", "302ai-flux-v1.1-ultra-t2i"
SQUARE, COGVIEW, DOUBAO, FREE, NONE = (
    "dall-e-3-t2i",
    "cogview-4-t2i",
    "doubao-v3-t2i",
    "recraft-v3-t2i",
    "stable-sd3-i2i",
)

Said = dict[str, str | int]
Case = tuple[str, Said, str, list[str]]


def ask(catalogue: Catalogue, policy: Policy, model: str, said: Said) -> tuple[str, list[str]]:
    """What is sent, and what is reported."""
    geometry = parse(orjson.dumps({"prompt": "a cat", **said})).geometry
    coerced = coerce(catalogue.models[model].shape, geometry, policy, model)
    return told(coerced.fields), [str(adjustment) for adjustment in coerced.adjustments]


def name(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{field}={said}" for field, said in value.items()) or "nothing"
    return value if isinstance(value, str) else "reported"


DOCUMENTED: list[Case] = [
    # A ratio of a ratio model is exact, or what the page says of any other value.
    (STABILITY, {"aspect_ratio": "21:9"}, "21:9", []),
    (STABILITY, {"aspect_ratio": "7:3"}, "1:1", ["aspect_ratio=7:3->1:1"]),
    (STABILITY, {"aspect_ratio": "4:3"}, "1:1", ["aspect_ratio=4:3->1:1"]),
    (STABILITY, {"size": "4:3"}, "1:1", ["size=4:3->aspect_ratio=1:1"]),
    (IDEOGRAM, {"aspect_ratio": "10:16"}, "10:16", []),
    (IDEOGRAM, {"aspect_ratio": "5:8"}, "1:1", ["aspect_ratio=5:8->1:1"]),
    (STANDARD, {"aspect_ratio": "3:2"}, "1:1", ["aspect_ratio=3:2->1:1"]),
    (ULTRA, {"aspect_ratio": "9:21"}, "9:21", []),
    (ULTRA, {"aspect_ratio": "2:3"}, "16:9", ["aspect_ratio=2:3->16:9"]),
    # Pixels asked of a ratio model are translated: the equal ratio, else the nearest.
    (STABILITY, {"size": "1024x1024"}, "1:1", []),
    (STABILITY, {"size": "1536x1024"}, "3:2", []),
    (STABILITY, {"size": "1792x1024"}, "16:9", ["size=1792x1024->aspect_ratio=16:9"]),
    (STABILITY, {"aspect_ratio": "1024x1792"}, "9:16", ["aspect_ratio=1024x1792->9:16"]),
    (STABILITY, {"size": "700x300"}, "21:9", []),
    (IDEOGRAM, {"size": "1000x1600"}, "10:16", []),
    (STANDARD, {"size": "1536x1024"}, "4:3", ["size=1536x1024->aspect_ratio=4:3"]),
    (ULTRA, {"size": "1024x1792"}, "9:16", ["size=1024x1792->aspect_ratio=9:16"]),
    (
        ULTRA,
        {"width": 1280, "height": 576},
        "21:9",
        ["width=1280->aspect_ratio=21:9", "height=576->aspect_ratio=21:9"],
    ),
    (ULTRA, {"width": 1600, "height": 900}, "16:9", []),
    # A listed size is exact, or what the page says of any other value.
    (SQUARE, {"size": "256x256"}, "256x256", []),
    (SQUARE, {"size": "1792x1024"}, "1024x1024", ["size=1792x1024->1024x1024"]),
    (SQUARE, {"aspect_ratio": "300x300"}, "1024x1024", ["aspect_ratio=300x300->size=1024x1024"]),
    (COGVIEW, {"size": "1440x720"}, "1440x720", []),
    (COGVIEW, {"size": "1792x1024"}, "1024x1024", ["size=1792x1024->1024x1024"]),
    (COGVIEW, {"width": 768, "height": 1344}, "768x1344", []),
    (COGVIEW, {"width": 768, "height": 768}, "1024x1024", ["width=768->1024", "height=768->1024"]),
    (COGVIEW, {"width": 1024, "height": 768}, "1024x1024", ["height=768->1024"]),
    # A ratio asked of such a model becomes the size nearest in ratio, then the largest.
    (SQUARE, {"aspect_ratio": "1:1"}, "1024x1024", []),
    (SQUARE, {"aspect_ratio": "16:9"}, "1024x1024", ["aspect_ratio=16:9->size=1024x1024"]),
    (COGVIEW, {"aspect_ratio": "2:1"}, "1440x720", []),
    (COGVIEW, {"aspect_ratio": "16:9"}, "1344x768", ["aspect_ratio=16:9->size=1344x768"]),
    (COGVIEW, {"size": "3:4"}, "864x1152", []),
    # Each side within the range is exact, each other 512.
    (DOUBAO, {"size": "256x768"}, "256x768", []),
    (DOUBAO, {"size": "1024x1024"}, "512x512", ["size=1024x1024->512x512"]),
    (DOUBAO, {"size": "1024x700"}, "512x700", ["size=1024x700->512x700"]),
    (DOUBAO, {"width": 769, "height": 255}, "512x512", ["width=769->512", "height=255->512"]),
    (DOUBAO, {"width": 300, "height": 900}, "300x512", ["height=900->512"]),
    # A ratio: the longest side is the largest allowed, the other follows.
    (DOUBAO, {"aspect_ratio": "16:9"}, "768x432", []),
    (DOUBAO, {"aspect_ratio": "9:16"}, "432x768", []),
    (DOUBAO, {"aspect_ratio": "3:1"}, "768x256", []),
    (DOUBAO, {"aspect_ratio": "7:3"}, "768x329", ["aspect_ratio=7:3->size=768x329"]),
    (DOUBAO, {"aspect_ratio": "1:9"}, "256x768", ["aspect_ratio=1:9->size=256x768"]),
    # Whatever was asked, and nothing at all.
    (FREE, {"size": "1234x77"}, "1234x77", []),
    (FREE, {"size": "7:3"}, "7:3", []),
    (FREE, {"width": 640, "height": 480}, "640x480", []),
    (NONE, {"size": "1024x1024"}, "-", ["size=1024x1024->dropped"]),
    (NONE, {"aspect_ratio": "1:1"}, "-", ["aspect_ratio=1:1->dropped"]),
    (NONE, {"width": 64, "height": 48}, "-", ["width=64->dropped", "height=48->dropped"]),
]

NEAREST: list[Case] = [
    (STABILITY, {"aspect_ratio": "7:3"}, "21:9", ["aspect_ratio=7:3->21:9"]),
    (STABILITY, {"aspect_ratio": "4:3"}, "5:4", ["aspect_ratio=4:3->5:4"]),
    (IDEOGRAM, {"aspect_ratio": "5:8"}, "10:16", ["aspect_ratio=5:8->10:16"]),
    (ULTRA, {"aspect_ratio": "2:3"}, "3:4", ["aspect_ratio=2:3->3:4"]),
    (STANDARD, {"size": "1536x1024"}, "4:3", ["size=1536x1024->aspect_ratio=4:3"]),
    (SQUARE, {"size": "300x300"}, "256x256", ["size=300x300->256x256"]),
    (SQUARE, {"size": "800x600"}, "512x512", ["size=800x600->512x512"]),
    (SQUARE, {"aspect_ratio": "4:3"}, "1024x1024", ["aspect_ratio=4:3->size=1024x1024"]),
    (COGVIEW, {"size": "1792x1024"}, "1344x768", ["size=1792x1024->1344x768"]),
    (COGVIEW, {"size": "720x1450"}, "720x1440", ["size=720x1450->720x1440"]),
    (DOUBAO, {"size": "1024x1024"}, "768x768", ["size=1024x1024->768x768"]),
    (DOUBAO, {"size": "1792x1024"}, "768x439", ["size=1792x1024->768x439"]),
    (DOUBAO, {"size": "100x200"}, "256x512", ["size=100x200->256x512"]),
    (DOUBAO, {"size": "3000x100"}, "768x256", ["size=3000x100->768x256"]),
    (DOUBAO, {"width": 1536, "height": 768}, "768x384", ["width=1536->768", "height=768->384"]),
    (NONE, {"size": "512x512"}, "-", ["size=512x512->dropped"]),
]

BOTH_WAYS: list[Case] = [
    (STABILITY, {"size": "1024x1024", "aspect_ratio": "16:9"}, "16:9", ["size=1024x1024->dropped"]),
    (
        STABILITY,
        {"width": 640, "height": 480, "aspect_ratio": "3:2"},
        "3:2",
        ["width=640->dropped", "height=480->dropped"],
    ),
    (STABILITY, {"size": "3:2", "aspect_ratio": "16:9"}, "16:9", ["size=3:2->dropped"]),
    (STABILITY, {"size": "16:9", "aspect_ratio": "16:9"}, "16:9", []),
    (
        STABILITY,
        {"size": "1792x1024", "aspect_ratio": "7:3"},
        "1:1",
        ["aspect_ratio=7:3->1:1", "size=1792x1024->dropped"],
    ),
    (SQUARE, {"size": "512x512", "aspect_ratio": "16:9"}, "512x512", ["aspect_ratio=16:9->dropped"]),
    (SQUARE, {"size": "16:9", "aspect_ratio": "512x512"}, "512x512", ["size=16:9->dropped"]),
    (SQUARE, {"size": "512x512", "aspect_ratio": "512:512"}, "512x512", ["aspect_ratio=512:512->dropped"]),
    (SQUARE, {"size": "512x512", "width": 512, "height": 512}, "512x512", []),
    (COGVIEW, {"size": "1024x1024", "width": 720, "height": 1440}, "720x1440", ["size=1024x1024->dropped"]),
    (DOUBAO, {"size": "600x300", "aspect_ratio": "1:1"}, "600x300", ["aspect_ratio=1:1->dropped"]),
    (FREE, {"size": "640x480", "aspect_ratio": "4:3"}, "640x480 4:3", []),
    (FREE, {"size": "640x480", "width": 320, "height": 240}, "320x240", ["size=640x480->dropped"]),
    (NONE, {"size": "640x480", "aspect_ratio": "4:3"}, "-", ["size=640x480->dropped", "aspect_ratio=4:3->dropped"]),
]


@pytest.mark.parametrize(("model", "said", "sent", "reported"), DOCUMENTED, ids=name)
def test_documented(catalogue: Catalogue, model: str, said: Said, sent: str, reported: list[str]) -> None:
    assert ask(catalogue, Policy.DOCUMENTED, model, said) == (sent, reported)


@pytest.mark.parametrize(("model", "said", "sent", "reported"), NEAREST, ids=name)
def test_nearest(catalogue: Catalogue, model: str, said: Said, sent: str, reported: list[str]) -> None:
    assert ask(catalogue, Policy.NEAREST, model, said) == (sent, reported)


@pytest.mark.parametrize(("model", "said", "sent", "reported"), BOTH_WAYS, ids=name)
def test_said_both_ways_the_models_own_kind_wins(
    catalogue: Catalogue, model: str, said: Said, sent: str, reported: list[str]
) -> None:
    assert ask(catalogue, Policy.DOCUMENTED, model, said) == (sent, reported)


@pytest.mark.parametrize(
    ("model", "said", "sent"),
    [
        (STABILITY, {"aspect_ratio": "21:9"}, "21:9"),
        (STABILITY, {"size": "1600x900"}, "16:9"),
        (STABILITY, {"width": 700, "height": 300}, "21:9"),
        (SQUARE, {"size": "512x512"}, "512x512"),
        (COGVIEW, {"aspect_ratio": "2:1"}, "1440x720"),
        (DOUBAO, {"size": "300x700"}, "300x700"),
        (DOUBAO, {"aspect_ratio": "16:9"}, "768x432"),
        (FREE, {"size": "77x7"}, "77x7"),
        (STABILITY, {"size": "1600x900", "aspect_ratio": "16:9"}, "16:9"),
    ],
    ids=name,
)
def test_strict_sends_what_needs_no_change(catalogue: Catalogue, model: str, said: Said, sent: str) -> None:
    assert ask(catalogue, Policy.STRICT, model, said)[0] == sent


@pytest.mark.parametrize(
    ("model", "said", "param", "supported"),
    [
        (STABILITY, {"aspect_ratio": "7:3"}, "aspect_ratio", "16:9, 1:1, 21:9, 2:3, 3:2, 4:5, 5:4, 9:16, 9:21"),
        (IDEOGRAM, {"aspect_ratio": "5:8"}, "aspect_ratio", "10:16, 16:10"),
        (ULTRA, {"size": "1792x1024"}, "size", "21:9, 16:9, 4:3, 1:1, 3:4, 9:16, 9:21"),
        (SQUARE, {"size": "1792x1024"}, "size", "256x256, 512x512, 1024x1024"),
        (COGVIEW, {"aspect_ratio": "16:9"}, "aspect_ratio", "1024x1024, 768x1344"),
        (COGVIEW, {"width": 64, "height": 48}, "width", "1440x720, 720x1440"),
        (DOUBAO, {"size": "1024x1024"}, "size", "256 to 768"),
        (DOUBAO, {"aspect_ratio": "4:1"}, "aspect_ratio", "256 to 768"),
        (NONE, {"size": "1:1"}, "size", "no geometry"),
        (STABILITY, {"size": "1024x1024", "aspect_ratio": "16:9"}, "size", "16:9, 1:1"),
        (DOUBAO, {"size": "600x300", "aspect_ratio": "1:1"}, "aspect_ratio", "256 to 768"),
    ],
    ids=name,
)
def test_strict_refuses_a_change_and_lists_what_the_model_takes(
    catalogue: Catalogue, model: str, said: Said, param: str, supported: str
) -> None:
    with pytest.raises(GatewayError) as refusal:
        ask(catalogue, Policy.STRICT, model, said)

    assert (refusal.value.kind, refusal.value.param) == (Kind.INVALID_VALUE, param)
    assert supported in refusal.value.message
    assert model in refusal.value.message


def test_strict_repeats_what_was_said(catalogue: Catalogue) -> None:
    with pytest.raises(GatewayError, match=r"^size 1792x1024 would have to be changed for luma-t2i, "):
        ask(catalogue, Policy.STRICT, STANDARD, {"size": "1792x1024"})
    with pytest.raises(GatewayError, match=r"^width and height 1792x1024 would have to be changed for luma-t2i, "):
        ask(catalogue, Policy.STRICT, STANDARD, {"width": 1792, "height": 1024})


@pytest.mark.parametrize(
    "said", [{}, {"size": "auto"}, {"size": "", "aspect_ratio": "", "width": 0, "height": 0}], ids=name
)
def test_what_was_not_said_is_not_sent(catalogue: Catalogue, said: Said) -> None:
    for model in catalogue.models:
        for policy in Policy:
            assert ask(catalogue, policy, model, said) == ("-", [])


@pytest.mark.parametrize(
    ("model", "of_pixels", "of_a_ratio"),
    [
        (STABILITY, "21:9", "1:1"),
        (COGVIEW, "1024x1024", "1440x720"),
        (DOUBAO, "512x512", "768x329"),
        (FREE, "35x15", "35:15"),
    ],
)
def test_pixels_and_a_ratio_of_the_same_numbers_are_two_questions(
    catalogue: Catalogue, model: str, of_pixels: str, of_a_ratio: str
) -> None:
    for _ in range(2):  # whoever asks first must not answer for the other
        assert ask(catalogue, Policy.DOCUMENTED, model, {"size": "35x15"})[0] == of_pixels
        assert ask(catalogue, Policy.DOCUMENTED, model, {"size": "35:15"})[0] == of_a_ratio


def test_an_adjustment_reads_as_in_the_header() -> None:
    assert str(Adjustment("quality", "hd", "dropped")) == "quality=hd->dropped"
