"""The messages of the load: image generations of one length, the same in every run, and where an answer ends."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

SEED = 302
PATH = "/v1/images/generations"
# Of the form of our keys; its digest, under a secret of the benchmarks' own, is in the teams file they serve with.
KEY = "gw_live_SgP35BsostNbsz1gTH9xYwC2Jllpjd1CYnuh"
BODY_BYTES = 250
LENGTH = b"\ncontent-length:"

_BEFORE = b'{"model":"dall-e-3","prompt":"number=%012d;wait=%04d;'
_AFTER = b'","size":"1024x1024"}'
_AS_BYTES = b'","response_format":"b64_json"}'


def whole(answer: bytes | bytearray) -> bool:
    """Say whether an answer has come in full; one without content-length cannot be told from the next.

    Raises:
        ValueError: there is no content-length.
    """
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    lowered = answer[:head].lower()
    at = lowered.find(LENGTH)
    if at < 0:
        raise ValueError("an answer without content-length")
    return len(answer) >= head + 4 + int(lowered[at + len(LENGTH) :].split(b"\r", 1)[0])


@dataclass(frozen=True)
class Wait:
    """How long the fake upstream is asked to take, in ms."""

    mean: int = 0
    jitter: int = 0


class Prompts:
    """Whole HTTP requests; unique ones carry their number, the others all ask the same.

    Those that are `traced` have a header each that no other has, as tracing adds one.
    """

    def __init__(
        self,
        path: str = PATH,
        wait: Wait = Wait(),
        *,
        unique: bool = False,
        traced: bool = False,
        first: int = 0,
        megabytes: int = 0,
        headers: Sequence[str] = (),
    ) -> None:
        self.rng = random.Random(SEED)
        self.wait = wait
        self.number = first
        self.step = 1 if unique else 0
        self.traces = 0
        self.line = f"POST {path} HTTP/1.1\r\n".encode()
        head = f"host: 127.0.0.1\r\nauthorization: Bearer {KEY}\r\n"
        head += "".join(f"{header}\r\n" for header in headers)
        head += f"content-type: application/json\r\ncontent-length: {BODY_BYTES}\r\n\r\n"
        # One that is given as bytes says how many megabytes they are; the fake upstream obeys.
        before, after = (_BEFORE + b"megabytes=%d;" % megabytes, _AS_BYTES) if megabytes else (_BEFORE, _AFTER)
        pad = b"x" * (BODY_BYTES - len(before % (0, 0)) - len(after))
        self.traced = traced
        self.template = head.encode() + before + pad + after

    def next(self) -> tuple[bytes, float]:
        """Make the next request, and say how many seconds it asks the upstream to wait."""
        wait = self.rng.randint(self.wait.mean - self.wait.jitter, self.wait.mean + self.wait.jitter)
        self.number += self.step
        trace = b""
        if self.traced:
            self.traces += 1
            trace = b"traceparent: 00-%032x-%016x-01\r\n" % (self.traces, self.traces)
        return b"%b%b%b" % (self.line, trace, self.template % (self.number, wait)), wait / 1000
