"""The floor: what uvicorn and Starlette cost when they read a body and answer a constant, with no gateway in between.

It is served as well as uvicorn can serve a Starlette route (httptools, uvloop, no access log), so that a ratio to it
says what the gateway itself adds.
"""

import argparse

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ANSWER = b'{"created":1700000000,"data":[{"url":"http://127.0.0.1/files/2f1c0a/0123456789abcdef0123456789abcdef.png"}]}'


async def generate(request: Request) -> Response:
    """Read the body and answer a constant."""
    await request.body()
    return Response(ANSWER, media_type="application/json")


async def livez(_request: Request) -> Response:
    """Answer the probe."""
    return Response(b"ok")


def main() -> None:
    """Serve on the port that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    routes = [Route("/v1/images/generations", generate, methods=["POST"]), Route("/livez", livez)]
    uvicorn.run(
        Starlette(routes=routes),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
