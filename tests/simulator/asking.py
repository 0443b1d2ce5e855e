"""How the simulator's tests ask it."""

from collections.abc import Callable
from typing import Any

import httpx

Serve = Callable[..., httpx.Client]

MODEL = "dall-e-3-t2i"
PATH = "/302/image/generate"


def ask(client: httpx.Client, prompt: str = "a cat", **fields: object) -> httpx.Response:
    return client.post(PATH, json={"model": MODEL, "prompt": prompt, **fields})


def calls(client: httpx.Client) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = client.get("/_simulator/calls").json()
    return listed


def balance(client: httpx.Client) -> float:
    return float(client.get("/dashboard/balance").json()["data"]["balance"])


def has_code(code: int) -> Callable[[httpx.Response], bool]:
    def check(answer: httpx.Response) -> bool:
        error = answer.json()["error"]
        texts = [error["message"], error["message_cn"], error["message_jp"]]
        return error["err_code"] == code and error["type"] == "api_error" and all(texts)

    return check
