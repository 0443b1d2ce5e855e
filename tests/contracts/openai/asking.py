"""Every kind of answer that the gateway gives, asked once of the real programs for all contracts that judge them."""

import io
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
import orjson
from PIL import Image

from tests.contracts.openai.running import ADMIN_KEY, KEY, running

GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"
VARIATIONS: Final = "/v1/images/variations"
PLAN: Final = "/v1/images/plan"
LATER: Final = "/v1/images/generations/async"
JOB: Final = "/v1/images/jobs/{id}"
MODELS: Final = "/v1/models"
MODEL: Final = "/v1/models/{id}"
MEDIA: Final = "/v1/media/{name}"
ADMIN: Final = "/admin/v1"
OPEN: Final = ("/livez", "/readyz", "/metrics", "/openapi.json", "/")
_GETS: Final = {MODELS: MODELS, MODEL: "/v1/models/dall-e-3", **{path: path for path in OPEN}}
_POSTS: Final = (GENERATIONS, EDITS, VARIATIONS, PLAN, LATER)
NO_KEY: Final = {"authorization": ""}
_TOO_MANY: Final = [(f"x-{number}", "") for number in range(101)]
_FAST: Final = "dall-e-2-t2i"

Json = dict[str, Any]


@dataclass(frozen=True)
class Exchange:
    """One request and its answer; `path` as the document writes it, empty where it has no such path."""

    name: str
    method: str
    path: str
    asked: Json | None
    expected: int
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def media_type(self) -> str:
        """The type of the answer's body, without parameters; empty where there is none."""
        return self.headers.get("content-type", "").partition(";")[0]

    @property
    def body(self) -> Any:  # noqa: ANN401 - whatever came
        """The body, of JSON."""
        return orjson.loads(self.content)

    @property
    def events(self) -> list[tuple[str, Json]]:
        """The name and data of each server-sent event."""
        assert self.content.endswith(b"\n\n"), self.name
        blocks = [block for block in self.content.decode().split("\n\n") if block and not block.startswith(":")]
        named = [block.split("\n") for block in blocks]
        return [(name.removeprefix("event: "), orjson.loads(data.removeprefix("data: "))) for name, data in named]


@dataclass(frozen=True)
class Asker:
    """Asks a gateway, and writes down what it was told."""

    client: httpx.Client
    seen: list[Exchange]

    def ask(self, name: str, path: str, body: Json | None = None, **more: Any) -> Exchange:  # noqa: ANN401 - httpx's
        """Send a POST with a JSON body, or as `more` tells httpx; it may tell `url`, `method`, `expect` too."""
        method, url, expected = more.pop("method", "POST"), more.pop("url", path), more.pop("expect", 200)
        answer = self.client.request(method, url, json=body, **more)
        headers = dict(answer.headers)
        exchange = Exchange(name, method, path, body, expected, answer.status_code, headers, answer.content)
        self.seen.append(exchange)
        return exchange

    def get(self, name: str, path: str, **more: Any) -> Exchange:  # noqa: ANN401 - httpx's
        """The same with GET."""
        return self.ask(name, path, method=more.pop("method", "GET"), **more)

    def draw(self, name: str, *, expect: int = 200, **fields: object) -> Exchange:
        """Ask for a generation, of a prompt that no other has unless it is said."""
        return self.ask(name, GENERATIONS, {"model": _FAST, "prompt": name, **fields}, expect=expect)

    def upload(self, name: str, path: str, *parts: str, expect: int = 200, **fields: str) -> Exchange:
        """Send a form with a picture in each of the parts, by default in `image`."""
        files = [(part, ("upload", picture(name), "application/octet-stream")) for part in parts or ("image",)]
        return self.ask(name, path, files=files, data=fields, expect=expect)


