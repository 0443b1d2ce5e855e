"""302.AI: our keys (`pool`), the paid call (`sending`), tasks (`tasks`), money (`account`).

Its HTTP: one exchange (`wire`) through httpx's seam with `messages` of httpx's kind, and what stands under it:
connections that are kept (`transport`), how they are opened (`dialling`), and what goes on on one (`connection`).
"""

from gateway.adapters.upstream.account import Account
from gateway.adapters.upstream.pool import KeyPool, KeyStatus
from gateway.adapters.upstream.sending import Upstream302, UpstreamOptions
from gateway.adapters.upstream.tasks import Polling
from gateway.adapters.upstream.transport import KeptTransport
from gateway.adapters.upstream.wire import Wire

__all__ = ["Account", "KeptTransport", "KeyPool", "KeyStatus", "Polling", "Upstream302", "UpstreamOptions", "Wire"]
