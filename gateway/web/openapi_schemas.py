"""The schemas of `/openapi.json`: what is read, by the struct that reads it, and what is answered.

A request's fields come from `gateway.core.request.Body` itself; here they only get bounds and words. Errors come from
`gateway.core.errors.Kind`. That every real answer has the form said here is held by tests.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, get_args

import msgspec

from gateway.core.catalogue import ImageUse
from gateway.core.errors import Kind
from gateway.core.request import MAX_IMAGES, MAX_PROMPT, MAX_WORD, UNSUPPORTED, Body
from gateway.core.shapes import MAX_SIDE, Free, Ratios, Sides, Sizes, Unshaped

Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_BYTES: Final[Json] = {"type": "string", "format": "binary"}
_BASE64: Final[Json] = {"type": "string", "contentEncoding": "base64"}
_OUTPUT_FORMATS: Final = ["png", "jpeg", "webp"]
_DROPPED: Final = (
    "Defined by OpenAI, but nothing that 302.AI can do: accepted, and told as dropped in x-gateway-adjusted."
)
_ASKED: Final = r"^\s*([1-9][0-9]{0,4}[xX*×:][1-9][0-9]{0,4}|[aA][uU][tT][oO])?\s*$"
_GEOMETRY: Final[Json] = {
    "anyOf": [{"type": "string", "pattern": _ASKED}, {"const": 0}, {"type": "null"}],
    "examples": ["1024x1024", "16:9", "auto"],
}
_SIDE: Final[Json] = {
    "anyOf": [{"type": "integer", "minimum": 0, "maximum": MAX_SIDE}, {"const": ""}, {"type": "null"}]
}
_SOURCE: Final = "The picture to draw from: an http(s) URL, a data URI or bare base64 of a PNG, JPEG, WebP or GIF."

# What the struct cannot say of its fields. Bounds bind only values of their own type, so null stays allowed.
_FIELDS: Final[Mapping[str, Json]] = {
    "prompt": {"type": "string", "pattern": r"\S", "maxLength": MAX_PROMPT, "description": "What to draw."},
    "model": {"description": "A model's id or one of OpenAI's. Case and `_` or `-` do not count, nor does the suffix."},
    "n": {"minimum": 1, "maximum": MAX_IMAGES, "description": "How many pictures; absent, one."},
    "size": _GEOMETRY | {"description": "Pixels, or a ratio; `auto`, empty and 0 leave it to the model."},
    "image_size": _GEOMETRY | {"description": "Read where `size` is absent."},
    "batch_size": {"minimum": 1, "maximum": MAX_IMAGES, "description": "Read where `n` is absent."},
    "aspect_ratio": _GEOMETRY | {"description": "A ratio, or pixels."},
    "width": _SIDE | {"description": "Pixels, together with `height`."},
    "height": _SIDE | {"description": "Pixels, together with `width`."},
    "image": {"maxItems": 1, "description": _SOURCE},
    "mask_image": {"description": "Where to draw: a picture in one of the forms of `image`."},
    "negative_prompt": {"maxLength": MAX_PROMPT, "description": "What not to draw."},
    "output_format": {"maxLength": MAX_WORD, "description": "Handed on; the picture tells what it really became."},
    "seed": {
        "minimum": -(2**63),
        "maximum": 2**63 - 1,
        "description": "For the same picture again, with models that can.",
    },
    "response_format": {
        "enum": ["url", "b64_json", "", None],
        "description": "Absent: b64_json for ids that begin with gpt-image or chatgpt-image, for others as is set.",
    },
    "stream": {"description": "Answer with server-sent events, one a picture. They carry base64 always."},
    **{name: {"description": _DROPPED} for name in UNSUPPORTED},
}
_REFERENCE: Final[Json] = {
    "type": "object",
    "properties": {
        "image_url": {"type": "string", "description": _SOURCE},
        "file_id": {"type": "null", "description": "This gateway keeps no files."},
    },
    "required": ["image_url"],
}
_USAGE: Final[Json] = {
    "type": "object",
    "description": "OpenAI counts tokens for its own models. 302.AI tells none, so all are 0.",
    "properties": {
        "total_tokens": _COUNT,
        "input_tokens": _COUNT,
        "output_tokens": _COUNT,
        "input_tokens_details": {
            "type": "object",
            "properties": {"text_tokens": _COUNT, "image_tokens": _COUNT},
            "required": ["text_tokens", "image_tokens"],
        },
    },
    "required": ["total_tokens", "input_tokens", "output_tokens", "input_tokens_details"],
}
_IMAGE: Final[Json] = {
    "type": "object",
    "properties": {
        "url": {"type": "string", "pattern": "^https?://", "description": "302.AI's, or in our media store."},
        "b64_json": _BASE64,
    },
    "anyOf": [{"required": ["url"]}, {"required": ["b64_json"]}],
}
_SIZE_WORDS: Final = ["1024x1024", "1024x1536", "1536x1024"]
_CAPABILITIES: Final[Json] = {
    "type": "object",
    "properties": {
        "shape": {"type": "string", "description": "The rule by its name in the catalogue."},
        "kind": {"enum": [shape.kind for shape in (Free, Ratios, Sizes, Sides, Unshaped)]},
        "supported": {"type": "array", "items": _TEXT},
        "fallback": {"type": ["string", "null"], "description": "What an unsupported value becomes."},
        "image": {"enum": list(get_args(ImageUse)), "description": "Whether it draws from a picture."},
        "sibling": {"type": ["string", "null"], "description": "The same model for, or without, a picture."},
        "price": {"type": "number", "minimum": 0, "description": "USD an image."},
    },
    "required": ["shape", "kind", "supported", "fallback", "image", "sibling", "price"],
}


def schemas(models: Sequence[str]) -> dict[str, Json]:
    """All component schemas by name; `models` are the ids to suggest."""
    return {
        **_requests(models),
        "ImagesResponse": _record(
            {"created": _COUNT, "data": _array("Image", 1, MAX_IMAGES)},
            {
                "output_format": {"enum": _OUTPUT_FORMATS, "description": "Where the bytes are known and all agree."},
                "size": {
                    "enum": _SIZE_WORDS,
                    "description": "Where the bytes are known, all agree, and OpenAI has the word.",
                },
                "usage": ref("Usage"),
            },
        ),
        "Image": _IMAGE,
        "Usage": _USAGE,
        "ImageGenerationEvent": _event("image_generation.completed"),
        "ImageEditEvent": _event("image_edit.completed"),
        "ErrorEvent": _record({"type": {"const": "error"}, "error": ref("Error")}),
        "Plan": _plan(),
        "ModelList": _record({"object": {"const": "list"}, "data": _array("Model")}),
        "Model": _record(
            {
                "id": _TEXT,
                "object": {"const": "model"},
                "created": _COUNT,
                "owned_by": _TEXT,
                "capabilities": _CAPABILITIES,
            }
        ),
        "Live": _record({"status": {"const": "ok"}}),
        "Ready": _record(
            {
                "status": {"enum": ["ready", "degraded"]},
                "checks": _record({name: {"enum": ["ok", "unavailable"]} for name in ("redis", "database")}),
            }
        ),
        "Greeting": _record({"message": _TEXT}),
        "Error": _error(),
        "ErrorResponse": _record({"error": ref("Error")}),
    }


def ref(name: str) -> Json:
    """A reference to a component schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def error_of(kinds: Iterable[Kind]) -> Json:
    """An error answer that can only be of these kinds."""
    kinds = list(kinds)
    only = {
        "type": {"enum": sorted({kind.row.type for kind in kinds})},
        "code": {"enum": [kind.row.code for kind in kinds]},
    }
    return {"allOf": [ref("ErrorResponse"), {"properties": {"error": {"properties": only}}}]}


