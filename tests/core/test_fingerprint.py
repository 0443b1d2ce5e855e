"""Fingerprints: what is the same picture, and what is not. A picture found under a wrong one is somebody else's."""

import hashlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.catalogue import Catalogue
from gateway.core.coerce import Policy
from gateway.core.request import parse
from gateway.core.translate import Rules, fingerprints, translate

CAT, DOG = "https://example.com/cat.png", "https://example.com/dog.png"
BASE: dict[str, object] = {"model": "flux-pro-1.0-fill", "prompt": "a cat"}

bodies = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(["a cat", "a dog", "a cat "]),
        "model": st.sampled_from(["luma", "LUMA-t2i", "recraft-v3"]),
    },
    optional={
        "n": st.integers(1, 4),
        "size": st.sampled_from(["1024x1024", "512x512", "1:1", "auto", "1792x1024"]),
        "seed": st.none() | st.integers(0, 2),
        "negative_prompt": st.sampled_from(["", "a cat", "dogs"]),
        "output_format": st.sampled_from(["png", "webp"]),
        "quality": st.sampled_from(["hd", "low"]),
        "response_format": st.sampled_from(["url", "b64_json"]),
    },
)
scopes = st.sampled_from(["gateway", "team:a", "team:b", ""])


def prints(catalogue: Catalogue, body: dict[str, object], scope: str = "gateway") -> list[str]:
    planned = translate(parse(orjson.dumps(body)), catalogue, Policy.DOCUMENTED, scope, Rules())
    return [payload.fingerprint for payload in planned.payloads]


def test_a_fingerprint_is_of_schema_scope_payload_and_slot(catalogue: Catalogue) -> None:
    body = b'{"model":"dall-e-3-t2i","prompt":"a cat"}'
    parts = b"1:1" + b"6:team:a" + b"41:" + body

    assert prints(catalogue, {"prompt": "a cat", "n": 2}, "team:a") == [
        hashlib.sha256(parts + b"0").hexdigest(),
        hashlib.sha256(parts + b"1").hexdigest(),
    ]


def test_four_pictures_after_one_buy_three(catalogue: Catalogue) -> None:
    one, four = prints(catalogue, BASE | {"n": 1}), prints(catalogue, BASE | {"n": 4})

    assert four[:1] == one
    assert len(set(four)) == 4


@pytest.mark.parametrize(
    "field",
    [
        {"prompt": "a cat."},
        {"prompt": "A cat"},
        {"model": "flux-pro-1.0-canny"},
        {"model": "flux-pro-1.0-fill-finetuned"},
        {"size": "512x512"},
        {"aspect_ratio": "1:1"},
        {"image": CAT},
        {"image": DOG},
        {"mask_image": CAT},
        {"negative_prompt": "a cat"},
        {"output_format": "png"},
        {"seed": 0},
        {"seed": 1},
    ],
    ids=str,
)
def test_every_field_that_is_sent_makes_another_picture(catalogue: Catalogue, field: dict[str, object]) -> None:
    assert prints(catalogue, BASE) != prints(catalogue, BASE | field)


@pytest.mark.parametrize(
    "field",
    [
        {"model": "FLUX_PRO-1.0_fill-t2i"},
        {"size": "auto", "seed": None, "image": "", "width": 0, "height": 0},
        {"response_format": "b64_json"},
        {"quality": "hd", "style": "vivid"},
        {"user": "me", "metadata": {"a": 1}},
    ],
    ids=str,
)
def test_nothing_else_does(catalogue: Catalogue, field: dict[str, object]) -> None:
    assert prints(catalogue, BASE) == prints(catalogue, BASE | field)


def test_what_becomes_the_same_call_is_the_same_picture(catalogue: Catalogue) -> None:
    asked: list[dict[str, object]] = [
        {"model": "luma", "size": "1792x1024", "prompt": "a cat"},
        {"prompt": "a cat", "model": "luma-t2i", "aspect_ratio": "16:9"},
        {"prompt": "a cat", "model": "Luma", "width": 1600, "height": 900},
    ]

    assert len({tuple(prints(catalogue, body)) for body in asked}) == 1


@given(one=bodies, other=bodies, scope=scopes, another=scopes)
def test_a_picture_is_shared_exactly_by_equal_payloads_of_one_scope_and_slot(
    catalogue: Catalogue, one: dict[str, object], other: dict[str, object], scope: str, another: str
) -> None:
    def keys(body: dict[str, object], scope: str) -> list[tuple[str, bytes, int]]:
        planned = translate(parse(orjson.dumps(body)), catalogue, Policy.DOCUMENTED, scope, Rules())
        return [(scope, payload.body, slot) for slot, payload in enumerate(planned.payloads)]

    known = dict(zip(prints(catalogue, one, scope), keys(one, scope), strict=True))
    shared = {print_ for print_ in prints(catalogue, other, another) if print_ in known}

    assert {known[print_] for print_ in shared} == set(keys(one, scope)) & set(keys(other, another))


@given(
    one=st.tuples(st.binary(max_size=8), st.text(max_size=4)),
    other=st.tuples(st.binary(max_size=8), st.text(max_size=4)),
)
def test_scope_and_payload_never_run_into_each_other(one: tuple[bytes, str], other: tuple[bytes, str]) -> None:
    overlap = set(fingerprints(*one, 12)) & set(fingerprints(*other, 12))

    assert len(overlap) == (12 if one == other else 0)
