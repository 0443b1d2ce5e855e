"""The benchmarks: the gateway beside a bare Starlette server and nginx, in one run. Start with `python -m bench`."""
