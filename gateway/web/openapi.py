"""`/openapi.json`: what is served, as OpenAPI 3.1.

Here are the paths; `gateway.web.openapi_schemas` has the bodies, `gateway.web.openapi_answers` the headers and errors.
Tests hold the document to the routes, to the kinds of errors and to real answers.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from gateway.core.coerce import Policy
from gateway.core.errors import Kind
from gateway.web.openapi_admin import admin_paths, admin_schemas
from gateway.web.openapi_answers import HEADERS, OF_KEPT, OF_MEDIA, OF_PICTURES, answer, errors, retry_headers
from gateway.web.openapi_jobs import PREFER, job_paths, job_schemas, taken, webhooks
from gateway.web.openapi_schemas import error_of, ref, schemas

Json = dict[str, Any]

_DESCRIPTION: Final = """\
OpenAI's Images API for the image models of 302.AI.

Paths are also understood without `/v1`, with `/v1` repeated, with a trailing slash, and in Azure's form
`/openai/deployments/{model}/images/…`; unknown query parameters are ignored. Every GET can be asked as HEAD, and each
of these paths answers OPTIONS with its methods, without a key. Any other path is 404 `unknown_url`, any other method
405 `method_not_allowed`. Fields that are not named here are accepted and ignored, and null is the same as absent.

`x-should-retry` tells whether to send a request again; heed it before the status.

