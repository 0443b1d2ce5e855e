"""`python -m gateway` is the console script `gateway302`."""

from gateway.cli import main

if __name__ == "__main__":
    main(prog_name="gateway302")
