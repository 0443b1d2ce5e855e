"""What looks odd and is none the less right is drawn: clients differ."""

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from tests.acceptance.programs import KEY, Served, Simulator, unique

PATH = "/v1/images/generations"


@pytest.fixture(scope="module")
def client(gateway: Served) -> Iterator[httpx.Client]:
    with gateway.client() as opened:
        yield opened


def test_200_unknown_fields_pass_by(client: httpx.Client, simulator: Simulator) -> None:
    prompt = unique()
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    unknown = {f"field_{number}": [None, True, -1.5e300, "x", {"a": deep}][number % 5] for number in range(200)}

    answer = client.post(PATH, json={"prompt": prompt, **unknown})

    assert answer.status_code == 200
    assert [call["payload"] for call in simulator.calls(prompt)] == [{"model": "dall-e-3-t2i", "prompt": prompt}]


@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=utf-8", "Application/JSON", "application/x-www-form-urlencoded", "application/ld+json"],
)
def test_json_under_another_name_is_json(client: httpx.Client, content_type: str) -> None:
    answer = client.post(PATH, content=orjson.dumps({"prompt": unique()}), headers={"content-type": content_type})

    assert answer.status_code == 200


def test_json_without_a_content_type_is_json(client: httpx.Client) -> None:
    assert client.post(PATH, content=orjson.dumps({"prompt": unique()})).status_code == 200


PROMPTS = {
    "chinese": "一只可爱的猫",
    "emoji": "👩‍👩‍👧‍👦🦊",
    "right-to-left": "قطة \u202e",
    "control": "a\u0001\u0000b",
    "quotes": '"\\"\n\t</script>',
    "spaces": "  a cat  ",
    "long": "x" * 31_900,
}


@pytest.mark.parametrize("words", PROMPTS.values(), ids=PROMPTS)
def test_a_prompt_arrives_as_it_was_written(client: httpx.Client, simulator: Simulator, words: str) -> None:
    prompt = unique(words)

    answer = client.post(PATH, json={"model": "flux-dev", "prompt": prompt})

    assert answer.status_code == 200
    sent = [call["payload"]["prompt"] for call in simulator.calls()]
    assert prompt in sent or any(text.startswith(prompt[:100]) and "characters" in text for text in sent)


def test_of_a_field_said_twice_the_last_counts(client: httpx.Client, simulator: Simulator) -> None:
    prompt = unique()

    answer = client.post(PATH, content=f'{{"prompt": "x", "n": 5, "n": 1, "prompt": "{prompt}"}}'.encode())

    assert answer.status_code == 200
    assert len(simulator.calls(prompt)) == 1


@pytest.mark.parametrize("header", ["authorization", "api-key"])
def test_both_headers_carry_a_key(gateway: Served, header: str) -> None:
    value = f"bEaReR  {KEY}" if header == "authorization" else KEY

    answer = httpx.get(f"{gateway.v1}/models", headers={header: value}, trust_env=False)

    assert answer.status_code == 200


def test_a_query_is_ignored(client: httpx.Client) -> None:
    assert client.post(f"{PATH}?api-version=2024-02-01", json={"prompt": unique()}).status_code == 200


def test_a_body_in_small_chunks_is_read(client: httpx.Client) -> None:
    body = orjson.dumps({"prompt": unique()})

    assert client.post(PATH, content=(body[i : i + 7] for i in range(0, len(body), 7))).status_code == 200
