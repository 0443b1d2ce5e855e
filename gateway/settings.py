"""The settings: what there is, what it defaults to, and where it is read from.

`GATEWAY_*` variables win over the settings file (`GATEWAY_CONFIG`, else `config/gateway.toml`), which wins over the
defaults here. This
is the only place that reads the environment; a wrong setting stops the start with a sentence that names it.
"""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from gateway.core.declared import DeclaredTeam, read_declared
from gateway.core.keys import parse_static
from gateway.core.limits import LEASE
from gateway.core.lines import place
from gateway.core.secrets import is_signing_secret, weakness

PREFIX: Final = "GATEWAY_"
# How many workers there are, for each of them to know: uvicorn's own name for it, set by the command that starts them.
WORKERS: Final = "WEB_CONCURRENCY"
_PACKAGE: Final = Path(__file__).parent

# Other names under which a variable is understood: those of 302's own tools.
_ALSO: Final = {
    "upstream_keys": ("AI302_API_KEY",),
    "upstream_url": ("GATEWAY_UPSTREAM_BASE_URL", "AI302_BASE_URL"),
}
# May be given as NAME_FILE: the path of a file that holds the value.
SECRETS: Final = frozenset(
    {"keys", "upstream_keys", "redis_url", "cache_redis_url", "database_url", "secret", "admin_key", "webhook_secret"}
)
# How long pictures are kept when we hold their bytes: nobody's address can die under them then.
MEDIA_TTL: Final = 7 * 86_400
_ORIGIN: Final = re.compile(r"https?://[^/?#@\s]+")
_HOST: Final = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?")
_BASE_URL: Final = re.compile(rf"https?://{_HOST.pattern}(/[^\s?#]*)?")
_DATABASE_URL: Final = re.compile(r"sqlite:///[^\s?#]+|postgres(ql)?://\S+")
# Kubernetes sets these for a service that happens to be called gateway.
_OF_KUBERNETES: Final = ("GATEWAY_SERVICE_", "GATEWAY_PORT")

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class SettingsError(Exception):
    """A setting is wrong; the message names it and says what would be right."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every setting with its default. Times are in seconds, sizes in bytes."""

    keys: str = ""
    upstream_url: str = "https://api.302.ai"
    upstream_mode: Literal["sync", "task"] = "sync"
    upstream_keys: tuple[str, ...] = ()
    upstream_timeout: Seconds = 280.0
    upstream_connect_timeout: Seconds = 10.0
    upstream_concurrency: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 2000
    cost_source: Literal["plan", "record"] = "plan"
    image_hosts: tuple[str, ...] = ()
    redis_url: str = ""
    cache_redis_url: str = ""
    cache_ttl: Annotated[int, msgspec.Meta(ge=0, le=31_536_000)] = 3600
    cache_scope: Literal["gateway", "team", "key"] = "gateway"
    unknown_hold: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 60
    worker_lease: Annotated[float, msgspec.Meta(ge=1, le=3600)] = LEASE
    coercion: Literal["documented", "nearest", "strict"] = "documented"
    default_model: str = "dall-e-3-t2i"
    edit_model: str = "302ai-kolors-i2i"
    variation_model: str = "302ai-kolors-i2i"
    variation_prompt: str = "A variation of this picture, of the same subject and in the same style."
    unknown_models: Literal["refuse", "forward"] = "refuse"
    response_format_default: Literal["url", "b64_json", "both"] = "url"
    models: str = ""
    data_dir: str = "data"
    max_body: Annotated[int, msgspec.Meta(ge=1024, le=1_073_741_824)] = 28 * 1024 * 1024
    max_form: Annotated[int, msgspec.Meta(ge=1024, le=1_073_741_824)] = 50 * 1024 * 1024
    answer_timeout: Seconds = 290.0
    drain_delay: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0
    drain_timeout: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 290.0
    keepalive_after: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0
    cors_origins: tuple[str, ...] = ()
    media: str = ""
    media_max_bytes: Annotated[int, msgspec.Meta(ge=1024 * 1024)] = 10 * 1024**3
    media_max_age: Annotated[int, msgspec.Meta(ge=60)] = 7 * 86_400 + 3600
    public_url: str = ""
    trusted_proxies: tuple[str, ...] = ()
    webhook_hosts: tuple[str, ...] = ()
    webhook_secret: str = ""
    database_url: str = ""
    secret: str = ""
    admin_key: str = ""
    teams: str = ""

    def __repr__(self) -> str:
        shown = {name: "<hidden>" if name in SECRETS else getattr(self, name) for name in self.__struct_fields__}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def picture_redis_url(self) -> str:
        """The Redis that keeps the pictures: a second one, where it is given."""
        return self.cache_redis_url or self.redis_url

    @property
    def durable_url(self) -> str:
        """The database of teams, keys and money: an SQLite file in `data_dir` where none is named."""
        return self.database_url or f"sqlite:///{Path(self.data_dir).resolve() / 'gateway.db'}"


