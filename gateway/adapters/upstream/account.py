"""What our account at 302 says: the balance behind a key, and what a call really cost. Asking costs nothing."""

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Final

from gateway.adapters.upstream.pool import KeyPool
from gateway.adapters.upstream.wire import Call, Wire
from gateway.core.catalogue import MICRO
from gateway.core.errors import GatewayError, Kind
from gateway.core.reply import Reply, as_object, error_in
from gateway.core.task import is_id

_BALANCE: Final = "/dashboard/balance"
_RECORD: Final = "/dashboard/record/{}"
_TIMEOUT: Final = 10.0
_SERVER_ERROR: Final = 500
_SUCCESS: Final = 200
_REFUSED: Final = (401, 403)
_NO_ANSWER: Final = "302.AI does not answer about the account."


class Account:
    """Asks 302's dashboard."""

    def __init__(self, wire: Wire, keys: KeyPool) -> None:
        self._wire: Final = wire
        self._keys: Final = keys

    async def balances(self) -> dict[str, Decimal | GatewayError]:
        """The balance in USD behind each key by its public id, or why it is not known."""
        found: dict[str, Decimal | GatewayError] = {}
        for key_id, secret in self._keys.secrets():
            try:
                found[key_id] = await self.balance(secret)
            except GatewayError as error:
                found[key_id] = error
        return found

    async def balance(self, secret: str) -> Decimal:
        """The balance in USD behind a key.

        Raises:
            GatewayError: 302 refuses the key, or says nothing that can be read.
        """
        reply = await self._wire.exchange(Call("GET", _BALANCE, secret, timeout=_TIMEOUT))
        data = as_object(reply.body)
        if error := error_in(reply, data):
            raise error
        number = _number(data.get("data"), "balance")
        if number is None:
            raise GatewayError(Kind.UPSTREAM_UNKNOWN, _NO_ANSWER)
        return number

    async def bill(self, request_id: str, upstream_key_id: str) -> int | None:
        """What a call cost, in micro-USD, rounded up; of a task that was booked under several ids, all together.

        Raises:
            GatewayError: 302 cannot be asked, or accepts none of the keys.
        """
        total = 0
        for id_ in request_id.split(","):
            cost = await self._record(id_, upstream_key_id) if is_id(id_) else None
            if cost is None:
                return None
            total += cost
        return total

    async def _record(self, request_id: str, key_id: str) -> int | None:
        refused = GatewayError(Kind.UPSTREAM_CREDENTIALS, _NO_ANSWER)
        for _, secret in self._keys.secrets(key_id):
            reply = await self._wire.exchange(Call("GET", _RECORD.format(request_id), secret, timeout=_TIMEOUT))
            if reply.status >= _SERVER_ERROR:
                raise GatewayError(Kind.UPSTREAM_UNREACHABLE, _NO_ANSWER)
            if reply.status not in _REFUSED:
                return _cost(reply)
        raise refused


def _cost(reply: Reply) -> int | None:
    """302's dashboard tells failures under HTTP 200 too, and then has no `data`."""
    cost = _number(as_object(reply.body).get("data"), "cost") if reply.status == _SUCCESS else None
    return None if cost is None or cost < 0 else int((cost * MICRO).to_integral_value(ROUND_CEILING))


def _number(holder: object, name: str) -> Decimal | None:
    """A number as 302 writes it, plain or in a string. A float is read by its shortest form, as it was meant."""
    value = holder.get(name) if isinstance(holder, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
