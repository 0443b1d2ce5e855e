"""README's tables, its drawing and the settings file are held to the code and the data.

`python tests/test_docs.py` prints every table as it should be: what the code decides anew, what people wrote as it is.
"""

import inspect
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, cast

import click
import msgspec
import orjson
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from starlette.routing import Route

from gateway import settings
from gateway.adapters.metrics import Metrics
from gateway.cli import main
from gateway.core import edits, request
from gateway.core.catalogue import MICRO
from gateway.core.coerce import Policy
from gateway.core.declared import read_declared
from gateway.core.errors import GatewayError, Kind
from gateway.core.shapes import Ratios, Shape, Sides, Sizes
from gateway.core.translate import Rules, translate
from gateway.options import catalogue
from gateway.pipeline import Gateway
from gateway.reload import RELOADABLE
from gateway.settings import PREFIX, SECRETS, Settings
from gateway.simulator import Failure
from gateway.web.admin import Admin
from gateway.web.endpoints import Endpoints
from gateway.web.routes import Site, admin_routes, build, media_route

Row = tuple[str, ...]

ROOT: Final = Path(__file__).parents[1]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
CATALOGUE: Final = catalogue(Settings())


# What the first columns of each table must be; the columns after them are words.


def settings_rows() -> Iterable[Row]:
    for field in msgspec.structs.fields(Settings):
        variables = [PREFIX + field.name.upper(), *settings._ALSO.get(field.name, ())]
        files = ["…_FILE"] if field.name in SECRETS else []
        default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default or "")
        yield quoted(field.name), quoted(*variables, *files), quoted(default) if default else "–"


def error_rows() -> Iterable[Row]:
    for row in (kind.row for kind in Kind):
        wait = f", after {row.retry_after:g} s" if row.retry_after else ""
        again = f"yes{wait}" if row.retry else "no, held" if row.outcome_unknown else "no"
        yield quoted(row.code), str(row.status), quoted(row.type), again


def model_rows() -> Iterable[Row]:
    for model in CATALOGUE.models.values():
        yield quoted(model.id), model.shape_name, takes(model.shape), model.image, f"{model.price / MICRO:g}"


def shape_rows() -> Iterable[Row]:
    names = [model.shape_name for model in CATALOGUE.models.values()]
    for name, shape in {model.shape_name: model.shape for model in CATALOGUE.models.values()}.items():
        fallback = "–"
        if isinstance(shape, Ratios | Sizes | Sides):
            fallback = f"that side {shape.fallback}" if isinstance(shape, Sides) else str(shape.fallback)
        yield quoted(name), str(names.count(name)), takes(shape), fallback


def metric_rows() -> Iterable[Row]:
    registry = CollectorRegistry()
    Metrics(registry)
    for metric in registry._collector_to_names:
        assert isinstance(metric, MetricWrapperBase)
        name = f"{metric._name}_total" if metric._type == "counter" else metric._name
        yield quoted(name), str(metric._type), quoted(*metric._labelnames) or "–"


def command_rows() -> Iterable[Row]:
    for name, command in main.commands.items():
        options = [p.opts[0] if isinstance(p, click.Option) else str(p.name).upper() for p in command.params]
        options += command.commands if isinstance(command, click.Group) else []
        yield quoted(name), quoted(*options) or "–"


def endpoint_rows() -> Iterable[Row]:
    nothing = cast("Any", None)
    endpoints = Endpoints(nothing, nothing, nothing, nothing, nothing, nothing)
    admin = admin_routes(Admin("", nothing, nothing, nothing, nothing, nothing))
    front: Any = build(Site(endpoints, nothing, nothing, nothing, more=(media_route(nothing), *admin)))
    for route in front._app._rest.routes:
        assert isinstance(route, Route)
        assert route.methods
        for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
            yield (quoted(f"{method} {route.path_format}"),)


def field_rows() -> Iterable[Row]:
    read = [name for name in edits._EditBody.__struct_fields__ if name not in request.UNSUPPORTED]
    return [*((quoted(name),) for name in read), (quoted(*request.UNSUPPORTED),)]


def request_header_rows() -> Iterable[Row]:
    files = [ROOT / "gateway/web/endpoints.py", ROOT / "gateway/web/places.py"]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    read = re.findall(r'headers\.get\(b"[a-z-]+"|for name in \(b".+?\)', source)
    return [(quoted(name),) for name in sorted(set(re.findall(r'b"([a-z-]+)"', "".join(read))))]


def failure_rows() -> Iterable[Row]:
    return [(quoted(failure), "yes" if failure.billed else "no") for failure in Failure]


def coercion_rows() -> Iterable[Row]:
    for asked, model, *_ in shown("coercion"):
        field, _, value = asked.strip("`").partition("=")
        body = {"prompt": "a fox", "model": model.strip("`"), field: value}
        yield asked, model, *(quoted(sent(body, policy)) for policy in Policy)


