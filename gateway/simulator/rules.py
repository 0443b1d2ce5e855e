"""What the simulated 302.AI takes: a payload becomes a drawing, or is refused.

PURE. It is stricter than 302.AI itself, which quietly treats what a model does not take as something else: here that is
refused, so that a gateway which sends it is found out. No words on how a picture looks (`draw`) or how a refusal
travels (`app`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from gateway.core.catalogue import Catalogue, Model
from gateway.core.shapes import Free, Ratio, Ratios, Shape, Sides, Size, Sizes, Unshaped, parse_geometry
from gateway.simulator.fields import Payload, Refusal, RefusedError, picture, text, whole
from gateway.simulator.wire import Code

MAX_SIDE: Final = 4096  # a larger picture would take seconds and hundreds of megabytes to draw
_ONE_MEGAPIXEL: Final = 1024 * 1024
_GRID: Final = 8
_UNSAID: Final = Size(1024, 1024)  # what a model without any rule draws; the others draw their documented fallback
_EVERYWHERE: Final = {"model", "prompt", "image", "mask_image", "negative_prompt", "output_format", "seed"}
_GEOMETRY: Final[Mapping[str, frozenset[str]]] = {
    "ratios": frozenset({"aspect_ratio"}),
    "sizes": frozenset({"width", "height", "size"}),
    "sides": frozenset({"width", "height"}),
    "free": frozenset({"width", "height", "aspect_ratio"}),
    "none": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture to draw: everything that decides how it looks."""

    model: str
    prompt: str
    width: int
    height: int
    seed: int | None = None
    from_image: bool = False


def check(payload: object, catalogue: Catalogue) -> Drawing | Refusal:
    """Read a decoded body of `POST /302/image/generate`."""
    try:
        return _read(payload, catalogue)
    except RefusedError as refused:
        return refused.refusal


def pixels(ratio: Ratio) -> Size:
    """About one megapixel at exactly this ratio, both sides multiples of 8; where there is no such size, a near one."""
    divisor = math.gcd(ratio.width, ratio.height)
    step = Size(ratio.width // divisor * _GRID, ratio.height // divisor * _GRID)
    times = max(1, round(math.sqrt(_ONE_MEGAPIXEL / (step.width * step.height))))
    exact = Size(step.width * times, step.height * times)
    if exact.width * exact.height <= 2 * _ONE_MEGAPIXEL and max(exact.width, exact.height) <= MAX_SIDE:
        return exact
    scale = min(math.sqrt(_ONE_MEGAPIXEL / (ratio.width * ratio.height)), MAX_SIDE / max(ratio.width, ratio.height))
    return Size(*(max(_GRID, round(side * scale / _GRID) * _GRID) for side in (ratio.width, ratio.height)))


def _read(payload: object, catalogue: Catalogue) -> Drawing:
    if not isinstance(payload, dict):
        raise RefusedError("the body must be a JSON object")
    model = _model(payload, catalogue)
    _check_fields(payload, model)
    prompt = text(payload, "prompt")
    if prompt is None:
        raise RefusedError("prompt is required")
    size = _size(payload, model.shape)
    from_image = picture(payload, "image")
    if from_image and model.image == "none":
        raise RefusedError(f"{model.id} does not take image")
    if not from_image and model.image == "required":
        raise RefusedError(f"{model.id} requires image")
    picture(payload, "mask_image")
    text(payload, "negative_prompt")
    text(payload, "output_format")
    return Drawing(model.id, prompt, size.width, size.height, whole(payload, "seed"), from_image)


def _model(payload: Payload, catalogue: Catalogue) -> Model:
    id_ = text(payload, "model")
    if id_ is None:
        raise RefusedError("model is required")
    if model := catalogue.models.get(id_):
        return model
    # Not a 404: an unknown model and a shortage have one answer, and a client must not take the first for the second.
    raise RefusedError("", 503, Code.NO_CHANNEL)


def _check_fields(payload: Payload, model: Model) -> None:
    for name in sorted(payload.keys() - _EVERYWHERE - _GEOMETRY[model.shape.kind]):
        known = any(name in names for names in _GEOMETRY.values())
        raise RefusedError(f"{model.id} does not take {name}" if known else f"unknown parameter {name[:100]!r}")


def _size(payload: Payload, shape: Shape) -> Size:
    match shape:
        case Ratios():
            return pixels(_listed_ratio(payload, shape) or shape.fallback)
        case Sizes():
            return _listed_size(payload, shape) or shape.fallback
        case Sides(low, high, fallback):
            return _sides(payload, low, high) or Size(fallback, fallback)
        case Free():
            ratio = _ratio(payload)
            return _sides(payload, 1, MAX_SIDE) or (pixels(ratio) if ratio else _UNSAID)
        case Unshaped():
            return _UNSAID
        case _:
            assert_never(shape)


def _listed_ratio(payload: Payload, shape: Ratios) -> Ratio | None:
    asked = text(payload, "aspect_ratio")
    if asked is None:
        return None
    for ratio in shape.values:
        if asked == str(ratio):
            return ratio
    raise RefusedError(f"aspect_ratio must be one of {', '.join(shape.supported())}")


def _listed_size(payload: Payload, shape: Sizes) -> Size | None:
    size = _sides(payload, 1, MAX_SIDE)
    if size is not None and size not in shape.values:
        raise RefusedError(f"width and height must be one of {', '.join(shape.supported())}")
    written = text(payload, "size")
    if written is not None and (size is None or written != str(size)):
        raise RefusedError("size must be the same as width and height, written like 1024x1024")
    return size


def _ratio(payload: Payload) -> Ratio | None:
    asked = text(payload, "aspect_ratio")
    if asked is None:
        return None
    ratio = parse_geometry(asked)
    if isinstance(ratio, Ratio):
        return ratio
    raise RefusedError("aspect_ratio must be written like 16:9")


def _sides(payload: Payload, low: int, high: int) -> Size | None:
    width, height = whole(payload, "width"), whole(payload, "height")
    if width is None and height is None:
        return None
    if width is None or height is None:
        raise RefusedError("width and height go together")
    if not (low <= width <= high and low <= height <= high):
        raise RefusedError(f"width and height must be from {low} to {high}")
    return Size(width, height)