def config_file(name: str) -> Path:
    """A file of `config/`: inside the installed package, or beside it in a checkout."""
    installed = _PACKAGE / "config" / name
    return installed if installed.exists() else _PACKAGE.parent / "config" / name


def load(environ: Mapping[str, str], warn: Callable[[str], None]) -> Settings:
    """Read the settings.

    Unknown names in the file are refused. Unknown `GATEWAY_*` variables are only warned of: an orchestrator may set
    some that are none of ours.

    Raises:
        SettingsError: naming the setting.
    """
    values = _from_file(environ.get(f"{PREFIX}CONFIG"))
    for name in Settings.__struct_fields__:
        found = _from_environ(name, environ)
        if found is not None:
            values[name] = found
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    settings = {name: _convert(fields[name], source, value) for name, (source, value) in values.items()}
    if settings.get("media") and "cache_ttl" not in settings:
        settings["cache_ttl"] = MEDIA_TTL
    _warn_of_unknown(environ, warn)
    return _checked(Settings(**settings), {name: source for name, (source, _) in values.items()})


def read_sources(settings: Settings) -> list[tuple[str, str]]:
    """The catalogue's files as (name, text): ours, then the operator's.

    Raises:
        SettingsError: the operator's file cannot be read.
    """
    ours = config_file("models.toml")
    sources = [(str(ours), ours.read_text(encoding="utf-8"))]
    if settings.models:
        sources.append((settings.models, _read(f"{PREFIX}MODELS", settings.models)))
    return sources


def read_teams(settings: Settings) -> dict[str, DeclaredTeam] | None:
    """What the teams file declares; None where there is no such file.

    Raises:
        SettingsError: it cannot be read.
        DeclaredError: it is wrong.
    """
    return read_declared(settings.teams, _read(f"{PREFIX}TEAMS", settings.teams)) if settings.teams else None


def _from_file(path: str | None) -> dict[str, tuple[str, object]]:
    file = Path(path) if path else config_file("gateway.toml")
    if not path and not file.exists():
        return {}
    text = _read(f"{PREFIX}CONFIG", str(file))
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        message = f"{file}: {exc}"
        raise SettingsError(message) from exc
    for name in data:
        if name not in Settings.__struct_fields__:
            where = place(str(file), text, name)
            message = f"{where}: there is no setting {name!r}{_similar(name, Settings.__struct_fields__)}"
            raise SettingsError(message)
    return {name: (f"{place(str(file), text, name)}: {name}", value) for name, value in data.items()}


