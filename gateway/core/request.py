"""An OpenAI images body, read into an `ImageRequest`.

What is accepted here is generous (nulls are omissions, unknown fields pass by), what is kept is closed: only the
fields of `ImageRequest` can ever reach the upstream. Which model takes what is decided in `gateway.core.translate`.
"""

import re
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final, Literal, TypeVar

import msgspec

from gateway.core.coerce import Adjustment, Geometry
from gateway.core.errors import GatewayError, Kind, invalid_value
from gateway.core.picture import source_picture
from gateway.core.shapes import MAX_SIDE, Asked, Size, parse_geometry

MAX_IMAGES: Final = 10
MAX_PROMPT: Final = 32_000
MAX_WORD: Final = 200
_INT64: Final = 2**63
_LONGEST_QUOTE: Final = 60

ResponseFormat = Literal["url", "b64_json"]


class Dialect(StrEnum):
    """Which of OpenAI's image endpoints a body was written for."""

    GENERATIONS = "generations"
    EDITS = "edits"
    VARIATIONS = "variations"


class Form(msgspec.Struct, frozen=True, gc=False):
    """A multipart body: the text parts, and the bytes of the others by part name in the order they came."""

    fields: dict[str, str]
    pictures: list[tuple[str, bytes]]


class Body(msgspec.Struct, gc=False):
    """The fields that are read; `Any` where our own message is better than the decoder's."""

    prompt: str | None = None
    model: str | None = None
    n: int | None = None
    size: Any = None
    image_size: Any = None
    batch_size: int | None = None
    aspect_ratio: Any = None
    width: Any = None
    height: Any = None
    image: str | list[str] | None = None
    mask_image: str | None = None
    negative_prompt: str | None = None
    output_format: str | None = None
    seed: int | None = None
    response_format: str | None = None
    stream: bool | None = None
    quality: Any = None
    style: Any = None
    background: Any = None
    moderation: Any = None
    output_compression: Any = None
    input_fidelity: Any = None
    partial_images: Any = None
    complexity: Any = None
    frame_count: Any = None
    frame_duration_ms: Any = None
    svg: Any = None


# What OpenAI defines and 302 cannot do. `user` and `safety_identifier` say who asks, not what to draw: nothing is
# lost there.
UNSUPPORTED: Final = Body.__struct_fields__[Body.__struct_fields__.index("quality") :]
_UNSUPPORTED_OF: Final = attrgetter(*UNSUPPORTED)
_ALL_OMITTED: Final = (None,) * len(UNSUPPORTED)

B = TypeVar("B", bound=Body)

_DECODER: Final = msgspec.json.Decoder(Body)
_PLAIN = re.compile(r"[A-Za-z0-9._:*/-]{1,64}")
_AT_FIELD = re.compile(r" - at `\$\.(\w+)")


class ImageRequest(msgspec.Struct, frozen=True, gc=False):
    """What a caller asks for. `model` is the name as written, None for the default."""

    prompt: str
    model: str | None = None
    n: int = 1
    geometry: Geometry = Geometry()
    image: str | None = None
    mask_image: str | None = None
    negative_prompt: str | None = None
    output_format: str | None = None
    seed: int | None = None
    response_format: ResponseFormat | None = None
    stream: bool = False
    variation: bool = False
    dropped: tuple[Adjustment, ...] = ()


def parse(data: bytes) -> ImageRequest:
    """Read a JSON body of `POST /v1/images/generations`.

    Raises:
        GatewayError: `invalid_json`, `missing_parameter`, `invalid_value` or `invalid_image`, with `param`.
    """
    return build(decode(_DECODER, data))


def build(body: Body) -> ImageRequest:
    """Check what was decoded, field by field.

    Raises:
        GatewayError: `missing_parameter`, `invalid_value` or `invalid_image`, with `param`.
    """
    if body.prompt is None or not body.prompt.strip():
        raise GatewayError(Kind.MISSING_PARAMETER, "prompt is missing: say what to draw.", param="prompt")
    if len(body.prompt) > MAX_PROMPT:
        raise invalid_value("prompt", f"prompt has {len(body.prompt)} characters; at most {MAX_PROMPT} are taken.")
    if body.seed is not None and not -_INT64 <= body.seed < _INT64:
        raise invalid_value("seed", "seed must be a 64-bit integer.")
    return ImageRequest(
        prompt=body.prompt,
        model=(body.model and body.model.strip()) or None,
        n=_count(body),
        geometry=_geometry(body),
        image=_picture("image", body.image),
        mask_image=_picture("mask_image", body.mask_image),
        negative_prompt=_text("negative_prompt", body.negative_prompt, MAX_PROMPT),
        output_format=_text("output_format", body.output_format, MAX_WORD),
        seed=body.seed,
        response_format=_response_format(body.response_format),
        stream=body.stream is True,
        dropped=_dropped(body),
    )


