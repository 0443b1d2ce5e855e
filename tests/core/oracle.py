"""What 302 would say: which values a rule accepts, and the documented policy written a second time.

Nothing of `gateway.core.coerce` is used here; what it decides is judged by this.
"""

import re
from math import isclose, log
from typing import assert_never

from tests.core.seed import Rule

Fields = dict[str, str | int]

_RATIO = re.compile(r"[1-9][0-9]{0,4}:[1-9][0-9]{0,4}")


def geometry(payload: Fields) -> Fields:
    """The part of a payload that is about the picture's form."""
    return {name: payload[name] for name in ("aspect_ratio", "width", "height", "size") if name in payload}


def told(fields: Fields) -> str:
    """Geometry fields in one word: `-`, `16:9`, `768x432`, or both kinds; odd combinations stay visible."""
    rest = dict(fields)
    words = []
    if "width" in rest and "height" in rest:
        words.append(f"{rest.pop('width')}x{rest.pop('height')}")
        if rest.get("size") == words[0]:
            del rest["size"]
    if "aspect_ratio" in rest:
        words.append(str(rest.pop("aspect_ratio")))
    words += [f"{name}={value}" for name, value in rest.items()]
    return " ".join(words) or "-"


def accepts(rule: Rule, fields: Fields) -> bool:
    """Whether 302 takes these fields as they are: no fallback, nothing ignored, no field too many."""
    if not fields:
        return True
    width, height = fields.get("width"), fields.get("height")
    pixels = type(width) is int and type(height) is int and f"{width}x{height}"
    match rule.kind:
        case "none":
            return False
        case "ratio":
            return fields.keys() == {"aspect_ratio"} and fields["aspect_ratio"] in rule.values
        case "size":
            return fields.keys() == {"width", "height", "size"} and fields["size"] == pixels and pixels in rule.values
        case "side":
            low, high = map(int, rule.values)
            return fields.keys() == {"width", "height"} and low <= int(width or 0) <= high >= int(height or 0) >= low
        case "free":
            ratio = fields.get("aspect_ratio", "1:1")
            shown = fields.keys() - {"aspect_ratio"}
            positive = bool(pixels) and int(width or 0) > 0 < int(height or 0)
            return _RATIO.fullmatch(str(ratio)) is not None and (
                not shown or (shown == {"width", "height"} and positive)
            )
        case _:
            assert_never(rule.kind)


def proportion(text: str) -> float:
    """The logarithm of width over height: 0 is square, portrait is negative."""
    width, height = map(int, re.split("[x:]", text))
    return log(width) - log(height)


def documented(rule: Rule, asked: str) -> set[str]:
    """What may be sent for one value under the documented policy; several where the nearest are equally near."""
    if rule.kind == "none":
        return {"-"}
    if rule.kind == "free" or asked in rule.values:
        return {asked}
    if rule.kind == "side":
        return {_sides(rule, asked)}
    if (rule.kind == "ratio") == (":" in asked):
        return {rule.otherwise}
    near = _nearest(rule.values, asked)
    if rule.kind == "ratio":
        return near
    return {max(near, key=_area)}


def _nearest(values: tuple[str, ...], asked: str) -> set[str]:
    distance = {value: abs(proportion(value) - proportion(asked)) for value in values}
    best = min(distance.values())
    return {value for value in values if isclose(distance[value], best, abs_tol=1e-9)}


def _area(size: str) -> int:
    width, height = map(int, size.split("x"))
    return width * height


def _sides(rule: Rule, asked: str) -> str:
    low, high = map(int, rule.values)
    if "x" in asked:
        return "x".join(side if low <= int(side) <= high else rule.otherwise for side in asked.split("x"))
    width, height = map(int, asked.split(":"))
    longest = max(width, height)
    # In halves of a pixel, so that it stays exact: half a pixel goes up.
    sides = (max(low, (2 * side * high // longest + 1) // 2) for side in (width, height))
    return "x".join(map(str, sides))