def _requests(models: Sequence[str]) -> dict[str, Json]:
    fields = _body_fields(models)
    draw_from = {
        "image": fields["image"],
        "images": {**_array("ImageReference"), "maxItems": 1},
        "mask": ref("ImageReference"),
    }
    texts = {name: _without_null(schema) for name, schema in fields.items()}
    parts = {
        **texts,
        "image": {
            "anyOf": [_BYTES, _TEXT],
            "description": f"{_SOURCE} Its bytes, or as text. The part may be called image[] or image[0] too.",
        },
        "mask": {**_BYTES, "description": "Where to draw: a picture's bytes."},
    }
    return {
        "ImageRequest": {"type": "object", "properties": fields, "required": ["prompt"]},
        "ImageEditRequest": {
            "type": "object",
            "properties": {**fields, **draw_from},
            "required": ["prompt"],
            "anyOf": [{"required": ["images"]}, {"required": ["image"]}],
        },
        "ImageEditForm": {"type": "object", "properties": parts, "required": ["image", "prompt"]},
        "ImageVariationForm": {"type": "object", "properties": parts, "required": ["image"]},
        "ImageReference": _REFERENCE,
    }


def _body_fields(models: Sequence[str]) -> dict[str, Json]:
    """The fields of `Body`, each by its own type and then by what is said of it above."""
    _, components = msgspec.json.schema_components([Body])
    derived: dict[str, Json] = components[Body.__name__]["properties"]
    fields = {name: _merged(schema, _FIELDS.get(name, {})) for name, schema in derived.items()}
    if models:
        fields["model"]["examples"] = list(models)
    return fields


