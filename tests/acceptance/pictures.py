"""Source pictures, the catalogue's rows as plain data, and what a picture of each shape must measure."""

import io
import tomllib
from base64 import b64decode, b64encode
from typing import Any, Final

import httpx
from PIL import Image

from tests.acceptance.programs import PATIENCE, ROOT

CATALOGUE: Final[dict[str, Any]] = tomllib.loads((ROOT / "config" / "models.toml").read_text("utf-8"))
MODELS: Final[dict[str, dict[str, Any]]] = CATALOGUE["models"]
# What 1792x1024 becomes under the documented policy; pairs of whole numbers are ratios where the shape speaks in them.
_BECOMES: Final = {
    "free": (1792, 1024),
    "doubao": (512, 512),
    "square": (1024, 1024),
    "cogview": (1024, 1024),
    "none": (1024, 1024),
}


def png(width: int = 8, height: int = 8) -> bytes:
    """A small real picture."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


DATA_URI: Final = "data:image/png;base64," + b64encode(png()).decode()


def extra(model: str) -> dict[str, str]:
    """What must be sent beside the prompt: a source picture where the model requires one."""
    return {"image": DATA_URI} if MODELS[model]["image"] == "required" else {}


def fits(model: str, size: tuple[int, int]) -> bool:
    """Whether a picture asked for as 1792x1024 has the geometry that its model's rule says."""
    shape = MODELS[model]["shape"]
    if shape in _BECOMES:
        return size == _BECOMES[shape]
    return size[0] * 9 == size[1] * 16


def size_of(data: bytes) -> tuple[int, int]:
    """The size of a picture that is really a PNG."""
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert picture.format == "PNG"
        return picture.size


def download(url: str) -> bytes:
    """What lies at a picture's URL."""
    answer = httpx.get(url, trust_env=False, timeout=PATIENCE)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    return answer.content


def decode(b64_json: str | None) -> bytes:
    """The bytes of a `b64_json` field."""
    assert b64_json
    return b64decode(b64_json, validate=True)
