"""Bring what was asked into what a model takes, by one of three stated policies.

Rules of this module: it is total (every positive size and ratio has an answer), accepted values stay as they are,
and every change it makes comes back as an `Adjustment`. It knows shapes, never models: what a model takes is data.
"""

from collections.abc import Sequence
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import assert_never

import msgspec

from gateway.core.errors import GatewayError, invalid_value
from gateway.core.shapes import Asked, Free, Ratio, Ratios, Shape, Sides, Size, Sizes, Unshaped, same_ratio


class Policy(StrEnum):
    """What happens to a geometry that a model does not take."""

    DOCUMENTED = "documented"
    NEAREST = "nearest"
    STRICT = "strict"


class Adjustment(msgspec.Struct, frozen=True, gc=False):
    """A change that was made: the caller's field, what it said, what is sent instead."""

    field: str
    asked: str
    sent: str

    def __str__(self) -> str:
        return f"{self.field}={self.asked}->{self.sent}"


class Geometry(msgspec.Struct, frozen=True, gc=False):
    """What the caller said about the picture's form, field by field; None is not said."""

    size: Asked | None = None
    aspect_ratio: Asked | None = None
    sides: Size | None = None
    """`width` and `height` together."""


class _Ask(msgspec.Struct, frozen=True, gc=False):
    field: str
    value: Asked


class Coerced(msgspec.Struct, frozen=True, gc=False):
    """The geometry fields of the payload, and the changes that led to them."""

    fields: dict[str, str | int]
    adjustments: tuple[Adjustment, ...] = ()


NOTHING = Coerced({})


@lru_cache(maxsize=4096)
def coerce(shape: Shape, asked: Geometry, policy: Policy, model: str) -> Coerced:
    """Fit everything that was said about geometry into a shape.

    Raises:
        GatewayError: `invalid_value`, under the strict policy only, naming the field that would change.
    """
    pixels = [_Ask("width", asked.sides)] if asked.sides else []
    others = [_Ask("aspect_ratio", asked.aspect_ratio)] if asked.aspect_ratio else []
    size = [_Ask("size", asked.size)] if asked.size else []
    # The field that was made for a kind speaks first for it: LangChain sends a size with every request.
    sizes = [ask for ask in (*pixels, *size, *others) if isinstance(ask.value, Size)]
    ratios = [ask for ask in (*others, *size) if isinstance(ask.value, Ratio)]
    if not sizes and not ratios:
        return NOTHING
    match shape:
        case Free():
            chosen, rest = [*sizes[:1], *ratios[:1]], [*sizes[1:], *ratios[1:]]
        case Unshaped():
            chosen, rest = [], [*sizes, *ratios]
        case Ratios():
            chosen, rest = _first([*ratios, *sizes])
        case Sizes() | Sides():
            chosen, rest = _first([*sizes, *ratios])
        case _:
            assert_never(shape)
    dropped = [adjustment for ask in rest for adjustment in _drop(shape, ask, chosen, policy, model)]
    fields: dict[str, str | int] = {}
    changed: list[Adjustment] = []
    for ask in chosen:
        value = fit(shape, ask.value, policy)
        if value is None:
            raise _refusal(shape, ask, model)
        fields |= _wire(shape, value)
        changed += _changes(ask, value)
    return Coerced(fields, (*changed, *dropped))


def fit(shape: Shape, asked: Asked, policy: Policy) -> Asked | None:
    """Fit one value into a shape; None when the strict policy refuses it, or the shape takes no geometry."""
    match shape:
        case Free():
            return asked
        case Unshaped():
            return None
        case Ratios():
            value: Asked = _fit_ratios(shape, asked, policy)
        case Sizes():
            value = _fit_sizes(shape, asked, policy)
        case Sides():
            value = _fit_sides(shape, asked, policy)
        case _:
            assert_never(shape)
    return None if policy is Policy.STRICT and _differs(asked, value) else value


def _fit_ratios(shape: Ratios, asked: Asked, policy: Policy) -> Ratio:
    if isinstance(asked, Ratio):
        # 302 compares ratios as they are written: 7:3 is not its 21:9, and becomes the fallback.
        if asked in shape.values:
            return asked
        if policy is Policy.DOCUMENTED:
            return shape.fallback
    return min(shape.values, key=lambda ratio: _distance(ratio, asked))