@cache
def exchanges() -> tuple[Exchange, ...]:
    """All answers; asked when they are first wanted."""
    with TemporaryDirectory() as folder, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there: whoever connects is refused
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
        gateways = {
            "plain": {"upstream_timeout": "3", "max_body": "65536", "max_form": "65536"},
            "governed": {"admin_key": ADMIN_KEY},
            "calling": {"webhook_hosts": "hooks.example", "webhook_secret": f"whsec_{'MfKQ9r8GKYqr' * 4}"},
            "keeping": {"media": "local", "response_format_default": "both", "keepalive_after": "0.7"},
            "busy": {},
            "alone": {"upstream_url": f"http://{nobody}", "redis_url": f"redis://{nobody}"},
        }
        with running(Path(folder), gateways) as urls, ThreadPoolExecutor() as pool:
            plain, keeping, busy, alone = (urls[name] for name in ("plain", "keeping", "busy", "alone"))
            several: list[tuple[str, Callable[[Asker], None]]] = [
                *((plain, ask) for ask in (_generations, _edits, _models, _slow, _refused, _failed, _not_served)),
                *((keeping, ask) for ask in (_kept, _kept_alive)),
                (urls["calling"], _later),
                (busy, _busy),
                (alone, _alone),
                (urls["governed"], _governed),
            ]
            answers = pool.map(lambda one: _asked(*one), several)
            return tuple(exchange for some in answers for exchange in some)


def picture(name: str) -> bytes:
    """A PNG that is another one for each name."""
    file = io.BytesIO()
    colour = int.from_bytes(name.encode()[-3:], "big")
    Image.new("RGB", (64, 48), (colour >> 16, colour >> 8 & 255, colour & 255)).save(file, "PNG")
    return file.getvalue()


def _asked(url: str, ask: Callable[[Asker], None]) -> Iterator[Exchange]:
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {KEY}"}, timeout=60, trust_env=False) as client:
        asker = Asker(client, [])
        ask(asker)
    return iter(asker.seen)


def _generations(asker: Asker) -> None:
    asker.draw("url")
    asker.draw("a hit", prompt="url")
    asker.draw("base64", response_format="b64_json")
    asker.draw("three", n=3)
    asker.draw("two in base64", n=2, response_format="b64_json")
    asker.draw("no model, nulls", model=None, n=None, size=None, quality=None, stream=None, response_format=None)
    asker.draw("gpt-image", model="gpt-image-1", quality="high", background="transparent", output_format="png")
    asker.draw("gpt-image by url", model="gpt-image-1", response_format="url")
    asker.draw("OpenAI's size", model="recraft-v3-t2i", size="1024x1536", response_format="b64_json")
    asker.draw("adjusted", model="stable-sd3-t2i", size="1792x1024", style="vivid", user="u")
    asker.draw("302's words", model="luma-t2i", aspect_ratio="16:9", seed=7, negative_prompt="rain")
    asker.draw("Cherry Studio's words", image_size="1024x1024", batch_size=1)
    body = {"model": _FAST, "prompt": "headers"}
    asker.ask("no-cache", GENERATIONS, body, headers={"cache-control": "no-cache"})
    asker.ask("no-store", GENERATIONS, body, headers={"cache-control": "no-store"})
    asker.ask("nearest", GENERATIONS, body | {"size": "700x900"}, headers={"x-gateway-coercion": "nearest"})
    asker.ask("without /v1", GENERATIONS, body, url="/images/generations/")
    azure = {"api-key": KEY, "authorization": ""}
    url = "/openai/deployments/dall-e-2/images/generations?api-version=1"
    asker.ask("Azure", GENERATIONS, {"prompt": "azure"}, url=url, headers=azure)
    asker.draw("streamed", stream=True, n=2)
    asker.draw("streamed, adjusted", stream=True, model="gpt-image-1", size="1536x1024", partial_images=2)
    asker.draw("streamed, failed", prompt="[[fail:balance]]", stream=True)
    asker.ask("plan", PLAN, {"prompt": "a plan", "model": "stable-sd3", "n": 2, "size": "16:9", "quality": "hd"})
    asker.ask(
        "plan of all", PLAN, {"prompt": "x", "model": "recraft-v3", "size": "9x9", "seed": 1, "output_format": "png"}
    )
    asker.ask("plan of a size", PLAN, {"prompt": "url", "model": _FAST, "size": "512x512"})


