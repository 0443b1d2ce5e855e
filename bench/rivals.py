"""The other gateways that the goals name, LiteLLM's proxy and Portkey, of the versions that `make rivals` installs.

Each is one process on the CPU under test, and takes the fake upstream for OpenAI. The gateway's Valkey runs on the
other CPUs; LiteLLM keeps pictures in its own memory. Portkey's package has no cache, so that what is a hit for the
others is a call for it.
"""

import json
from dataclasses import replace
from subprocess import Popen

from bench.fleet import ROOT, BenchError, Fleet, cpus, free_port
from bench.prompts import KEY, PATH, Prompts
from bench.rounds import HIT, MISS, Measuring, ask
from bench.servers import Server

ENVIRONMENT = ROOT / ".venv-rivals" / "bin"
PORTKEY = ROOT / "bench" / "node" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
# LiteLLM asks the network for prices when it starts, unless it is told not to.
LITELLM_SETTINGS = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
# What only the hits of LiteLLM 1.108 hold: their headers do not tell.
LITELLM_HIT = '"_hidden_params"'
# Seconds of load before the window, the same for all: V8 compiles what has run that long.
WARM = 4.0
READY_WITHIN = 90.0  # seconds; LiteLLM's start takes about ten


def check() -> None:
    """Raise BenchError where they are not installed."""
    if not (ENVIRONMENT.exists() and PORTKEY.exists()):
        raise BenchError("LiteLLM and Portkey are not installed: run `make rivals`")


def measure_server(measuring: Measuring, server: Server) -> None:
    """Put hits and misses on a server, which has just started."""
    ask(server, Prompts(headers=server.headers))
    for load in (HIT, MISS):
        measuring.run(replace(load, warm=WARM), server)


def measure_rivals(measuring: Measuring, upstream: Server) -> None:
    """Start one after the other, and measure each."""
    for start in (_litellm, _portkey):
        process, server = start(measuring.fleet, upstream)
        measure_server(measuring, server)
        measuring.fleet.stop(process)


def _litellm(fleet: Fleet, upstream: Server) -> tuple[Popen[bytes], Server]:
    port, config = free_port(), fleet.folder / "litellm.json"
    to = {"model": "openai/dall-e-3", "api_base": f"http://127.0.0.1:{upstream.port}/v1", "api_key": "sk-bench"}
    calls = ["image_generation", "aimage_generation"]
    settings = {
        "model_list": [{"model_name": "dall-e-3", "litellm_params": to}],
        "litellm_settings": {"cache": True, "cache_params": {"type": "local", "supported_call_types": calls}},
        "general_settings": {"master_key": KEY},
    }
    config.write_text(json.dumps(settings))  # JSON is YAML
    command = [str(ENVIRONMENT / "litellm"), "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    process = fleet.start(command, on=cpus()[0], env=LITELLM_SETTINGS)
    fleet.ready(process, port, "/health/liveness", READY_WITHIN)
    pid = fleet.listener(process, port)
    return process, Server("litellm", port, PATH, pid, ('"url"',), cache_marks={"hit": LITELLM_HIT})


def _portkey(fleet: Fleet, upstream: Server) -> tuple[Popen[bytes], Server]:
    port = free_port()
    headers = ("x-portkey-provider: openai", f"x-portkey-custom-host: http://127.0.0.1:{upstream.port}/v1")
    process = fleet.start([str(ENVIRONMENT / "node"), str(PORTKEY), f"--port={port}", "--headless"], on=cpus()[0])
    fleet.ready(process, port, "/", READY_WITHIN)
    return process, Server("portkey", port, PATH, fleet.listener(process, port), ('"url"',), headers=headers)