def decode(decoder: msgspec.json.Decoder[B], data: bytes) -> B:
    """Decode JSON, with errors in the caller's words.

    Raises:
        GatewayError: `invalid_json` or `invalid_value`.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as exc:
        raise wrong_type(exc) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        reason = "it is nested too deeply" if isinstance(exc, RecursionError) else str(exc)
        raise GatewayError(Kind.INVALID_JSON, f"The body is not valid JSON: {reason}.") from exc


def wrong_type(error: msgspec.ValidationError) -> GatewayError:
    """What a decoder complains of, with the field as `param`."""
    reason = str(error)
    if field := _AT_FIELD.search(reason):
        what = reason[: field.start()].replace("`", "").replace(" | null", "")
        return invalid_value(field[1], f"{field[1]} has the wrong type: {what}.")
    return GatewayError(Kind.INVALID_JSON, 'The body must be a JSON object like {"prompt": "a cat"}.')


def _count(body: Body) -> int:
    # Cherry Studio writes batch_size where OpenAI has n, and image_size for size.
    name, n = ("n", body.n) if body.n is not None else ("batch_size", body.batch_size)
    if n is not None and not 1 <= n <= MAX_IMAGES:
        raise invalid_value(name, f"{name} must be from 1 to {MAX_IMAGES}.")
    return 1 if n is None else n


def _geometry(body: Body) -> Geometry:
    width, height = _side("width", body.width), _side("height", body.height)
    if (width is None) != (height is None):
        said, other = ("width", "height") if height is None else ("height", "width")
        raise invalid_value(other, f"{said} is given and {other} is not: give both or neither.")
    sides = None if width is None or height is None else Size(width, height)
    size = _asked("size", body.size) or _asked("image_size", body.image_size)
    return Geometry(size, _asked("aspect_ratio", body.aspect_ratio), sides)


def _asked(field: str, value: object) -> Asked | None:
    # 302's own apps send 0 and "" for what they do not mean; False is neither.
    if value is None or value == "" or (value == 0 and value is not False):
        return None
    if isinstance(value, str):
        text = value.strip()
        if not text or text.lower() == "auto":
            return None
        if asked := parse_geometry(text):
            return asked
    message = f"{field} is {_quote(value)}; write pixels like 1024x1024, a ratio like 16:9, or auto."
    raise invalid_value(field, message)


def _side(field: str, value: object) -> int | None:
    if value is None or value == "" or (value == 0 and value is not False):
        return None
    if type(value) is int and 0 < value <= MAX_SIDE:
        return value
    raise invalid_value(field, f"{field} is {_quote(value)}; write a whole number of pixels, 1 to {MAX_SIDE}.")


def _picture(field: str, value: str | list[str] | None) -> str | None:
    if isinstance(value, list):
        if len(value) > 1:
            raise invalid_value(field, f"{field} has {len(value)} pictures; the models take one.")
        value = value[0] if value else None
    return source_picture(field, value) if value and value.strip() else None


def _text(field: str, value: str | None, longest: int) -> str | None:
    if value is not None and len(value) > longest:
        raise invalid_value(field, f"{field} has {len(value)} characters; at most {longest} are taken.")
    return value or None


def _response_format(value: str | None) -> ResponseFormat | None:
    match value or None:
        case None:
            return None
        case "url":
            return "url"
        case "b64_json":
            return "b64_json"
        case _:
            raise invalid_value("response_format", f"response_format is {_quote(value)}; it is url or b64_json.")


def _dropped(body: Body) -> tuple[Adjustment, ...]:
    said = _UNSUPPORTED_OF(body)
    if said == _ALL_OMITTED:  # as nearly everybody does
        return ()
    dropped = [
        Adjustment(field, plain(value), "dropped")
        for field, value in zip(UNSUPPORTED, said, strict=True)
        if value not in (None, "auto", 0, "")
    ]
    return tuple(dropped)


def plain(value: object) -> str:
    """A caller's value as it may stand in a header; what is long or odd is a question mark there."""
    text = str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, (str, int, float)) else ""
    return text if _PLAIN.fullmatch(text) else "?"


def _quote(value: object) -> str:
    shown = repr(value) if isinstance(value, (str, int, float, bool)) else f"a JSON {type(value).__name__}"
    return shown if len(shown) <= _LONGEST_QUOTE else shown[:_LONGEST_QUOTE] + "…"
