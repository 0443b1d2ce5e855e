"""What a caller's limits are counted in, as the limiter's script is asked for it and answers."""

from dataclasses import dataclass
from typing import Any, Final

from gateway.core.keys import Caller
from gateway.core.limits import Limit, Refusal, Verdict, limits_of, standings_of
from gateway.core.windows import Named

# How many numbers of the script's answer come before what is used.
_HEAD: Final = 3
# '>I6' in the script.
_NUMBER_SIZE: Final = 6
_LARGEST: Final = 256**_NUMBER_SIZE - 1


@dataclass(frozen=True, slots=True)
class Books:
    """A caller's limits, and the keys that they are counted under.

    `told` are those whose standings are told; `packed` is as the script reads them.
    """

    caller: Caller
    limits: tuple[Named, ...]
    told: tuple[Limit, ...]
    keys: tuple[str, ...]
    images: tuple[str, ...]
    places: tuple[str, ...]
    packed: bytes

    @classmethod
    def of(cls, caller: Caller, window_ms: int, lease_ms: int) -> "Books":
        """The books of a caller."""
        limits = tuple((_key_of(caller, limit), limit) for limit in limits_of(caller))
        keys = {
            measure: tuple(key for key, limit in limits if limit.measure == measure)
            for measure in ("requests", "images", "concurrency")
        }
        head = [_number(window_ms), _number(lease_ms), bytes(map(len, keys.values()))]
        return cls(
            caller=caller,
            limits=limits,
            told=tuple(limit for _, limit in limits if limit.measure != "concurrency"),
            keys=tuple(key for key, _ in limits),
            images=keys["images"],
            places=keys["concurrency"],
            packed=b"".join([*head, *(_number(limit.most) for _, limit in limits)]),
        )

    def read(self, answer: list[Any]) -> tuple[Verdict, list[bytes | None]]:
        """What the script answers: the verdict, and what was looked up."""
        refusing, wait, leased = answer[:_HEAD]
        found = _HEAD + 2 * len(self.told)
        resets = [reset / 1000 for reset in answer[_HEAD + 1 : found : 2]]
        standings = standings_of(zip(self.told, answer[_HEAD:found:2], resets, strict=True))
        refusal = Refusal(self.limits[refusing - 1][1], None if wait < 0 else wait / 1000) if refusing else None
        return Verdict(standings, refusal, bool(leased)), answer[found:]


def note_of(caller: Caller, request_id: str) -> str:
    """Where the script notes what a request took; the braces keep all keys of a team on one server of a cluster."""
    return f"gw:{{{caller.team}}}:limit:took:{request_id}"


def _key_of(caller: Caller, limit: Limit) -> str:
    owner = f"key:{caller.key}" if limit.owner == "key" else "team"
    # Not the name that the sorted sets of older versions had, which may be running beside this one.
    what = limit.measure if limit.measure == "concurrency" else f"window:{limit.measure}"
    return f"gw:{{{caller.team}}}:limit:{what}:{owner}"


def _number(number: int) -> bytes:
    return min(number, _LARGEST).to_bytes(_NUMBER_SIZE, "big")
