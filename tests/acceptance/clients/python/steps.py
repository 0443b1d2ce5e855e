"""What all scripts share: they are told by the environment, do one step after the other, and print one JSON object.

Run as modules by interpreters that have another client each, and nothing else of the project.
"""

import asyncio
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

BASE_URL: Final = os.environ["BASE_URL"]
API_KEY: Final = os.environ["API_KEY"]
PICTURE: Final = Path(os.environ["PICTURE"])
RUN: Final = os.environ["RUN"]
# The gateway without the path: what Azure's clients call the endpoint.
ORIGIN: Final = "{0.scheme}://{0.netloc}".format(urlsplit(BASE_URL))

Step = Callable[[], Any]


def prompt(step: str, order: str = "") -> str:
    """The prompt of one step, which no other step of no other run has."""
    return f"{order} {step} {RUN}".strip()


def run(steps: Mapping[str, Step]) -> None:
    """Do the steps in their order, and print what each gave or raised."""
    seen = asyncio.run(_seen(steps))
    sys.stdout.write(json.dumps(seen) + "\n")


async def _seen(steps: Mapping[str, Step]) -> dict[str, Any]:
    """All in one event loop, which asynchronous clients may keep to."""
    seen = {}
    for name, step in steps.items():
        try:
            given = step()
            seen[name] = await given if inspect.isawaitable(given) else given
        except Exception as error:  # noqa: BLE001 - what is raised is what the tests judge
            seen[name] = _raised(error)
    return seen


def _raised(error: Exception) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "message": str(error),
        "status": getattr(error, "status_code", None) or getattr(error, "http_status", None),
        "code": getattr(error, "code", None),
        "param": getattr(error, "param", None),
        "type": getattr(error, "type", None),
        "requestId": getattr(error, "request_id", None),
    }