def _from_environ(name: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    for variable in (PREFIX + name.upper(), *_ALSO.get(name, ())):
        if environ.get(variable):
            return variable, environ[variable]
        if name in SECRETS and (path := environ.get(f"{variable}_FILE")):
            value = _read(f"{variable}_FILE", path).strip()
            if not value:
                raise SettingsError(f"{variable}_FILE: {path} is empty")
            return f"{variable}_FILE", value
    return None


def _read(source: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        message = f"{source}: cannot read {path}: {reason}"
        raise SettingsError(message) from exc


def _convert(field: msgspec.structs.FieldInfo, source: str, value: object) -> Any:  # noqa: ANN401 - of the field's own type
    if isinstance(value, str) and isinstance(field.default, tuple):
        value = [part for part in (part.strip() for part in value.replace("\n", ",").split(",")) if part]
    try:
        return msgspec.convert(value, field.type, strict=False)
    except msgspec.ValidationError as exc:
        message = f"{source} is wrong: {str(exc).replace('`', '')}"
        raise SettingsError(message) from exc


def _checked(settings: Settings, sources: Mapping[str, str]) -> Settings:
    def wrong(name: str, why: str) -> SettingsError:
        return SettingsError(f"{sources.get(name, PREFIX + name.upper())} is wrong: {why}")

    try:
        parse_static(settings.keys)
    except ValueError as exc:
        raise wrong("keys", f"{exc}; write name=secret,name2=secret2") from exc
    if not _BASE_URL.fullmatch(settings.upstream_url):
        raise wrong("upstream_url", "write a base URL like https://api.302.ai")
    if any(not key.isascii() or not key.isprintable() or " " in key for key in settings.upstream_keys):
        raise wrong("upstream_keys", "a key of 302.AI has only printable ASCII and no spaces")
    if not all(_HOST.fullmatch(host) for host in settings.image_hosts):
        raise wrong("image_hosts", "write host or host:port, without scheme or path")
    _check_web(settings, wrong)
    _check_teams(settings, wrong)
    _check_webhooks(settings, wrong)
    if settings.media and settings.media_max_age <= settings.cache_ttl:
        cache_ttl = sources.get("cache_ttl", f"{PREFIX}CACHE_TTL")
        raise wrong("media_max_age", f"pictures must be kept longer than {cache_ttl}, {settings.cache_ttl} seconds")
    if settings.answer_timeout < settings.upstream_timeout:
        upstream = sources.get("upstream_timeout", f"{PREFIX}UPSTREAM_TIMEOUT")
        raise wrong("answer_timeout", f"it must not be less than {upstream}, {settings.upstream_timeout:g} seconds")
    return settings


def _check_teams(settings: Settings, wrong: Callable[[str, str], SettingsError]) -> None:
    if settings.database_url and not _DATABASE_URL.fullmatch(settings.database_url):
        raise wrong("database_url", "write sqlite:///path/of/a/file, or postgresql://user:password@host/database")
    for name in ("secret", "admin_key"):
        value = getattr(settings, name)
        if value and (why := weakness(value)):
            raise wrong(name, f"{why}; make one with: openssl rand -hex 32")
    if settings.admin_key and settings.admin_key in (settings.secret, *parse_static(settings.keys).values()):
        raise wrong("admin_key", "it is used for something else too; make one for this alone")


def _check_webhooks(settings: Settings, wrong: Callable[[str, str], SettingsError]) -> None:
    if not all(_HOST.fullmatch(host) for host in settings.webhook_hosts):
        raise wrong("webhook_hosts", "write host or host:port, without scheme or path")
    if settings.webhook_hosts and not settings.webhook_secret:
        raise wrong("webhook_secret", "it must be set where webhook_hosts is: webhooks are signed with it")
    if settings.webhook_secret and not is_signing_secret(settings.webhook_secret):
        remedy = "echo whsec_$(openssl rand -base64 32)"
        raise wrong("webhook_secret", f"write whsec_ and 24 to 64 bytes in base64; make one with: {remedy}")


def _check_web(settings: Settings, wrong: Callable[[str, str], SettingsError]) -> None:
    if any(not _ORIGIN.fullmatch(place) for place in settings.cors_origins if place != "*"):
        raise wrong("cors_origins", "write origins like https://app.example.com, or * for all")
    if settings.media and settings.media != "local" and not settings.media.startswith("s3://"):
        raise wrong("media", "write local, or a bucket like s3://bucket/prefix")
    if settings.public_url and not _BASE_URL.fullmatch(settings.public_url):
        raise wrong("public_url", "write a base URL like https://images.example.com")
    for network in settings.trusted_proxies:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError as exc:
            raise wrong("trusted_proxies", f"{network} is no address or network like 10.0.0.0/8") from exc


def _warn_of_unknown(environ: Mapping[str, str], warn: Callable[[str], None]) -> None:
    known = {PREFIX + name.upper() for name in Settings.__struct_fields__}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS} | {f"{PREFIX}CONFIG"}
    known |= {name for names in _ALSO.values() for name in names}
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in known and not variable.startswith(_OF_KUBERNETES):
            warn(f"{variable} is no setting of this gateway{_similar(variable, sorted(known))}; it is ignored")


def _similar(name: str, known: tuple[str, ...] | list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else ""