def _edits(asker: Asker) -> None:
    asker.upload("edit", EDITS, prompt="snow", model="302ai-kolors-i2i")
    asker.upload("edit of a list", EDITS, "image[]", prompt="snow", model="gpt-image-1", n="2", size="auto")
    asker.upload("edit by url", EDITS, prompt="snow", response_format="url", stream="false")
    asker.upload("edit, streamed", EDITS, prompt="snow", stream="true", n="2")
    asker.upload("edit, streamed, failed", EDITS, prompt="[[fail:nsfw]]", stream="true")
    reference = {"image_url": "https://example.com/a.png"}
    asker.ask("edit of an address", EDITS, {"prompt": "snow", "images": [reference]})
    asker.ask("edit, masked", EDITS, {"prompt": "snow", "images": [reference], "mask": reference, "model": None})
    asker.ask("edit in 302's words", EDITS, {"prompt": "rain", "image": reference["image_url"], "model": "gpt-image-1"})
    asker.upload("variation", VARIATIONS, model="dall-e-2", n="2", size="256x256")
    asker.upload("variation in base64", VARIATIONS, response_format="b64_json")
    asker.upload("variation, streamed", VARIATIONS, stream="true")
    asker.upload("edit without prompt", EDITS, expect=400)
    asker.upload("edit of two", EDITS, "image[]", "image[]", prompt="snow", expect=400)
    asker.ask("edit of nothing", EDITS, {"prompt": "snow"}, expect=400)
    asker.ask("edit of a file", EDITS, {"prompt": "snow", "images": [{"file_id": "file-1"}]}, expect=400)
    asker.ask("edit of no picture", EDITS, files={"image": b"text"}, data={"prompt": "snow"}, expect=400)
    asker.ask("variation of nothing", VARIATIONS, files={"other": b""}, expect=400)
    asker.ask("variation in JSON", VARIATIONS, {"image": reference["image_url"], "prompt": "x"}, expect=415)
    asker.ask("edit in plain text", EDITS, content=b"x", headers={"content-type": "text/plain"}, expect=415)
    asker.ask("edit too large", EDITS, files={"image": bytes(65537)}, data={"prompt": "snow"}, expect=413)
    asker.ask("edit without a key", EDITS, {}, headers=NO_KEY, expect=401)


def _later(asker: Asker) -> None:
    prefer = {"prefer": "respond-async"}
    taken = asker.ask("later", LATER, {"model": _FAST, "prompt": "[[delay:0.5]] later", "n": 2}, expect=202)
    url = taken.headers["location"]
    asker.get("not done", JOB, url=url)
    _wait(asker, url)
    asker.get("done", JOB, url=url)
    asker.get("done, head", JOB, url=url, method="HEAD")
    asker.get("OPTIONS of a job", "", url=url, method="OPTIONS", expect=204)
    adjusted = {"model": "gpt-image-1", "prompt": "later, in base64", "size": "1536x1024"}
    taken = asker.ask("preferred", GENERATIONS, adjusted, headers=prefer, expect=202)
    _wait(asker, taken.headers["location"])
    asker.get("done in base64", JOB, url=taken.headers["location"])
    asker.ask("done at once", LATER, adjusted, headers=prefer, expect=202)
    edit = {"prompt": "later", "images": [{"image_url": "https://example.com/a.png"}]}
    asker.ask("edit later", EDITS, edit, headers=prefer, expect=202)
    failing = {"model": _FAST, "prompt": "[[fail:nsfw]] later", "webhook": None}
    taken = asker.ask("fails later", LATER, failing, expect=202)
    _wait(asker, taken.headers["location"])
    asker.get("failed", JOB, url=taken.headers["location"])
    hook = {"model": _FAST, "prompt": "hook", "webhook": "https://elsewhere.example/"}
    asker.ask("webhook elsewhere", LATER, hook, expect=400)
    asker.ask("stream later", LATER, {"prompt": "x", "stream": True}, expect=400)
    asker.ask("later without a key", LATER, {}, headers=NO_KEY, expect=401)
    asker.ask("later, unknown model", LATER, {"prompt": "x", "model": "no-such-model"}, expect=404)
    asker.get("no such job", JOB, url="/v1/images/jobs/x", expect=404)
    asker.get("job without a key", JOB, url=url, headers=NO_KEY, expect=401)


