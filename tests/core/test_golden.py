"""What every model is sent for every size an OpenAI client may ask for: one table, to be reviewed when it changes.

`pytest tests/core/test_golden.py --inline-snapshot=fix` writes golden.txt anew.
"""

import orjson
from inline_snapshot import external_file

from gateway.core.catalogue import Catalogue, Model
from gateway.core.coerce import Policy
from gateway.core.errors import GatewayError, Kind
from gateway.core.request import parse
from gateway.core.translate import Rules, translate
from tests.core.oracle import geometry, told

SIZES = ("", "256x256", "512x512", "1024x1024", "1536x1024", "1024x1536", "1792x1024", "1024x1792")

LEGEND = """\
Each column is a size asked for; each cell is what 302.AI is sent: "-" no geometry, "16:9" an aspect_ratio, "768x432" a
width and height (and, where a model lists its sizes, the same as size), "refused" nothing, for the request is answered
with 400. A star marks what is reported to the caller as an adjustment.
"""


def test_every_model_is_sent_what_was_reviewed(catalogue: Catalogue) -> None:
    table = "\n".join([LEGEND, *(section(catalogue, policy) for policy in Policy)])

    assert table == external_file("golden.txt")


def section(catalogue: Catalogue, policy: Policy) -> str:
    heading = _row(policy, ["nothing", *SIZES[1:]])
    rows = [
        _row(model.id, [cell(catalogue, model, policy, size) for size in SIZES]) for model in catalogue.models.values()
    ]
    return "\n".join([heading, "-" * len(heading), *rows, ""])


def cell(catalogue: Catalogue, model: Model, policy: Policy, size: str) -> str:
    image = "https://example.com/cat.png" if model.image == "required" else None
    body = {"model": model.id, "prompt": "a cat", "size": size or None, "image": image}
    try:
        plan = translate(parse(orjson.dumps(body)), catalogue, policy, "gateway", Rules())
    except GatewayError as error:
        return "refused" if error.kind is Kind.INVALID_VALUE else error.kind.name
    (payload,) = plan.payloads
    return told(geometry(orjson.loads(payload.body))) + "*" * bool(plan.adjustments)


def _row(name: str, cells: list[str]) -> str:
    return f"{name:<34}{''.join(f'{text:<11}' for text in cells)}".rstrip()
