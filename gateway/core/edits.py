"""The bodies of edits and variations, JSON or multipart, read into the same `ImageRequest` as a generation's.

Multipart is read as clients really send it: every spelling of the picture's part, text for numbers, names and types of
parts not believed. Which model draws from a picture is decided in `gateway.core.translate`.
"""

import re
from typing import Final

import msgspec

from gateway.core.errors import GatewayError, Kind, invalid_value
from gateway.core.picture import to_data_uri
from gateway.core.request import Body, Dialect, Form, ImageRequest, build, decode, wrong_type

# `image`, `image[]` and, as a courtesy, `image[0]`.
_IMAGE_PART = re.compile(r"image(\[[0-9]*\])?")
_SIDES: Final = frozenset({"width", "height"})
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")


class _Reference(msgspec.Struct, gc=False):
    """OpenAI's `{"image_url": …}`; a `file_id` names a file of theirs."""

    image_url: str | None = None
    file_id: str | None = None


class _EditBody(Body, gc=False):
    images: list[_Reference] | None = None
    mask: _Reference | None = None


_DECODER: Final = msgspec.json.Decoder(_EditBody)


def parse_edit(data: bytes) -> ImageRequest:
    """Read the JSON form of `POST /v1/images/edits`.

    Raises:
        GatewayError: as for a generation, and `image_required`.
    """
    body = decode(_DECODER, data)
    if body.images is not None:
        _one_picture("images", len(body.images))
        body.image = _url("images", body.images[0]) if body.images else None
    if body.mask is not None:
        body.mask_image = _url("mask", body.mask)
    return _with_picture(build(body), 'give images, as [{"image_url": "https://… or data:image/png;base64,…"}]')


def parse_form(dialect: Dialect, form: Form, variation_prompt: str) -> ImageRequest:
    """Read a multipart body of edits or variations.

    `variation_prompt` is what a variation is drawn by, for OpenAI's variations say nothing.

    Raises:
        GatewayError: as for a generation, and `image_required`.
    """
    pictures = [data for name, data in form.pictures if _IMAGE_PART.fullmatch(name)]
    masks = [data for name, data in form.pictures if name == "mask"]
    _one_picture("image", len(pictures))
    values = {name: _typed(name, text) for name, text in form.fields.items() if name in _BY_NAME}
    try:
        body = msgspec.convert(values, Body, strict=False)
    except msgspec.ValidationError as exc:
        raise wrong_type(exc) from exc
    if pictures:
        body.image = to_data_uri("image", pictures[0])
    if masks:
        body.mask_image = to_data_uri("mask", masks[0])
    if dialect is Dialect.VARIATIONS:
        body.prompt = body.prompt or variation_prompt
    request = _with_picture(build(body), "put its bytes into the part image of a multipart form")
    return msgspec.structs.replace(request, variation=True) if dialect is Dialect.VARIATIONS else request


def _with_picture(request: ImageRequest, remedy: str) -> ImageRequest:
    if request.image is None:
        raise GatewayError(Kind.IMAGE_REQUIRED, f"No picture was sent: {remedy}.", param="image")
    return request


_BY_NAME: Final = frozenset(Body.__struct_fields__)


def _typed(name: str, text: str) -> str | int:
    """Forms know text only; the decoder reads the numbers whose type it knows, the two sides are checked by us."""
    return int(text) if name in _SIDES and _WHOLE_NUMBER.fullmatch(text) else text


def _one_picture(param: str, count: int) -> None:
    if count > 1:
        raise invalid_value(param, f"{count} pictures were sent; the models behind this gateway take one.")


def _url(param: str, reference: _Reference) -> str:
    if reference.file_id is not None or reference.image_url is None:
        raise invalid_value(param, f"{param} must hold an image_url; this gateway keeps no files, so no file_id.")
    return reference.image_url