def _wait(asker: Asker, url: str) -> None:
    while (answer := asker.client.get(url)).json()["status"] != "done":
        time.sleep(0.02)
    answer.raise_for_status()


def _models(asker: Asker) -> None:
    for path, url in _GETS.items():
        asker.get(url, path, url=url)
        asker.get(f"HEAD {url}", path, url=url, method="HEAD")
        asker.get(f"{url} with 101 headers", path, url=url, headers=_TOO_MANY, expect=400)
    for url in (*_GETS.values(), *_POSTS):
        asker.get(f"OPTIONS {url}", "", url=url, method="OPTIONS", expect=204)
    asker.get("model by another name", MODEL, url="/openai/models/Stable_SD3?api-version=1")
    asker.get("no such model", MODEL, url="/v1/models/some/body:else", expect=404)
    asker.get("models without a key", MODELS, headers=NO_KEY, expect=401)
    wrong = {"authorization": "Bearer no"}
    asker.get("model with a wrong key", MODEL, url="/v1/models/dall-e-3", headers=wrong, expect=401)


def _slow(asker: Asker) -> None:
    body = {"model": _FAST, "prompt": "[[delay:0.9]] still running"}
    asker.ask("still running", GENERATIONS, body, headers={"x-stainless-read-timeout": "0.5"}, expect=504)
    asker.ask("joined", GENERATIONS, body)
    asker.draw("302 hangs", prompt="[[fail:hang]]", expect=504)


def _refused(asker: Asker) -> None:
    said = {"prompt": "x", "model": _FAST}
    in_json, in_text = {"content-type": "application/json"}, {"content-type": "text/plain"}
    asker.ask("no key", GENERATIONS, said, headers=NO_KEY, expect=401)
    asker.ask("no JSON", GENERATIONS, content=b"{", headers=in_json, expect=400)
    asker.ask("no object", GENERATIONS, content=b"[]", headers=in_json, expect=400)
    asker.ask("plain text", GENERATIONS, content=b"x", headers=in_text, expect=415)
    asker.ask("too large", GENERATIONS, content=bytes(65537), headers=in_json, expect=413)
    asker.ask("101 headers", GENERATIONS, said, headers=_TOO_MANY, expect=400)
    asker.ask("no such policy", GENERATIONS, said, headers={"x-gateway-coercion": "rough"}, expect=400)
    asker.ask("strict", GENERATIONS, said | {"size": "1x2"}, headers={"x-gateway-coercion": "strict"}, expect=400)
    asker.draw("no prompt", prompt=None, expect=400)
    asker.draw("n of 11", n=11, expect=400)
    asker.draw("prompt is an object", prompt={"text": "x"}, expect=400)
    asker.draw("model unknown", model="no-such-model", expect=404)
    asker.draw("image required", model="stable-sd3-i2i", expect=400)
    asker.draw("image broken", model="stable-sd3-i2i", image="!!!", expect=400)
    asker.draw("image not taken", image="https://example.com/a.png", expect=400)
    asker.draw("refused before it streams", stream=True, n=0, expect=400)
    asker.ask("plan without a key", PLAN, said, headers=NO_KEY, expect=401)
    asker.ask("plan unknown", PLAN, said | {"model": "no-such-model"}, expect=404)
    asker.ask("plan without prompt", PLAN, {}, expect=400)


