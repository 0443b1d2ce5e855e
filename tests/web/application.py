"""The whole application on a world of fakes."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from starlette.applications import Starlette
from starlette.types import ASGIApp

from gateway.web.endpoints import Endpoints
from gateway.web.places import WebOptions
from gateway.web.routes import Site, build
from tests.adapters.calling import NoStore
from tests.world import World

MEGABYTE: Final = 1 << 20


async def well() -> bool:
    return True


@contextlib.asynccontextmanager
async def _lifespan(_app: Starlette) -> AsyncIterator[None]:
    yield


def serving(world: World, keepalive_after: float = 0.0, cors_origins: tuple[str, ...] = ()) -> ASGIApp:
    """The whole application on a world of fakes."""
    options = WebOptions(MEGABYTE, MEGABYTE, keepalive_after)
    endpoints = Endpoints(world.gateway, NoStore(), well, bytes, options, world.later)
    return build(Site(endpoints, world.observer, world.clock, _lifespan, cors_origins))
