"""When the ledger's writer commits: a commit costs as much CPU as ten jobs that share it, so waiting for more pays.

PostgreSQL knows the same as commit_delay; here it ends as soon as nothing is coming.
"""

import time
from typing import Final

# In seconds.
_MOST: Final = 0.002
_LOOK_EVERY: Final = 0.000_25
# Of one CPU. Below this share the process is idle.
_BUSY: Final = 0.6


def wait_for_more() -> None:
    """Sleep 2 ms, or until the process is idle: what keeps its threads busy may have more to write."""
    now, used = time.monotonic(), time.process_time()
    until = now + _MOST
    while now < until:
        time.sleep(_LOOK_EVERY)  # in the writer's own thread
        before, used_before = now, used
        now, used = time.monotonic(), time.process_time()
        if used - used_before < _BUSY * (now - before):
            return
