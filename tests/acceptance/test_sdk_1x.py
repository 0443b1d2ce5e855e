"""OpenAI's package in its last 1.x, from the second environment that `make setup` makes."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.pictures import MODELS, decode, download, extra, fits, size_of
from tests.acceptance.programs import KEY, PATIENCE, ROOT, Served, Simulator, environment, unique

PYTHON: Final = os.environ.get("OPENAI1_PYTHON") or str(ROOT / ".venv-openai1" / "bin" / "python")
SCRIPT: Final = Path(__file__).with_name("openai1.py")


def do(gateway: Served, *jobs: dict[str, Any]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [PYTHON, str(SCRIPT)],
        input=json.dumps([{"key": KEY, "call": "generate", **job} for job in jobs]),
        env=environment({"BASE_URL": gateway.v1}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: list[dict[str, Any]] = json.loads(done.stdout)
    return seen


def test_the_second_environment_has_the_last_1x() -> None:
    version = subprocess.run(
        [PYTHON, "-c", "import openai; print(openai.__version__)"], capture_output=True, text=True, check=True
    )

    assert version.stdout.strip() == "1.109.1"


def test_it_draws_with_every_model(gateway: Served, simulator: Simulator) -> None:
    prompt = unique()

    seen = do(
        gateway,
        *(
            {"fields": {"model": model, "prompt": prompt, "size": "1792x1024", "extra_body": extra(model)}}
            for model in MODELS
        ),
    )

    assert [model for model, job in zip(MODELS, seen, strict=True) if not job["answer"]["data"][0]["url"]] == []
    assert [call["model"] for call in simulator.calls(prompt)] == list(MODELS)


@pytest.mark.parametrize("async_", [False, True], ids=["sync", "async"])
def test_both_of_its_clients_get_real_pictures(gateway: Served, async_: bool) -> None:
    fields = {"model": "luma-t2i", "prompt": unique(), "size": "1792x1024"}

    linked, encoded, three, openais = do(
        gateway,
        {"async": async_, "fields": fields},
        {"async": async_, "fields": {**fields, "response_format": "b64_json"}},
        {"async": async_, "fields": {**fields, "n": 3}},
        {"async": async_, "fields": {"model": "gpt-image-1", "prompt": unique()}},
    )

    picture = decode(encoded["answer"]["data"][0]["b64_json"])
    assert picture == download(linked["answer"]["data"][0]["url"])
    assert fits("luma-t2i", size_of(picture))
    assert len({image["url"] for image in three["answer"]["data"]}) == 3
    assert size_of(decode(openais["answer"]["data"][0]["b64_json"])) == (1024, 1024)
    assert openais["answer"]["usage"]["total_tokens"] == 0


def test_it_lists_and_retrieves_models(gateway: Served) -> None:
    listed, one = do(gateway, {"call": "list"}, {"call": "retrieve", "fields": {"model": "luma-t2i"}})

    assert listed["answer"] == list(MODELS)
    assert one["answer"]["id"] == "luma-t2i"


ERRORS: Final[list[tuple[str, dict[str, Any], tuple[str, int, str, str | None]]]] = [
    ("key", {"key": "wrong"}, ("AuthenticationError", 401, "invalid_api_key", None)),
    ("list", {"key": "wrong", "call": "list"}, ("AuthenticationError", 401, "invalid_api_key", None)),
    ("model", {"fields": {"model": "nope"}}, ("NotFoundError", 404, "model_not_found", "model")),
    ("size", {"fields": {"size": "big"}}, ("BadRequestError", 400, "invalid_value", "size")),
    ("n", {"fields": {"n": 11}}, ("BadRequestError", 400, "invalid_value", "n")),
    ("image", {"fields": {"model": "stable-sd3-i2i"}}, ("BadRequestError", 400, "image_required", "image")),
    ("moderation", {"fail": "nsfw"}, ("BadRequestError", 400, "content_policy_violation", None)),
    ("unknown-outcome", {"fail": "reset"}, ("InternalServerError", 502, "upstream_unknown", None)),
    ("balance", {"fail": "balance"}, ("InternalServerError", 503, "upstream_balance", None)),
]


def test_it_raises_its_own_exceptions_and_sends_nothing_twice(gateway: Served, simulator: Simulator) -> None:
    prompts = [unique(f"[[fail:{job['fail']}]]" if "fail" in job else "") for _, job, _ in ERRORS]
    jobs = [
        {**job, "fields": {"prompt": prompt, **job.get("fields", {})} if job.get("call") != "list" else {}}
        for prompt, (_, job, _) in zip(prompts, ERRORS, strict=True)
    ]

    seen = do(gateway, *jobs)

    told = [(error["error"], error["status"], error["code"], error["param"]) for error in seen]
    assert dict(zip([name for name, _, _ in ERRORS], told, strict=True)) == {name: row for name, _, row in ERRORS}
    calls = [len(simulator.calls(prompt)) for prompt in prompts]
    assert calls == [1 if "fail" in job else 0 for _, job, _ in ERRORS]
