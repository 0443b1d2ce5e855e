"""The laws of coercion, for all 69 models, every policy and whatever a caller says."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.catalogue import Catalogue, Model
from gateway.core.coerce import Coerced, Geometry, Policy, coerce
from gateway.core.errors import GatewayError, Kind
from gateway.core.shapes import Asked, Ratio, Size, parse_geometry
from tests.core.oracle import Fields, accepts, documented, proportion, told
from tests.core.seed import ROWS, RULES, Rule

FORGIVING = (Policy.DOCUMENTED, Policy.NEAREST)

texts = sorted({value for rule in RULES.values() for value in rule.values})
listed = [parsed for text in texts if (parsed := parse_geometry(text))]
numbers = st.integers(1, 99_999) | st.integers(1, 30) | st.integers(200, 2000) | st.sampled_from([255, 256, 768, 769])
sizes = st.builds(Size, numbers, numbers) | st.sampled_from([value for value in listed if isinstance(value, Size)])
ratios = st.builds(Ratio, numbers, numbers) | st.sampled_from([value for value in listed if isinstance(value, Ratio)])
values: st.SearchStrategy[Asked] = sizes | ratios
geometries = st.builds(Geometry, size=st.none() | values, aspect_ratio=st.none() | values, sides=st.none() | sizes)


@given(asked=geometries)
def test_closed_what_is_sent_is_what_the_model_takes(catalogue: Catalogue, asked: Geometry) -> None:
    for model, rule in every(catalogue):
        for policy in FORGIVING:
            assert accepts(rule, coerce(model.shape, asked, policy, model.id).fields), (model.id, policy)


@given(asked=geometries)
def test_identity_what_a_model_takes_is_sent_as_it_is_and_nothing_is_reported(
    catalogue: Catalogue, asked: Geometry
) -> None:
    for model, rule in every(catalogue):
        if asked.size and accepts(rule, fields := written(rule, asked.size)):
            for policy in Policy:
                assert coerce(model.shape, Geometry(size=asked.size), policy, model.id) == Coerced(fields)


@given(asked=geometries)
def test_idempotent_what_was_sent_is_sent_again(catalogue: Catalogue, asked: Geometry) -> None:
    for model, _ in every(catalogue):
        for policy in FORGIVING:
            once = coerce(model.shape, asked, policy, model.id)
            twice = coerce(model.shape, read(once.fields), policy, model.id)

            assert twice == Coerced(once.fields), (model.id, policy)


@given(asked=geometries)
def test_total_a_request_is_refused_by_the_strict_policy_only_and_by_its_field(
    catalogue: Catalogue, asked: Geometry
) -> None:
    names = {"size": asked.size, "aspect_ratio": asked.aspect_ratio, "width": asked.sides}
    said = {name for name, value in names.items() if value}
    for model, rule in every(catalogue):
        for policy in FORGIVING:
            coerce(model.shape, asked, policy, model.id)
        strict = strictly(model, asked)
        if isinstance(strict, GatewayError):
            assert (strict.kind, strict.param in said) == (Kind.INVALID_VALUE, True)
        else:
            assert accepts(rule, strict.fields), model.id


@given(asked=values)
def test_upright_under_nearest_landscape_is_never_sent_as_portrait(catalogue: Catalogue, asked: Asked) -> None:
    for model, _ in every(catalogue):
        for value in told(coerce(model.shape, Geometry(size=asked), Policy.NEAREST, model.id).fields).split():
            assert value == "-" or proportion(str(asked)) * proportion(value) >= 0, (model.id, value)


@given(asked=values)
def test_documented_is_what_the_page_says(catalogue: Catalogue, asked: Asked) -> None:
    for model, rule in every(catalogue):
        fields = coerce(model.shape, Geometry(size=asked), Policy.DOCUMENTED, model.id).fields

        assert told(fields) in documented(rule, str(asked)), model.id


@given(asked=values)
def test_nearest_leaves_no_listed_value_nearer_in_ratio(catalogue: Catalogue, asked: Asked) -> None:
    for model, rule in every(catalogue):
        if rule.kind in {"ratio", "size"}:
            sent = told(coerce(model.shape, Geometry(size=asked), Policy.NEAREST, model.id).fields)
            nearest = min(abs(proportion(value) - proportion(str(asked))) for value in rule.values)

            assert abs(proportion(sent) - proportion(str(asked))) == pytest.approx(nearest, abs=1e-9), (model.id, sent)


@given(asked=values)
def test_strict_refuses_exactly_what_documented_would_have_to_report(catalogue: Catalogue, asked: Asked) -> None:
    for model, _ in every(catalogue):
        forgiven = coerce(model.shape, Geometry(size=asked), Policy.DOCUMENTED, model.id)
        strict = strictly(model, Geometry(size=asked))

        assert isinstance(strict, GatewayError) if forgiven.adjustments else strict == forgiven, model.id


@given(asked=geometries)
def test_what_is_not_reported_did_not_change(catalogue: Catalogue, asked: Geometry) -> None:
    said = [str(value) for value in (asked.size, asked.aspect_ratio, asked.sides) if value]
    for model, _ in every(catalogue):
        for policy in FORGIVING:
            coerced = coerce(model.shape, asked, policy, model.id)
            if not coerced.adjustments:
                sent = told(coerced.fields)
                assert all(value in sent.split() or equal(value, sent) for value in said), (model.id, policy, sent)


@given(asked=values)
def test_an_answer_does_not_depend_on_what_was_asked_before(catalogue: Catalogue, asked: Asked) -> None:
    other = (Ratio if isinstance(asked, Size) else Size)(asked.width, asked.height)
    for model, rule in every(catalogue):
        for value in (other, asked):
            fields = coerce(model.shape, Geometry(size=value), Policy.DOCUMENTED, model.id).fields

            assert told(fields) in documented(rule, str(value)), model.id


def every(catalogue: Catalogue) -> Iterator[tuple[Model, Rule]]:
    assert len(ROWS) == 69
    return ((catalogue.models[row.id], RULES[row.rule]) for row in ROWS)


def strictly(model: Model, asked: Geometry) -> Coerced | GatewayError:
    try:
        return coerce(model.shape, asked, Policy.STRICT, model.id)
    except GatewayError as error:
        return error


def written(rule: Rule, value: Asked) -> Fields:
    """The fields in which a model of this rule is sent a value."""
    if isinstance(value, Ratio):
        return {"aspect_ratio": str(value)}
    fields: Fields = {"width": value.width, "height": value.height}
    return fields | {"size": str(value)} if rule.kind == "size" else fields


def read(fields: Fields) -> Geometry:
    """The question to which these fields are the answer."""
    ratio = parse_geometry(str(fields.get("aspect_ratio")))
    sides = Size(int(fields["width"]), int(fields["height"])) if "width" in fields else None
    return Geometry(aspect_ratio=ratio, sides=sides)


def equal(one: str, other: str) -> bool:
    return other != "-" and " " not in other and proportion(one) == pytest.approx(proportion(other), abs=1e-9)