def _fit_sizes(shape: Sizes, asked: Asked, policy: Policy) -> Size:
    if isinstance(asked, Ratio):
        return min(shape.values, key=lambda size: (_distance(size, asked), -size.width * size.height))
    if asked in shape.values:
        return asked
    if policy is Policy.DOCUMENTED:
        return shape.fallback
    area = asked.width * asked.height
    return min(shape.values, key=lambda size: (_distance(size, asked), _factor(size.width * size.height, area)))


def _fit_sides(shape: Sides, asked: Asked, policy: Policy) -> Size:
    longer, shorter = max(asked.width, asked.height), min(asked.width, asked.height)
    if isinstance(asked, Ratio):
        return _scale(shape, asked, Fraction(shape.high, longer))
    if policy is Policy.DOCUMENTED:
        width, height = (
            side if shape.low <= side <= shape.high else shape.fallback for side in (asked.width, asked.height)
        )
        return Size(width, height)
    if longer > shape.high:
        return _scale(shape, asked, Fraction(shape.high, longer))
    if shorter < shape.low:
        return _scale(shape, asked, Fraction(shape.low, shorter))
    return asked


def _scale(shape: Sides, asked: Asked, factor: Fraction) -> Size:
    # Half a pixel goes up; a side that leaves the range after scaling is cut to it, which bends only extreme ratios.
    width, height = (
        min(max(int(side * factor + Fraction(1, 2)), shape.low), shape.high) for side in (asked.width, asked.height)
    )
    return Size(width, height)


def _factor(one: int, other: int) -> Fraction:
    return Fraction(max(one, other), min(one, other))


def _distance(one: Asked, other: Asked) -> Fraction:
    """The distance of two ratios in logarithms, as the exact factor between them: never less than 1."""
    return _factor(one.width * other.height, one.height * other.width)


def _differs(asked: Asked, value: Asked) -> bool:
    """Whether the value changed; pixels told as a ratio of exactly their proportions, or the reverse, did not."""
    return asked != value if type(asked) is type(value) else not same_ratio(asked, value)


def _first(asks: list[_Ask]) -> tuple[list[_Ask], list[_Ask]]:
    return asks[:1], asks[1:]


def _wire(shape: Shape, value: Asked) -> dict[str, str | int]:
    if isinstance(value, Ratio):
        return {"aspect_ratio": str(value)}
    fields: dict[str, str | int] = {"width": value.width, "height": value.height}
    if isinstance(shape, Sizes):
        # 302's page speaks of "image sizes" and names no field; it ignores fields it does not know, so both forms go.
        fields["size"] = str(value)
    return fields


def _changes(ask: _Ask, value: Asked) -> list[Adjustment]:
    if not _differs(ask.value, value):
        return []
    if ask.field == "width":
        if isinstance(value, Ratio):
            sent = f"aspect_ratio={value}"
            return [Adjustment("width", str(ask.value.width), sent), Adjustment("height", str(ask.value.height), sent)]
        pairs = [("width", ask.value.width, value.width), ("height", ask.value.height, value.height)]
        return [Adjustment(name, str(said), str(sent)) for name, said, sent in pairs if said != sent]
    target = "aspect_ratio" if isinstance(value, Ratio) else "size"
    sent = str(value) if target == ask.field else f"{target}={value}"
    return [Adjustment(ask.field, str(ask.value), sent)]


def _drop(shape: Shape, ask: _Ask, chosen: Sequence[_Ask], policy: Policy, model: str) -> list[Adjustment]:
    if any(ask.value == kept.value for kept in chosen):
        return []
    if policy is Policy.STRICT and not any(same_ratio(ask.value, kept.value) for kept in chosen):
        raise _refusal(shape, ask, model)
    if ask.field == "width":
        return [
            Adjustment("width", str(ask.value.width), "dropped"),
            Adjustment("height", str(ask.value.height), "dropped"),
        ]
    return [Adjustment(ask.field, str(ask.value), "dropped")]


def _refusal(shape: Shape, ask: _Ask, model: str) -> GatewayError:
    supported = ", ".join(shape.supported()) or "no geometry at all"
    said = f"width and height {ask.value}" if ask.field == "width" else f"{ask.field} {ask.value}"
    message = f"{said} would have to be changed for {model}, and the coercion policy is strict. It takes: {supported}."
    return invalid_value(ask.field, message)
