"""No prompt, key or URL of anybody in the log or a label, whatever goes wrong with it."""

import base64
from pathlib import Path

import orjson

from tests.acceptance.pictures import DATA_URI, png
from tests.acceptance.programs import Simulator, unique
from tests.web.served import KEY, PATH, served, settings_for

CANARY = "canary7f3a"
FAILURES = ("echo-key", "reset", "nsfw", "ok-html", "truncated", "unauthorized", "server-error", "bad-request")
BODIES: list[dict[str, object]] = [
    {"prompt": CANARY},
    {"prompt": CANARY, "model": CANARY},
    {"prompt": CANARY, "model": f"dall-e-3-{CANARY}"},
    {"prompt": CANARY, "size": CANARY},
    {"prompt": CANARY, "aspect_ratio": CANARY},
    {"prompt": CANARY, "width": CANARY, "height": CANARY},
    {"prompt": CANARY, "n": CANARY},
    {"prompt": CANARY, "seed": CANARY},
    {"prompt": CANARY, "response_format": CANARY},
    {"prompt": CANARY, "quality": CANARY, "style": f"https://{CANARY}.example/"},
    {"prompt": CANARY, "user": CANARY, "safety_identifier": CANARY},
    {"prompt": CANARY, "model": "flux-dev", "negative_prompt": CANARY, "output_format": CANARY},
    {"prompt": CANARY, "model": "stable-sd3-i2i", "image": f"https://{CANARY}.example/{CANARY}.png"},
    {"prompt": CANARY, "model": "stable-sd3-i2i", "image": CANARY},
    {"prompt": CANARY, "model": "stable-sd3-i2i", "image": DATA_URI, "mask_image": f"ftp://{CANARY}"},
    {"prompt": CANARY, CANARY: CANARY},
    {"prompt": [CANARY]},
    {"prompt": f"{CANARY}\ud83d"},
    *({"prompt": f"[[fail:{failure}]] {CANARY}", "n": 2} for failure in FAILURES),
]


def test_nothing_that_callers_say_is_logged_or_counted(simulator: Simulator, redis_url: str, tmp_path: Path) -> None:
    log_file = tmp_path / "lines"
    headers = {"user-agent": CANARY, "cookie": CANARY, "referer": f"https://{CANARY}/", "x-request-id": CANARY}
    with served(settings_for(simulator.url, redis_url), log_file) as web:
        for body in BODIES:
            data = orjson.dumps({**body, "prompt": "x"}) if "\ud83d" in str(body["prompt"]) else orjson.dumps(body)
            for path in (PATH, "/v1/images/plan"):
                web.client.post(path, content=data, headers=headers)
        for content in (CANARY.encode(), f'{{"{CANARY}'.encode(), b'{"prompt": "' + CANARY.encode() + b"\xff"):
            web.client.post(PATH, content=content, headers=headers)
        web.client.post(PATH, json={"prompt": CANARY}, headers={"content-type": f"text/{CANARY}"})
        web.client.post(PATH, json={"prompt": CANARY}, headers={"x-gateway-coercion": CANARY})
        web.client.post(PATH, json={"prompt": CANARY}, headers={"cache-control": CANARY})
        for header in ({"authorization": f"Bearer {CANARY}"}, {"authorization": CANARY}, {"api-key": CANARY}):
            web.client.get("/v1/models", headers=header)
        for path in (f"/{CANARY}", f"/v1/models/{CANARY}", f"/v1/models?key={CANARY}", f"{PATH}?api-key={CANARY}"):
            web.client.get(path, headers=headers)
        web.client.request(CANARY.upper(), "/")
        counted = web.client.get("/metrics").text.lower()
    logged = log_file.read_text().lower()

    assert logged.count('"event":"request"') > 60
    for text in (logged, counted):
        assert CANARY not in text
        assert "://" not in text
        assert KEY not in text
        assert "sk-" not in text


def test_302s_words_about_our_key_reach_nobody(simulator: Simulator, redis_url: str, tmp_path: Path) -> None:
    with served(settings_for(simulator.url, redis_url), tmp_path / "lines") as web:
        answer = web.ask(prompt=unique("[[fail:echo-key]]"))

    assert answer.status_code == 502
    assert "canary-upstream" not in answer.text
    assert "canary-upstream" not in web.log_file.read_text()


def test_one_request_is_one_line_that_tells_all_but_the_words(
    simulator: Simulator, redis_url: str, tmp_path: Path
) -> None:
    prompt = unique()
    with served(settings_for(simulator.url, redis_url), tmp_path / "lines") as web:
        miss = web.ask(prompt=prompt, model="stable-sd3", size="1792x1024")
        hit = web.ask(prompt=prompt, model="stable-sd3", size="1792x1024")
        refused = web.ask(prompt="", model="stable-sd3")
        failed = web.ask(prompt=unique("[[fail:network]]"))
    lines = {line["request_id"]: line for line in web.log() if line["event"] == "request"}
    events = [line["event"] for line in web.log()]

    assert (events[0], events[-1]) == ("started", "stopped")
    assert len(lines) == 4
    first = lines[miss.headers["x-request-id"]]
    assert (first["level"], first["status"], first["code"], first["cache"]) == ("info", 200, "ok", "miss")
    assert (first["team"], first["key"], first["model"]) == ("web", "web", "stable-sd3-t2i")
    assert (first["prompt_length"], first["adjusted"]) == (len(prompt), ["size"])
    assert first["upstream_request_ids"] == [simulator.calls(prompt)[0]["request_id"]]
    assert first["ms"] >= 0
    assert lines[hit.headers["x-request-id"]]["cache"] == "hit"
    assert "upstream_request_ids" not in lines[hit.headers["x-request-id"]]
    assert lines[refused.headers["x-request-id"]]["code"] == "missing_parameter"
    last = lines[failed.headers["x-request-id"]]
    assert (last["level"], last["status"], last["code"]) == ("error", 502, "upstream_unknown")
    assert len(last["upstream_request_ids"]) == 1


def test_a_picture_handed_in_is_not_logged(simulator: Simulator, redis_url: str, tmp_path: Path) -> None:
    picture = base64.b64encode(png(64, 64)).decode()
    with served(settings_for(simulator.url, redis_url), tmp_path / "lines") as web:
        web.ask(prompt=unique(), model="stable-sd3-i2i", image=picture)

    assert picture[:64] not in web.log_file.read_text()