def _failed(asker: Asker) -> None:
    for failure, expected in (
        ("bad-request", 400),
        ("nsfw", 400),
        ("network", 502),
        ("unauthorized", 503),
        ("balance", 503),
        ("no-channel", 503),
    ):
        asker.draw(f"302: {failure}", prompt=f"[[fail:{failure}]]", expect=expected)


def _not_served(asker: Asker) -> None:
    asker.get("unknown URL", "", url="/v2/images/generations", expect=404)
    asker.get("wrong method", "", url=GENERATIONS, expect=405)
    asker.get("no media store", "", url="/v1/media/x.png", expect=404)
    asker.get("deletion", "", url="/v1/models/dall-e-3", method="DELETE", expect=405)


def _kept(asker: Asker) -> None:
    drawn = asker.draw("both", n=2)
    asker.draw("both of gpt-image", model="gpt-image-1", response_format="url")
    url = drawn.body["data"][0]["url"]

    def see(name: str, method: str = "GET", expect: int = 200, **headers: str) -> Exchange:
        sent = {header.replace("_", "-"): value for header, value in headers.items()} | NO_KEY
        return asker.get(name, MEDIA, url=url, method=method, headers=sent, expect=expect)

    etag = see("kept").headers["etag"]
    see("kept, head", "HEAD")
    see("kept, in part", expect=206, range="bytes=0-9")
    see("kept, unchanged", expect=304, if_none_match=etag)
    see("kept, unchanged, head", "HEAD", expect=304, if_none_match=etag)
    see("kept, out of range", expect=416, range="bytes=999999999-")
    asker.get("never kept", MEDIA, url=f"/v1/media/{'0' * 32}.png", expect=404)
    asker.get("never kept, head", MEDIA, url=f"/v1/media/{'0' * 32}.png", method="HEAD", expect=404)
    asker.get("OPTIONS of media", "", url=url, method="OPTIONS", expect=204)


def _kept_alive(asker: Asker) -> None:
    asker.draw("kept alive", prompt="[[delay:1]] alive", model="stable-sd3-t2i", size="1792x1024")
    asker.draw("kept alive, failed", prompt="[[delay:1]] [[fail:balance]]")


def _busy(asker: Asker) -> None:
    """On a gateway of its own: what makes 302 busy lets our key rest."""
    asker.draw("302: rate-limited", prompt="[[fail:rate-limited]]", expect=429)


def _alone(asker: Asker) -> None:
    asker.draw("302 unreachable", expect=502)
    asker.get("degraded", "/readyz")


