"""The catalogue: which models there are, what each takes, and by which names it is called.

`config/models.toml` is its only source; reading the file is the caller's part. Nothing here knows a model by name.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from math import inf
from typing import Final, Literal, TypeVar

import msgspec

from gateway.core.lines import place
from gateway.core.shapes import Free, Ratio, Ratios, Shape, Sides, Size, Sizes, Unshaped, parse_geometry

MICRO: Final = 1_000_000
DEFAULT: Final = "default"
_DEAREST: Final = 1000
# So many names that callers write are remembered with what they mean; but none to fill the memory with, ours are short.
_MOST_KNOWN: Final = 1024
_LONGEST_KNOWN: Final = 64
_SUFFIX = re.compile(r"-(t2i|i2i)$")

_T = TypeVar("_T", bound=msgspec.Struct)

ImageUse = Literal["none", "optional", "required"]


class CatalogueError(Exception):
    """A catalogue file is wrong; the message names the file, the row and the remedy."""


@dataclass(frozen=True, slots=True)
class Model:
    """One row. `price` is in micro-USD an image; `timeout` in seconds lowers the upstream deadline for this model."""

    id: str
    shape_name: str
    shape: Shape
    image: ImageUse
    price: int
    sibling: str | None = None
    timeout: float | None = None


class _ShapeRow(msgspec.Struct, forbid_unknown_fields=True):
    free: bool = False
    none: bool = False
    ratios: list[str] | None = None
    sizes: list[str] | None = None
    side: tuple[int, int] | None = None
    fallback: str | int | None = None


class _ModelRow(msgspec.Struct, forbid_unknown_fields=True):
    shape: str
    image: ImageUse
    price: float
    sibling: str | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Defaults:
    """Who draws for those that name no model of 302's: from text, and where a picture comes along (None: nobody)."""

    generation: str
    edit: str | None = None
    variation: str | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """A name's model.

    `alias` tells that the name is one of OpenAI's, `substituted` that not even a twin of it will draw.
    """

    model: Model
    alias: bool = False
    substituted: bool = False


class Catalogue:
    """The models by id, and every name that leads to them."""

    def __init__(self, models: Mapping[str, Model], aliases: Mapping[str, str], defaults: "Defaults") -> None:
        self.models: Final = dict(models)
        self.aliases: Final = dict(aliases)
        self._bare: dict[str, dict[str, Model]] = {}
        self._exact = {normalise(id_): model for id_, model in models.items()}
        for id_, model in self._exact.items():
            if suffix := _SUFFIX.search(id_):
                self._bare.setdefault(id_[: suffix.start()], {})[suffix[1]] = model
        names = {normalise(name): target for name, target in aliases.items()}
        self._aliases = {name: target for name, target in names.items() if not name.endswith("*")}
        prefixes = [(name[:-1], target) for name, target in names.items() if name.endswith("*")]
        self._prefixes = sorted(prefixes, key=lambda pair: -len(pair[0]))
        self._resolved: Final = lru_cache(_MOST_KNOWN)(self._resolve)
        self.default: Final = self._named("default_model", defaults.generation)
        self.default_for_edits: Final = self._taking("edit_model", defaults.edit)
        self.default_for_variations: Final = self._taking("variation_model", defaults.variation)

    def resolve(self, name: str, *, with_image: bool = False) -> Resolved | None:
        """Find the model a caller means: case and `_`/`-` do not count, the suffix may be missing, aliases apply."""
        return (self._resolved if len(name) <= _LONGEST_KNOWN else self._resolve)(name, with_image)

    def _resolve(self, name: str, with_image: bool) -> Resolved | None:  # noqa: FBT001 - a cache's key has no names
        name = normalise(name)
        if model := self._exact.get(name):
            return Resolved(model)
        target = self._aliases.get(name)
        if target is None:
            if model := self._find(name, with_image=with_image):
                return Resolved(model)
            target = next((to for prefix, to in self._prefixes if name.startswith(prefix)), None)
        if target is None:
            return None
        if normalise(target) == DEFAULT:
            return Resolved(self.default, alias=True, substituted=True)
        found = self._find(normalise(target), with_image=with_image)
        return Resolved(found, alias=True) if found else None

    def sibling(self, model: Model) -> Model | None:
        """The same model of the other kind, where there is one."""
        return self.models[model.sibling] if model.sibling else None

    def taking_images(self) -> list[str]:
        """Ids of the models that take a source picture."""
        return [model.id for model in self.models.values() if model.image != "none"]

    def _taking(self, setting: str, name: str | None) -> Model | None:
        if name is None:
            return None
        model = self._named(setting, name)
        if model.image == "none":
            message = f"{setting} {name!r} takes no picture; these do: {', '.join(self.taking_images())}"
            raise CatalogueError(message)
        return model

    def _named(self, setting: str, name: str) -> Model:
        target = self._aliases.get(normalise(name), name)
        if (model := self._find(normalise(target), with_image=False)) is None:
            message = f"{setting} {name!r} is in no catalogue row; `gateway302 models` lists the ids"
            raise CatalogueError(message)
        return model

    def _find(self, name: str, *, with_image: bool) -> Model | None:
        if model := self._exact.get(name):
            return model
        kinds = self._bare.get(name)
        if not kinds:
            return None
        first, second = ("i2i", "t2i") if with_image else ("t2i", "i2i")
        return kinds.get(first) or kinds[second]


