"""The other gateways that the goals name, LiteLLM's proxy and Portkey, of the versions that `make rivals` installs.

Each is one process on the server's CPU, and takes the fake upstream for OpenAI. LiteLLM keeps pictures in its own
memory, the cheapest of its caches; Portkey's free edition keeps none, so that what is a hit for others costs it a call.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from subprocess import Popen

from bench import proc
from bench.fleet import ROOT, BenchError, Fleet, cpus, free_port
from bench.prompts import KEY, PATH, Prompts
from bench.rounds import HIT, MISS, Measuring, ask
from bench.servers import Server

ENVIRONMENT = ROOT / ".venv-rivals" / "bin"
PORTKEY = ROOT / "bench" / "node" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
# LiteLLM asks the network for prices when it starts, unless it is told not to.
LITELLM_SETTINGS = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
# What only LiteLLM's hits hold: no header of theirs tells.
LITELLM_HIT = '"_hidden_params"'
# So long Node compiles what it runs often; ours is given as long.
WARM = 4.0
READY_WITHIN = 90.0

Serving = tuple[Popen[bytes], Server]


def measure_one(measuring: Measuring, server: Server) -> None:
    """Put hits and misses on a server, which has just started."""
    ask(server, Prompts(headers=server.headers))
    for load in (HIT, MISS):
        measuring.run(replace(load, warm=WARM), server)


def measure_others(measuring: Measuring, upstream: Server) -> None:
    """Start the others, one after the other, and measure each."""
    for start in (_litellm, _portkey):
        process, server = start(measuring.fleet, upstream)
        measure_one(measuring, server)
        measuring.fleet.stop(process)


def _litellm(fleet: Fleet, upstream: Server) -> Serving:
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
    server = Server("litellm", port, PATH, 0, ('"url"',), told={"hit": LITELLM_HIT})
    return _serving(fleet, command, server, "/health/liveliness", LITELLM_SETTINGS)


def _portkey(fleet: Fleet, upstream: Server) -> Serving:
    port = free_port()
    headers = ("x-portkey-provider: openai", f"x-portkey-custom-host: http://127.0.0.1:{upstream.port}/v1")
    command = [str(ENVIRONMENT / "node"), str(PORTKEY), f"--port={port}", "--headless"]
    return _serving(fleet, command, Server("portkey", port, PATH, 0, ('"url"',), headers=headers), "/", {})


def _serving(fleet: Fleet, command: Sequence[str], server: Server, path: str, settings: Mapping[str, str]) -> Serving:
    process = fleet.start(command, on=cpus()[0], env=settings)
    fleet.ready(process, server.port, path, READY_WITHIN)
    worker = proc.listener(process.pid, server.port)
    if worker is None:
        raise BenchError(f"no process of {command} listens on port {server.port}")
    return process, replace(server, pid=worker)