TABLES: Final[dict[str, Callable[[], Iterable[Row]]]] = {
    "endpoints": endpoint_rows,
    "fields": field_rows,
    "request-headers": request_header_rows,
    "coercion": coercion_rows,
    "shapes": shape_rows,
    "errors": error_rows,
    "settings": settings_rows,
    "commands": command_rows,
    "metrics": metric_rows,
    "failures": failure_rows,
    "models": model_rows,
}


def quoted(*words: object) -> str:
    return ", ".join(f"`{word}`" for word in words)


def takes(shape: Shape) -> str:
    return ", ".join(shape.supported()) or "no geometry"


def sent(body: dict[str, str], policy: Policy) -> str:
    """The geometry that 302 gets, or the error's code."""
    if body["model"].endswith("-i2i"):
        body = {**body, "image": "https://example.com/fox.png"}
    try:
        plan = translate(request.parse(orjson.dumps(body)), CATALOGUE, policy, "", Rules())
    except GatewayError as error:
        return f"{error.kind.row.status} {error.kind.row.code}"
    payload = orjson.loads(plan.payloads[0].body)
    return payload.get("aspect_ratio") or ("{width}x{height}".format(**payload) if "width" in payload else "nothing")


def fences(language: str, holding: str) -> list[str]:
    """README's blocks of a language that hold a text."""
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [text for text in found if holding in text]


def shown(table: str) -> list[Row]:
    """README's rows of a table."""
    found = re.search(rf"<!-- table: {table} -->\n\n\|.*\n\|.*\n((?:\|.*\n)+)", README)
    assert found, f"README has no table after <!-- table: {table} -->"
    return [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in found[1].splitlines()]


def mended(table: str) -> list[Row]:
    """The rows as they should be: the words of a row that is there already are kept."""
    now = shown(table)
    words = {row[0]: row for row in now}
    blank = ("TODO",) * len(now[0])
    return [(*row, *words.get(row[0], blank)[len(row) :]) for row in TABLES[table]()]


def markdown(rows: list[Row]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_says_what_the_code_does(table: str) -> None:
    rows = mended(table)

    assert shown(table) == rows, f"README's table {table!r} should be\n\n{markdown(rows)}\n"
    assert "TODO" not in markdown(rows)


def test_the_drawing_has_the_pipelines_verbs_in_their_order() -> None:
    [drawing] = fences("text", "┌")
    entries = re.findall(r"^│ (\w+):", drawing, re.MULTILINE)
    verbs = re.findall(r"^│ +(\w+) {2,}", drawing, re.MULTILINE)
    methods = [name for name, value in vars(Gateway).items() if inspect.isfunction(value) and name[0] != "_"]

    assert entries + verbs == methods


def test_the_settings_file_shows_every_default(tmp_path: Path) -> None:
    text = (ROOT / "config/gateway.toml").read_text(encoding="utf-8")
    file = tmp_path / "gateway.toml"
    file.write_text("\n".join(re.findall(r"^# (\w+ = .*)$", text, re.MULTILINE)), encoding="utf-8")

    assert tomllib.loads(text) == {}
    assert tuple(sorted(tomllib.loads(file.read_text(encoding="utf-8")))) == tuple(sorted(Settings.__struct_fields__))
    assert settings.load({"GATEWAY_CONFIG": str(file)}, pytest.fail) == Settings()


def test_variables_that_are_mentioned_exist() -> None:
    mentioned = re.findall(r"GATEWAY_[A-Z][A-Z_]*", README + (ROOT / "config/gateway.toml").read_text(encoding="utf-8"))

    settings._warn_of_unknown(dict.fromkeys(mentioned, "1"), pytest.fail)


def test_commands_that_are_shown_exist() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for line in "".join(fences("sh", "")).replace("\\\n", "").splitlines():
        words = [word for word in shlex.split(line, comments=True) if not re.match("[A-Z_0-9]+=", word)]
        if words[:1] == ["make"]:
            assert words[1] in targets
        elif words and words[0].endswith("gateway302"):
            command, *arguments = words[1:]
            found = main.commands[command]
            if isinstance(found, click.Group):
                found, arguments = found.commands[arguments[0]], arguments[1:]
            assert found.make_context(command, arguments)


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    anchors = {"#" + heading.lower().replace(",", "").replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)]+)\)", README)

    assert [link for link in links if link not in anchors and "://" not in link and not (ROOT / link).exists()] == []


def test_the_reloadable_settings_are_told() -> None:
    [told] = re.findall(r"These settings take effect: (.*?); others", README, re.DOTALL)

    assert set(re.findall(r"`(\w+)`", told)) == set(RELOADABLE)


def test_the_teams_file_that_is_shown_is_one() -> None:
    [example] = fences("toml", "[teams.")

    assert read_declared("README.md", example)


def test_the_number_of_models_is_right() -> None:
    assert set(re.findall(r"(\d+) models", README)) == {str(len(CATALOGUE.models))}


if __name__ == "__main__":  # pragma: no cover
    for name in TABLES:
        sys.stdout.write(f"<!-- table: {name} -->\n\n{markdown(mended(name))}\n\n")