def normalise(name: str) -> str:
    """The form in which names are compared."""
    return name.strip().lower().replace("_", "-")


def forwarded(name: str) -> Model:
    """A model that no row knows, handed on as it is (`unknown_models = "forward"`); its price is unknown, so 0."""
    return Model(name, "free", Free(), "optional", 0)


def load(
    sources: Iterable[tuple[str, str]], default: str, *, for_edits: str | None = None, for_variations: str | None = None
) -> Catalogue:
    """Build the catalogue from (file name, text) pairs; a later file adds to and overrides the earlier ones.

    `default` draws for whoever names no model of 302's, the other two where a picture comes along (None: nobody does).

    Raises:
        CatalogueError: naming file, row and remedy.
    """
    shapes: dict[str, Shape] = {}
    rows: dict[str, tuple[str, _ModelRow]] = {}
    aliases: dict[str, str] = {}
    alias_sources: dict[str, str] = {}
    for source, text in sources:
        data = _parse(source, text)
        at = partial(place, source, text)
        shapes |= {name: _shape(at("shapes", name), name, row) for name, row in data["shapes"].items()}
        rows |= {id_: (at("models", id_), _row(at("models", id_), id_, row)) for id_, row in data["models"].items()}
        # By the form in which names are compared: DALL_E_3 in a later file overrides dall-e-3.
        aliases |= {normalise(name): _alias(at("aliases", name), name, to) for name, to in data["aliases"].items()}
        alias_sources |= {normalise(name): at("aliases", name) for name in data["aliases"]}
    models = {id_: _model(source, id_, row, shapes) for id_, (source, row) in rows.items()}
    _check_names(rows, models)
    _check_aliases(alias_sources, models, aliases)
    return Catalogue(models, aliases, Defaults(default, for_edits, for_variations))


def _parse(source: str, text: str) -> dict[str, dict[str, object]]:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        message = f"{source}: {exc}; a key may stand once, and ids must be quoted"
        raise CatalogueError(message) from exc
    known = {"shapes", "models", "aliases"}
    for table, value in data.items():
        if table not in known or not isinstance(value, dict):
            message = f"{source}: [{table}] is no table of a catalogue; there are [shapes], [models] and [aliases]"
            raise CatalogueError(message)
    return {table: data.get(table, {}) for table in known}


