"""What all tests share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from gateway.adapters.database import Database
from gateway.adapters.migrations import upgrade
from gateway.core.catalogue import Catalogue, load
from tests.postgres import Postgres

# How fast the machine is says nothing about a law.
settings.register_profile("gateway", deadline=None)
settings.load_profile("gateway")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def models_toml() -> tuple[str, str]:
    """The real catalogue file, as `load` takes it."""
    path = Path(__file__).parents[1] / "config" / "models.toml"
    return path.name, path.read_text("utf-8")


@pytest.fixture(scope="session")
def catalogue(models_toml: tuple[str, str]) -> Catalogue:
    """The real catalogue."""
    return load([models_toml], "dall-e-3-t2i")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL."""
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """A database of it with all tables, to make others like it."""
    name = postgres.create()
    upgrade(postgres.url(name))
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/gateway.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(server.create())


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with all tables, of each kind in turn."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/gateway.db"
        upgrade(url)
        return url
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(server.create(request.getfixturevalue("migrated")))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The durable store, on each kind of database in turn; a failure of it is one of the test."""
    opened = Database(database_url, lambda: None)
    yield opened
    await opened.aclose()
