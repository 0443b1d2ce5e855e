"""A strict stand-in for 302.AI's `POST /302/image/generate`, and V2's tasks, which draws real pictures.

It takes what 302's page documents and refuses everything else, keeps an account, and can fail in every way that 302
can: by lot (`Options`), or when a prompt says so (`[[fail:rate-limited]]`, `[[delay:2.5]]`). `GET /_simulator/calls`
tells what it was asked. It knows the catalogue and nothing else of the gateway, so that it can judge it.
"""

from gateway.simulator.app import build
from gateway.simulator.options import Failure, Options

__all__ = ["Failure", "Options", "build"]
