"""What all tests share."""

from pathlib import Path

import pytest
from hypothesis import settings

from gateway.core.catalogue import Catalogue, load

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
