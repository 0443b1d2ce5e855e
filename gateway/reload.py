"""Hot reload: settings that may change, catalogue, static keys and teams file, all of them checked before any is used.

What runs goes on with what it began with: the gateway is a value, and another one takes its place.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import msgspec

from gateway.adapters.declared import Declarations
from gateway.core.catalogue import Catalogue, CatalogueError
from gateway.core.declared import DeclaredError, DeclaredTeam
from gateway.core.errors import GatewayError, Kind
from gateway.core.keys import Keyring
from gateway.core.order import Options
from gateway.settings import Settings, SettingsError
from gateway.web.endpoints import Endpoints
from gateway.web.places import WebOptions

RELOADABLE: Final = (
    *("keys", "coercion", "cache_scope", "default_model", "edit_model", "variation_model"),
    *("variation_prompt", "unknown_models", "response_format_default", "models", "max_body", "max_form"),
    *("answer_timeout", "keepalive_after", "public_url", "trusted_proxies", "teams"),
)
"""The settings that take effect without a restart."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """What is made of settings, and may be put in the place of what is used."""

    keyring: Keyring
    catalogue: Catalogue
    options: Options
    web: WebOptions
    teams: dict[str, DeclaredTeam] | None


class _Metrics(Protocol):
    def reloaded(self, *, successful: bool) -> None: ...


class _Lines(Protocol):
    def write(self, level: str, event: str, fields: dict[str, Any]) -> None: ...


@dataclass(slots=True)
class Reloader:
    """Reloads one worker; `supervisor` is the process that tells all others, where there are any."""

    settings: Settings
    endpoints: Endpoints
    declarations: Declarations
    metrics: _Metrics
    lines: _Lines
    read: Callable[[], Settings]
    make: Callable[[Settings], Fresh]
    supervisor: int | None = None

    async def everywhere(self) -> dict[str, Any]:
        """Reload this worker, then have all others of the machine do the same.

        Raises:
            GatewayError: `conflict`, with file and line; nothing has changed.
            DatabaseUnavailableError: nothing has changed.
        """
        told = await self.reload()
        if self.supervisor is not None:
            os.kill(self.supervisor, signal.SIGHUP)
        return told

    async def reload(self) -> dict[str, Any]:
        """Reload this worker. Raises as `everywhere`."""
        try:
            found = await asyncio.to_thread(self.read)
            changed = [name for name in Settings.__struct_fields__ if _differs(name, found, self.settings)]
            taken = {name: getattr(found, name) for name in RELOADABLE}
            settings = msgspec.structs.replace(self.settings, **taken)
            fresh = await asyncio.to_thread(self.make, settings)
            if fresh.teams is not None:
                await self.declarations.apply(fresh.teams)
        except Exception as error:
            self.metrics.reloaded(successful=False)
            self.lines.write("error", "reload_failed", {"reason": str(error) or type(error).__name__})
            if isinstance(error, SettingsError | CatalogueError | DeclaredError):
                raise GatewayError(Kind.CONFLICT, f"Nothing was changed. {error}") from error
            raise
        self._take(settings, fresh)
        told = {"changed": changed, "restart_needed": [name for name in changed if name not in RELOADABLE]}
        self.metrics.reloaded(successful=True)
        self.lines.write("info", "reloaded", told)
        return {"object": "reload", **told}

    def _take(self, settings: Settings, fresh: Fresh) -> None:
        self.settings = settings
        gateway = self.endpoints.gateway
        self.endpoints.gateway = self.endpoints.later.gateway = replace(
            gateway, keyring=fresh.keyring, catalogue=fresh.catalogue, options=fresh.options
        )
        self.endpoints.options = fresh.web


def _differs(name: str, one: Settings, other: Settings) -> bool:
    return bool(getattr(one, name) != getattr(other, name))
