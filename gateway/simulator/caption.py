"""The words on a picture: the prompt, the model and the size, on a pane at its foot.

Knows nothing of what the picture shows. Pillow's own font is the only one sure to be there, on every machine the same.
"""

import re
import unicodedata
from bisect import bisect
from functools import cache
from typing import Final

from PIL import ImageDraw, ImageFont

from gateway.simulator.canvas import Canvas

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_LINES: Final = 3
_SMALLEST: Final = 96  # a side shorter than this has no room for words
_READ: Final = 400  # characters of the prompt: more than three lines hold
_DOTS: Final = "..."
_PLAIN: Final = str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014", "''\"\"--")
_FOREIGN: Final = re.compile(r"[^\x20-\x7e\s]+")
_TINT: Final = (12, 14, 24)
_WHITE: Final = (255, 255, 255)
_SOFT: Final = (205, 212, 226)


def write(canvas: Canvas, prompt: str, facts: str) -> None:
    """Lay the pane over the foot of the picture and write on it."""
    short = min(canvas.width, canvas.height)
    if short < _SMALLEST:
        return
    size = max(13, round(min(canvas.width / 30, canvas.height / 24)))
    large, small = _font(size), _font(max(11, round(size * 0.72)))
    margin, pad = round(size * 0.8), round(size * 0.7)
    room = canvas.width - 2 * (margin + pad)
    lines = wrap(prompt, large, room)
    step = round(size * 1.3)
    height = 2 * pad + step * len(lines) + round(size * 0.95)
    top = canvas.height - margin - height
    canvas.frost((margin, top, canvas.width - margin, canvas.height - margin), round(size * 0.6), _TINT, 0.58)
    pen = ImageDraw.Draw(canvas.image)
    for number, line in enumerate(lines):
        pen.text((margin + pad, top + pad + number * step), line, font=large, fill=_WHITE)
    foot = top + pad + step * len(lines) + round(size * 0.2)
    pen.text((margin + pad, foot), _cut(facts, small, room), font=small, fill=_SOFT)


def wrap(text: str, font: Font, room: float) -> list[str]:
    """Break a text into at most three lines no wider than the room; what does not fit ends in dots."""
    words = _legible(text).split()
    lines: list[str] = []
    while words and len(lines) < _LINES:
        line = ""
        while words and font.getlength(longer := f"{line} {words[0]}".strip()) <= room:
            line = longer
            words.pop(0)
        if not line:  # one word wider than the room: break it where the room ends
            line = _fitting(words[0], font, room)
            words[0] = words[0][len(line) :]
        lines.append(line)
    if words:
        lines[-1] = _cut(f"{lines[-1]} {words[0]}", font, room, always=True)
    return lines


def _cut(text: str, font: Font, room: float, *, always: bool = False) -> str:
    if not always and font.getlength(text) <= room:
        return text
    return _fitting(text, font, room - font.getlength(_DOTS)).rstrip(" .,") + _DOTS


def _fitting(text: str, font: Font, room: float) -> str:
    """As much of a text as fits, and at least a letter, or a narrow room would never be done."""
    fits = bisect(range(len(text) + 1), room, key=lambda end: font.getlength(text[:end])) - 1
    return text[: max(1, fits)]


def _legible(text: str) -> str:
    """The text in the letters that the font has: accents are left off, other scripts become dots, not boxes."""
    plain = unicodedata.normalize("NFKD", text[:_READ]).translate(_PLAIN)
    return _FOREIGN.sub(_DOTS, "".join(letter for letter in plain if not unicodedata.combining(letter)))


@cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)
