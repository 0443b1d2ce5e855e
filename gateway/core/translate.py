"""ImageRequest × Catalogue → Plan: the bodies that go to 302, their fingerprints, and what had to change.

This is the only place that writes an upstream payload. It never touches the request: a retry may translate it again.
"""

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import orjson

from gateway.core.catalogue import MICRO, Catalogue, Model, Resolved, forwarded
from gateway.core.coerce import Adjustment, Policy, coerce
from gateway.core.errors import GatewayError, Kind
from gateway.core.request import ImageRequest, plain

# Raise it whenever the same body would mean another picture or a stored entry another thing: old entries then are
# misses.
SCHEMA: Final = b"1"

_LONGEST_ID: Final = 256

ImageFormat = Literal["url", "b64_json", "both"]
UnknownModels = Literal["refuse", "forward"]


class Payload(msgspec.Struct, frozen=True, gc=False):
    """One call to 302: its body, byte for byte, and the fingerprint under which its picture is kept."""

    body: bytes
    fingerprint: str


class Plan(msgspec.Struct, frozen=True, gc=False):
    """What a request becomes. `price` is in micro-USD, for all payloads together."""

    model: Model
    payloads: tuple[Payload, ...]
    adjustments: tuple[Adjustment, ...]
    price: int
    known: bool
    """Whether the model is in the catalogue; a forwarded id is not."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings translation depends on."""

    response_format: ImageFormat = "url"
    unknown_models: UnknownModels = "refuse"


def translate(request: ImageRequest, catalogue: Catalogue, policy: Policy, scope: str, rules: Rules) -> Plan:
    """Work out what a request becomes; nothing is sent.

    `scope` parts the cache: two requests of different scope never share a picture.

    Raises:
        GatewayError: `model_not_found`, `image_required`, `invalid_value`.
    """
    model, renamed, known = _choose(request, catalogue, rules)
    geometry = coerce(model.shape, request.geometry, policy, model.id)
    fields: dict[str, str | int] = {"model": model.id, "prompt": request.prompt, **geometry.fields}
    for name in ("image", "mask_image", "negative_prompt", "output_format", "seed"):
        value = getattr(request, name)
        if value is not None:
            fields[name] = value
    try:
        body = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    except TypeError as exc:
        raise GatewayError(Kind.INVALID_JSON, "The body has text that is no valid Unicode.") from exc
    payloads = tuple([Payload(body, digest) for digest in fingerprints(body, scope, request.n)])
    adjustments = (*renamed, *geometry.adjustments, *request.dropped)
    return Plan(model, payloads, adjustments, model.price * request.n, known)


def fingerprints(body: bytes, scope: str, n: int) -> list[str]:
    """SHA-256 of schema, scope, body and slot, for slots 0 to n-1; each part carries its length."""
    scoped = scope.encode()
    whole = hashlib.sha256(b"%d:%b%d:%b%d:" % (len(SCHEMA), SCHEMA, len(scoped), scoped, len(body)))
    whole.update(body)  # it may be megabytes, which need not be copied
    digests = []
    for slot in range(n):
        digest = whole.copy()
        digest.update(b"%d" % slot)
        digests.append(digest.hexdigest())
    return digests


def image_format(request: ImageRequest, rules: Rules) -> ImageFormat:
    """Which field answers: the one asked for, else what OpenAI gives for the id that was named."""
    if request.response_format:
        return request.response_format
    return "b64_json" if is_gpt_image(request.model) else rules.response_format


def is_gpt_image(model: str | None) -> bool:
    """Whether an id is of OpenAI's newer family, which always answers in base64 and with `usage`."""
    return model is not None and model.lower().replace("_", "-").startswith(("gpt-image", "chatgpt-image"))


def describe(plan: Plan, cached: list[bool]) -> dict[str, object]:
    """The plan as `POST /v1/images/plan` tells it; prices in USD."""
    return {
        "object": "image.plan",
        "model": plan.model.id,
        "payloads": [orjson.Fragment(payload.body) for payload in plan.payloads],
        "adjustments": [str(adjustment) for adjustment in plan.adjustments],
        "fingerprints": [payload.fingerprint for payload in plan.payloads],
        "price": plan.price / MICRO,
        "price_per_image": plan.model.price / MICRO,
        "cached": cached,
    }


def _choose(request: ImageRequest, catalogue: Catalogue, rules: Rules) -> tuple[Model, tuple[Adjustment, ...], bool]:
    found = _resolve(request, catalogue)
    if found is None:
        if rules.unknown_models == "forward" and request.model is not None and _is_id(request.model):
            return forwarded(request.model), (), False
        message = f"The model {plain(request.model)!r} does not exist; GET /v1/models lists those that do."
        raise GatewayError(Kind.MODEL_NOT_FOUND, message, param="model")
    model = found.model
    asked = model.id if request.model is None else plain(request.model)
    if request.image is None and model.image == "required":
        message = f"{model.id} draws from a picture: give image, as a URL, a data URI or base64."
        raise GatewayError(Kind.IMAGE_REQUIRED, message, param="image")
    if request.image is not None and model.image == "none":
        model = _taking_image(request, found, catalogue)
    elif not found.substituted or request.model is None:
        return model, (), True
    return model, (Adjustment("model", asked, model.id),), True


def _is_id(model: str) -> bool:
    """Whether an id can be one: a database does not take every character, and much is kept by it."""
    return len(model) <= _LONGEST_ID and model.isprintable()


def _resolve(request: ImageRequest, catalogue: Catalogue) -> Resolved | None:
    if request.model is None:
        return Resolved(catalogue.default, alias=True, substituted=True)
    return catalogue.resolve(request.model, with_image=request.image is not None)


def _taking_image(request: ImageRequest, found: Resolved, catalogue: Catalogue) -> Model:
    """The model's sibling; for whoever named no model of 302's, the one that is set for pictures."""
    # dall-e-2 is the only model OpenAI ever had for variations: who names it there has chosen nothing.
    if request.variation and found.alias and catalogue.default_for_variations is not None:
        return catalogue.default_for_variations
    sibling = catalogue.sibling(found.model)
    if sibling is not None and sibling.image != "none":
        return sibling
    if found.substituted and catalogue.default_for_edits is not None:
        return catalogue.default_for_edits
    message = f"{found.model.id} takes no image. These do: {', '.join(catalogue.taking_images())}."
    raise GatewayError(Kind.INVALID_VALUE, message, param="image")