def _shape(source: str, name: str, data: object) -> Shape:
    where = f"{source}: shape {name!r}"
    row = _convert(where, data, _ShapeRow)
    given = [row.free, row.none, row.ratios is not None, row.sizes is not None, row.side is not None]
    if sum(given) != 1:
        message = f"{where}: give exactly one of free, none, ratios, sizes, side"
        raise CatalogueError(message)
    if row.free:
        return Free()
    if row.none:
        return Unshaped()
    if row.side is not None:
        low, high = row.side
        if not (isinstance(row.fallback, int) and 0 < low <= row.fallback <= high):
            message = f"{where}: fallback must be a whole number within side = [low, high]"
            raise CatalogueError(message)
        return Sides(low, high, row.fallback)
    texts = row.ratios if row.ratios is not None else row.sizes or []
    values = [parse_geometry(text) for text in [*texts, str(row.fallback)]]
    kind = Ratio if row.ratios is not None else Size
    if not texts or not all(isinstance(value, kind) for value in values) or values[-1] not in values[:-1]:
        form = "16:9" if kind is Ratio else "1024x1024"
        message = f"{where}: values must be written like {form!r}, and fallback must be one of them"
        raise CatalogueError(message)
    if kind is Ratio:
        ratios = tuple(value for value in values if isinstance(value, Ratio))
        return Ratios(ratios[:-1], ratios[-1])
    sizes = tuple(value for value in values if isinstance(value, Size))
    return Sizes(sizes[:-1], sizes[-1])


def _row(source: str, id_: str, data: object) -> _ModelRow:
    where = f"{source}: model {id_!r}"
    row = _convert(where, data, _ModelRow)
    if not 0 <= row.price <= _DEAREST:
        message = f"{where}: price is in USD an image, from 0 to 1000"
        raise CatalogueError(message)
    if row.timeout is not None and not 0 < row.timeout < inf:
        message = f"{where}: timeout is in seconds, more than 0"
        raise CatalogueError(message)
    return row


def _model(source: str, id_: str, row: _ModelRow, shapes: Mapping[str, Shape]) -> Model:
    if row.shape not in shapes:
        message = f"{source}: model {id_!r}: there is no shape {row.shape!r}; it is one of {', '.join(shapes)}"
        raise CatalogueError(message)
    price = round(row.price * MICRO)
    return Model(id_, row.shape, shapes[row.shape], row.image, price, row.sibling, row.timeout)


def _alias(source: str, name: str, target: object) -> str:
    if not isinstance(target, str):
        message = f"{source}: alias {name!r}: must be a model id or {DEFAULT!r}"
        raise CatalogueError(message)
    return target


def _check_names(rows: Mapping[str, tuple[str, _ModelRow]], models: Mapping[str, Model]) -> None:
    seen: dict[str, str] = {}
    for id_, model in models.items():
        source = rows[id_][0]
        if (other := seen.setdefault(normalise(id_), id_)) != id_:
            message = f"{source}: model {id_!r} is {other!r} written differently; keep one of them"
            raise CatalogueError(message)
        if model.sibling and (model.sibling not in models or models[model.sibling].sibling != id_):
            message = f"{source}: model {id_!r}: its sibling {model.sibling!r} must be a row that names it back"
            raise CatalogueError(message)


def _check_aliases(sources: Mapping[str, str], models: Mapping[str, Model], aliases: Mapping[str, str]) -> None:
    ids = {normalise(id_) for id_ in models}
    names = ids | {_SUFFIX.sub("", id_) for id_ in ids} | {DEFAULT}
    for name, target in aliases.items():
        if normalise(target) not in names:
            message = (
                f"{sources[name]}: alias {name!r} leads to {target!r}, which is no model; write an id or {DEFAULT!r}"
            )
            raise CatalogueError(message)


def _convert(where: str, data: object, type_: type[_T]) -> _T:
    try:
        return msgspec.convert(data, type_)
    except msgspec.ValidationError as exc:
        columns = ", ".join(field.name for field in msgspec.structs.fields(type_))
        message = f"{where}: {exc}; its columns are {columns}"
        raise CatalogueError(message) from exc