def _governed(asker: Asker) -> None:
    asker.client.headers["authorization"] = f"Bearer {ADMIN_KEY}"
    team, of_team = f"{ADMIN}/teams/{{name}}", f"{ADMIN}/teams/{{name}}/keys"
    key, rotate, revoke = f"{ADMIN}/keys/{{id}}", f"{ADMIN}/keys/{{id}}/rotate", f"{ADMIN}/keys/{{id}}/revoke"
    asker.ask("team", f"{ADMIN}/teams", {"name": "design", "rpm": 60, "budget_day": "5", "expires": None}, expect=201)
    asker.ask("team again", f"{ADMIN}/teams", {"name": "design"}, expect=409)
    asker.ask("team without a name", f"{ADMIN}/teams", {}, expect=400)
    url = f"{ADMIN}/teams/design"
    for name, body, status in (("changed", {"ipm": 9, "models": ["flux-*"]}, 200), ("wrong", {"rpm": 0}, 400)):
        asker.ask(f"team {name}", team, body, method="PATCH", url=url, expect=status)
    made = asker.ask("key", of_team, {"name": "web", "coercion": "strict"}, url=f"{url}/keys", expect=201).body["id"]
    asker.ask("key of nobody", of_team, {"name": "web"}, url=f"{ADMIN}/teams/nobody/keys", expect=404)
    asker.ask("key changed", key, {"rpm": 5}, method="PATCH", url=f"{ADMIN}/keys/{made}")
    asker.ask("key rotated", rotate, {"overlap": 60}, url=f"{ADMIN}/keys/{made}/rotate")
    gets = {
        f"{ADMIN}/teams": f"{ADMIN}/teams?limit=1",
        team: url,
        of_team: f"{url}/keys",
        f"{ADMIN}/keys": f"{ADMIN}/keys",
        key: f"{ADMIN}/keys/{made}",
        f"{ADMIN}/audit": f"{ADMIN}/audit?limit=2",
        f"{ADMIN}/generations": f"{ADMIN}/generations?state=unknown&since=2026-01-01T00:00:00Z",
        f"{ADMIN}/upstream-keys": f"{ADMIN}/upstream-keys",
        f"{ADMIN}/usage": f"{ADMIN}/usage?by=day,team&since=2026-01-01",
    }
    for path, asked in gets.items():
        asker.get(asked, path, url=asked)
        asker.get(f"HEAD {asked}", path, url=asked, method="HEAD")
        asker.get(f"{asked} without a key", path, url=asked, headers=NO_KEY, expect=401)
        asker.get(f"OPTIONS {asked}", "", url=asked, method="OPTIONS", expect=204)
    _settled(asker)
    asker.ask("reload", f"{ADMIN}/reload")
    asker.get("usage as CSV", f"{ADMIN}/usage", url=f"{ADMIN}/usage?format=csv")
    asker.get("usage by nothing", f"{ADMIN}/usage", url=f"{ADMIN}/usage?by=x", expect=400)
    asker.get("audit after nothing", f"{ADMIN}/audit", url=f"{ADMIN}/audit?after=x", expect=400)
    asker.get("no such team", team, url=f"{ADMIN}/teams/nobody", expect=404)
    for method in ("revoke", "DELETE"):
        another = asker.ask(f"for {method}", of_team, {"name": method.lower()}, url=f"{url}/keys", expect=201)
        gone = f"{ADMIN}/keys/{another.body['id']}"
        if method == "DELETE":
            asker.get("key deleted", key, url=gone, method=method)
        else:
            asker.ask("key revoked", revoke, url=f"{gone}/revoke")
            asker.ask("key revoked again", revoke, url=f"{gone}/revoke", expect=409)
    asker.get("team disabled", team, url=url, method="DELETE")
    for path in (f"{url}/rotate", f"{ADMIN}/nothing"):
        asker.get(f"nothing at {path}", "", url=path, expect=404)
    for path in (f"{rotate}", f"{revoke}"):
        asker.ask(f"OPTIONS {path}", "", url=path.replace("{id}", made), method="OPTIONS", expect=204)


def _settled(asker: Asker) -> None:
    """The admin's words on an outcome that 302 left unknown."""
    one, settle = f"{ADMIN}/generations/{{id}}", f"{ADMIN}/generations/{{id}}/settle"
    lost = {"model": _FAST, "prompt": "[[fail:reset]] settled"}
    asker.ask("302: lost", GENERATIONS, lost, headers={"authorization": f"Bearer {KEY}"}, expect=502)
    listed = asker.get("unknown outcomes", f"{ADMIN}/generations", url=f"{ADMIN}/generations?state=unknown")
    url = f"{ADMIN}/generations/{listed.body['data'][0]['id']}"
    asker.get("generation", one, url=url)
    asker.get("HEAD generation", one, url=url, method="HEAD")
    asker.get("no such generation", one, url=f"{ADMIN}/generations/nothing", expect=404)
    for name, body, status in (
        ("without a cost", {}, 400),
        ("for too little", {"cost": 0.0000001}, 400),
        ("", {"cost": 0.04}, 200),
        ("again", {"cost": "0.04"}, 409),
    ):
        asker.ask(f"settled {name}", settle, body, url=f"{url}/settle", expect=status)
    asker.ask("settled nothing", settle, {"cost": 0}, url=f"{ADMIN}/generations/nothing/settle", expect=404)
    for path in (url, f"{url}/settle"):
        asker.ask(f"OPTIONS {path}", "", url=path, method="OPTIONS", expect=204)
