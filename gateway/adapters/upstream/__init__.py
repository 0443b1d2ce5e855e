"""302.AI: our keys (`pool`), its HTTP (`wire`), the paid call (`sending`), tasks (`tasks`), money (`account`)."""

from gateway.adapters.upstream.account import Account
from gateway.adapters.upstream.pool import KeyPool, KeyStatus
from gateway.adapters.upstream.sending import Upstream302, UpstreamOptions
from gateway.adapters.upstream.tasks import Polling
from gateway.adapters.upstream.wire import Wire

__all__ = ["Account", "KeyPool", "KeyStatus", "Polling", "Upstream302", "UpstreamOptions", "Wire"]
