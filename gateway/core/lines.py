"""Where something stands in a TOML text, for those who have to mend it."""

import re
from functools import lru_cache
from typing import Final

_HEADER: Final = re.compile(r"\s*\[\[?(.+?)\]\]?\s*(?:#.*)?$")
_ENTRY: Final = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[\w-]+))*)\s*=""")
_KEY: Final = re.compile(r""""([^"]*)"|'([^']*)'|([\w-]+)""")


def line_of(text: str, *path: str) -> int | None:
    """The number of the line that holds a key, by its tables and name; else that of the nearest table around it."""
    lines = _index(text)
    known = (lines.get(path[:length]) for length in range(len(path), 0, -1))
    return next((line for line in known if line is not None), None)


def place(source: str, text: str, *path: str) -> str:
    """`file:line` of a key, or the file alone where it cannot be told."""
    line = line_of(text, *path)
    return source if line is None else f"{source}:{line}"


@lru_cache(4)
def _index(text: str) -> dict[tuple[str, ...], int]:
    table: tuple[str, ...] = ()
    lines: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _keys(header[1])
            for length in range(1, len(table) + 1):
                lines.setdefault(table[:length], number)
        elif entry := _ENTRY.match(line):
            lines.setdefault((*table, *_keys(entry[1])), number)
    return lines


def _keys(dotted: str) -> tuple[str, ...]:
    return tuple(next(filter(None, match), "") for match in _KEY.findall(dotted))