def _merged(derived: Json, said: Json) -> Json:
    kept = {key: value for key, value in derived.items() if key != "default"}
    return {**({} if "type" in said else kept), **said}


def _without_null(schema: Json) -> Json:
    """The same for a form, whose parts are never null."""
    kept = {key: value for key, value in schema.items() if key != "anyOf"}
    if "enum" in kept:
        kept["enum"] = [value for value in kept["enum"] if value is not None]
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if not choices:
        return kept
    return {**choices[0], **kept} if len(choices) == 1 else {"anyOf": choices, **kept}


def _event(name: str) -> Json:
    completed = _record(
        {
            "type": {"const": name},
            "b64_json": _BASE64,
            "created_at": _COUNT,
            "size": {"enum": [*_SIZE_WORDS, "auto"]},
            "quality": {"const": "auto"},
            "background": {"const": "auto"},
            "output_format": {"enum": _OUTPUT_FORMATS},
            "usage": ref("Usage"),
        }
    )
    description = "The data of one event; its name is the data's type. Comments in between keep the connection alive."
    return {"oneOf": [completed, ref("ErrorEvent")], "description": description}


def _plan() -> Json:
    payload = {
        "type": "object",
        "properties": {
            "model": _TEXT,
            "prompt": _TEXT,
            **dict.fromkeys(("aspect_ratio", "size"), _TEXT),
            **dict.fromkeys(("width", "height"), _COUNT),
            **dict.fromkeys(("image", "mask_image", "negative_prompt", "output_format"), _TEXT),
            "seed": {"type": "integer"},
        },
        "required": ["model", "prompt"],
    }
    several = {"type": "array", "minItems": 1, "maxItems": MAX_IMAGES}
    return _record(
        {
            "object": {"const": "image.plan"},
            "model": _TEXT,
            "payloads": {**several, "items": payload, "description": "As they would be sent, one a picture."},
            "adjustments": {"type": "array", "items": _TEXT},
            "fingerprints": {**several, "items": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
            "price": {"type": "number", "minimum": 0, "description": "USD, for all pictures together, cached or not."},
            "price_per_image": {"type": "number", "minimum": 0, "description": "USD."},
            "cached": {**several, "items": {"type": "boolean"}, "description": "Which pictures the cache holds."},
        }
    )


def _error() -> Json:
    return _record(
        {
            "message": {"type": "string", "description": "What was wrong, and what would be right."},
            "type": {"enum": sorted({kind.row.type for kind in Kind})},
            "param": {"type": ["string", "null"], "description": "The field, part or header at fault."},
            "code": {"enum": [kind.row.code for kind in Kind]},
        }
    )


def _record(required: Json, optional: Json | None = None) -> Json:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _array(name: str, least: int = 0, most: int | None = None) -> Json:
    bounds = {"minItems": least} | ({} if most is None else {"maxItems": most})
    return {"type": "array", "items": ref(name), **bounds}
