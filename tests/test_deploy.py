"""Whoever stops the gateway waits as long as it may take to land what is in flight."""

import re
from pathlib import Path

import yaml

from gateway.settings import Settings

DEPLOY = Path(__file__).parents[1] / "deploy"
# What the last answers and the last commits may take after the drain.
AFTERWARDS = 40
DRAIN = Settings().drain_timeout + Settings().drain_delay + AFTERWARDS


def test_compose_is_as_patient_as_the_gateway() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["gateway"]

    assert int(service["stop_grace_period"].removesuffix("s")) >= DRAIN


def test_the_chart_is_as_patient_as_the_gateway() -> None:
    values = yaml.safe_load((DEPLOY / "helm/gateway302/values.yaml").read_text("utf-8"))
    template = (DEPLOY / "helm/gateway302/templates/statefulset.yaml").read_text("utf-8")

    grace = re.search(
        r"terminationGracePeriodSeconds: \{\{ add \.Values\.drainDelay \.Values\.drainTimeout (\d+) \}\}", template
    )
    assert grace
    assert int(grace[1]) >= AFTERWARDS
    assert values["drainTimeout"] >= Settings().drain_timeout
    for variable, value in (("GATEWAY_DRAIN_DELAY", "drainDelay"), ("GATEWAY_DRAIN_TIMEOUT", "drainTimeout")):
        assert f'name: {variable}, value: "{{{{ .Values.{value} }}}}"' in template
