"""SIGHUP means two things: somebody wants a reload, or the terminal we were started from is gone."""

import os


def has_terminal() -> bool:
    """Whether there is a terminal whose going would be told by SIGHUP."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
