"""Jobs in `/openapi.json`: their paths, their schemas, and what a webhook is told."""

from collections.abc import Collection
from typing import Any, Final

from gateway.core.errors import Kind
from gateway.core.jobs import JobState
from gateway.web.openapi_answers import OF_LIMITS, answer, errors
from gateway.web.openapi_schemas import ref

Json = dict[str, Any]

_KEYED: Final = {Kind.INVALID_API_KEY, Kind.KEY_DISABLED, Kind.KEY_EXPIRED, Kind.INVALID_HEADERS, Kind.INTERNAL_ERROR}
_ASKING: Final = _KEYED | {Kind.NOT_FOUND, Kind.STORE_UNAVAILABLE, Kind.IMAGE_UNAVAILABLE}
_TIME: Final[Json] = {"type": "integer", "description": "Seconds since 1970."}
_ID: Final[Json] = {"type": "string", "pattern": "^job_[0-9a-f]{32}$"}
_OF_TAKEN: Final = ("location", "retry-after", "preference-applied", "x-gateway-adjusted", *OF_LIMITS)
_WEBHOOK: Final[Json] = {
    "type": ["string", "null"],
    "description": "A URL that is told when the job is done: https, at a host of the setting `webhook_hosts`.",
}
_SIGNATURE: Final = {
    "webhook-id": "The job's id, the same whenever it is told.",
    "webhook-timestamp": "Seconds since 1970, of this attempt.",
    "webhook-signature": "By Standard Webhooks: `v1,` and a base64 HMAC-SHA256.",
}
PREFER: Final[Json] = {
    "name": "prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "examples": ["respond-async"]},
    "description": "respond-async: be told at once where to come back to, with `webhook` in the body if there is one. "
    "Streams and forms are answered as ever.",
}


def taken() -> Json:
    """The answer to a request that is done later."""
    return answer("The job. It may be done already.", {"application/json": ref("ImageJob")}, _OF_TAKEN)


def job_paths(kinds: Collection[Kind], parameters: list[Json]) -> Json:
    """The paths; `kinds` are the errors of taking a job, `parameters` those of a generation."""
    id_ = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}, "description": "A job's id."}
    asked = answer("The job; while it is not done, ask again.", {"application/json": ref("ImageJob")}, ("retry-after",))
    body = {"required": True, "content": {"application/json": {"schema": ref("ImageJobRequest")}}}
    submit = _operation("createImageJob", "Draw pictures later; the same as `Prefer: respond-async`.")
    retrieve = _operation("retrieveImageJob", "A job of this key; for a day.")
    taking = {"202": taken(), **errors({*kinds, Kind.IMAGE_UNAVAILABLE})}
    return {
        "/v1/images/generations/async": {
            "post": {**submit, "parameters": parameters, "requestBody": body, "responses": _sorted(taking)}
        },
        "/v1/images/jobs/{id}": {
            "get": {**retrieve, "parameters": [id_], "responses": _sorted({"200": asked, **errors(_ASKING)})}
        },
    }


def webhooks() -> Json:
    """What is sent to a job's webhook."""
    headers = [
        {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": description}
        for name, description in _SIGNATURE.items()
    ]
    body = {"required": True, "content": {"application/json": {"schema": ref("ImageJobDone")}}}
    told = {"2XX": {"description": "It was taken."}, "410": {"description": "It is not to be told again."}}
    summary = {"operationId": "imageJobDone", "summary": "A job is done.", "security": []}
    return {"image.job.done": {"post": {**summary, "parameters": headers, "requestBody": body, "responses": told}}}


def job_schemas(schemas: dict[str, Json]) -> dict[str, Json]:
    """The component schemas by name; `schemas` are the others, whose fields are here too."""
    request, response = schemas["ImageRequest"], schemas["ImagesResponse"]
    job = {
        "id": _ID,
        "object": {"const": "image.job"},
        "status": {"enum": [state.value for state in JobState]},
        "created_at": _TIME,
        "expires_at": {**_TIME, "description": "Until when it is kept, in seconds since 1970."},
    }
    ended = {"completed_at": _TIME, **response["properties"], "error": ref("Error")}
    return {
        "ImageJobRequest": {**request, "properties": {**request["properties"], "webhook": _WEBHOOK}},
        "ImageJob": {
            "type": "object",
            "description": "When it is done, an ImagesResponse as well, or it has an `error`.",
            "properties": {**job, **ended},
            "required": list(job),
        },
        "ImageJobDone": {
            "type": "object",
            "properties": {
                "type": {"const": "image.job.done"},
                "timestamp": {"type": "string", "format": "date-time"},
                "data": {**ref("ImageJob"), "description": "With addresses, whatever response_format asked for."},
            },
            "required": ["type", "timestamp", "data"],
        },
    }


def _operation(name: str, summary: str) -> Json:
    return {
        "operationId": name,
        "tags": ["images"],
        "summary": summary,
        "security": [{"bearer": []}, {"api-key": []}],
    }


def _sorted(answers: Json) -> Json:
    return dict(sorted(answers.items()))