With the setting `keepalive_after`, an answer that takes longer than that is 200 and begins with white space:
`cache-status` and `x-gateway-cache` are missing then, and an error comes as its body. With the setting `cors_origins`,
browsers get CORS headers. The paths of `/admin/v1` are there with the setting `admin_key` only.
"""
_KEYS: Final[list[Json]] = [{"bearer": []}, {"api-key": []}]

_PUBLIC: Final = frozenset({Kind.INVALID_HEADERS, Kind.INTERNAL_ERROR})
_KEYED: Final = _PUBLIC | {Kind.INVALID_API_KEY, Kind.KEY_DISABLED, Kind.KEY_EXPIRED}
_STORED: Final = _PUBLIC | {Kind.UNKNOWN_URL, Kind.IMAGE_UNAVAILABLE}
# What is said of paths that are none of ours.
_NO_PATH: Final = frozenset({Kind.UNKNOWN_URL, Kind.METHOD_NOT_ALLOWED})
_OF_THINGS: Final = frozenset({Kind.NOT_FOUND, Kind.CONFLICT})
_DRAWING: Final = frozenset(set(Kind) - _NO_PATH - _OF_THINGS)
_PLANNING: Final = frozenset(
    kind
    for kind in _DRAWING - {Kind.CONTENT_POLICY, Kind.STILL_RUNNING, Kind.IMAGE_UNAVAILABLE}
    if not kind.row.code.startswith("upstream_")
)


def _parameter(name: str, where: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": where, "required": where == "path", "schema": schema, "description": description}


_COERCION: Final = _parameter(
    "x-gateway-coercion",
    "header",
    {"enum": [policy.value for policy in Policy]},
    "What happens to a size that the model does not take; absent, as is set.",
)
_CACHE: Final = _parameter(
    "cache-control",
    "header",
    {"type": "string", "examples": ["no-cache", "no-store"]},
    "no-cache: draw anew, and keep it; no-store: draw anew, and do not.",
)
_SECONDS: Final[Json] = {"type": "number", "exclusiveMinimum": 0}
_PATIENCE: Final = [
    _parameter(
        name, "header", _SECONDS, "How many seconds the caller waits; then 504 still_running, and the call goes on."
    )
    for name in ("x-stainless-read-timeout", "x-stainless-timeout")
]
_DRAWN: Final = [_COERCION, _CACHE, *_PATIENCE]
_OF_RANGES: Final = frozenset({"206", "416"})
_CONDITIONS: Final = [
    _parameter(name, "header", {"type": "string"}, description)
    for name, description in (
        ("range", "One range of bytes; not heeded with HEAD."),
        ("if-range", "The etag or date for which the range is meant."),
        ("if-none-match", "Etags for which the answer is 304."),
        ("if-modified-since", "A date since which, unchanged, the answer is 304."),
    )
]


def document(version: str, models: Sequence[str]) -> Json:
    """The document. `models` are the ids to suggest for `model`; any other name that leads to a model is taken too."""
    known = schemas(models)
    paths = {**_image_paths(), **job_paths(_PLANNING, [_COERCION, _CACHE, PREFER]), **_model_paths(models)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "302.AI image gateway",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in ("images", "models", "operation", "administration")],
        "paths": {**paths, **_media_path(), **_open_paths(), **admin_paths()},
        "webhooks": webhooks(),
        "components": {
            "schemas": {**known, **job_schemas(known), **admin_schemas()},
            "headers": HEADERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "admin": {"type": "http", "scheme": "bearer", "description": "The setting `admin_key`."},
                "api-key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "api-key",
                    "description": "As Azure's clients say it.",
                },
            },
        },
    }


def _image_paths() -> Json:
    return {
        "/v1/images/generations": {
            "post": _drawing(
                "createImage", "Draw pictures.", {"application/json": "ImageRequest"}, "ImageGenerationEvent"
            ),
        },
        "/v1/images/edits": {
            "post": _drawing(
                "createImageEdit",
                "Draw pictures from a picture.",
                {"multipart/form-data": "ImageEditForm", "application/json": "ImageEditRequest"},
                "ImageEditEvent",
            ),
        },
        "/v1/images/variations": {
            "post": _drawing(
                "createImageVariation",
                "Draw variations of a picture.",
                {"multipart/form-data": "ImageVariationForm"},
                "ImageEditEvent",
            ),
        },
        "/v1/images/plan": {
            "post": _operation(
                "planImage",
                "images",
                "What a generation would become, without drawing it; nothing is spent.",
                {"200": answer("The plan.", {"application/json": ref("Plan")})},
                _PLANNING,
                parameters=[_COERCION],
                requestBody=_body({"application/json": "ImageRequest"}),
            ),
        },
    }


def _drawing(name: str, summary: str, bodies: dict[str, str], event: str) -> Json:
    content = {"application/json": ref("ImagesResponse"), "text/event-stream": ref(event)}
    done = answer("The pictures, or with `stream` an event for each as it comes.", content, OF_PICTURES)
    later = {"202": taken()} if "application/json" in bodies else {}
    parameters = [*_DRAWN, PREFER] if later else _DRAWN
    answers = {"200": done, **later}
    return _operation(name, "images", summary, answers, _DRAWING, parameters=parameters, requestBody=_body(bodies))


def _model_paths(models: Sequence[str]) -> Json:
    id_: Json = {"type": "string"} | ({"examples": list(models)} if models else {})
    one = _parameter("id", "path", id_, "A model's id, or any name that leads to it; it may have slashes.")
    listed = {"200": answer("The models.", {"application/json": ref("ModelList")})}
    found = {"200": answer("The model.", {"application/json": ref("Model")})}
    unknown = _KEYED | {Kind.MODEL_NOT_FOUND, Kind.MODEL_NOT_ALLOWED}
    return {
        "/v1/models": {"get": _operation("listModels", "models", "All models.", listed, _KEYED)},
        "/v1/models/{id}": {
            "get": _operation("retrieveModel", "models", "One model.", found, unknown, parameters=[one])
        },
    }


def _media_path() -> Json:
    name = _parameter(
        "name",
        "path",
        {"type": "string", "pattern": r"^[0-9a-f]{32}\.(png|jpg|webp|gif)$"},
        "As in the URL of an answer. Whoever knows it may see the picture.",
    )
    types: dict[str, Json] = {f"image/{kind}": {} for kind in ("png", "jpeg", "webp", "gif")}
    kept = (*OF_MEDIA, *OF_KEPT)
    out_of_range = answer(
        "No part of the picture lies in the range.",
        {"application/json": error_of([Kind.INVALID_VALUE])},
        (*OF_MEDIA, "content-range", *retry_headers([Kind.INVALID_VALUE])),
    )
    answers = {
        "200": answer("The picture.", types, (*kept, "content-disposition")),
        "206": answer("A part of it.", types, (*kept, "content-disposition", "content-range")),
        "304": answer("It has not changed.", {}, kept),
        "416": out_of_range,
    }
    summary = "A kept picture. Only where the setting `media` is on; else there is no such path."
    got = _operation("getMedia", "images", summary, answers, _STORED, parameters=[name, *_CONDITIONS], security=[])
    headed = {status: _bodiless(reply) for status, reply in got["responses"].items() if status not in _OF_RANGES}
    return {"/v1/media/{name}": {"get": got, "head": {**got, "operationId": "headMedia", "responses": headed}}}


def _bodiless(reply: Json) -> Json:
    return {key: value for key, value in reply.items() if key != "content"}


def _open_paths() -> Json:
    """What needs no key."""
    return {
        path: {"get": _operation(name, "operation", summary, {"200": answer(summary, content)}, _PUBLIC, security=[])}
        for path, name, summary, content in (
            ("/livez", "live", "The process answers.", {"application/json": ref("Live")}),
            ("/readyz", "ready", "What is missing; 200 as long as it serves.", {"application/json": ref("Ready")}),
            ("/metrics", "metrics", "The metrics, for Prometheus.", {"text/plain": {"type": "string"}}),
            ("/openapi.json", "openapi", "This document.", {"application/json": {"type": "object"}}),
            ("/", "greeting", "A greeting, for uptime checks.", {"application/json": ref("Greeting")}),
        )
    }


def _operation(
    name: str,
    tag: str,
    summary: str,
    answers: Json,
    kinds: Iterable[Kind],
    *,
    security: list[Json] = _KEYS,
    **more: object,
) -> Json:
    head = {"operationId": name, "tags": [tag], "summary": summary, "security": security}
    return {**head, **more, "responses": dict(sorted({**answers, **errors(kinds)}.items()))}


def _body(bodies: dict[str, str]) -> Json:
    return {"required": True, "content": {kind: {"schema": ref(name)} for kind, name in bodies.items()}}
