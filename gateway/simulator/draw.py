"""A drawing becomes a PNG: one of the compositions, in colours and forms that follow from the prompt and the model.

The same drawing is the same bytes. What may be drawn is decided in `rules`; nothing here refuses.
"""

import hashlib
import io
from collections.abc import Callable
from random import Random
from typing import Final

from gateway.simulator import abstracts, caption, landscapes
from gateway.simulator.canvas import Canvas
from gateway.simulator.palettes import Palette, pick
from gateway.simulator.rules import Drawing

_COMPOSITIONS: Final[tuple[Callable[[Canvas, Palette, Random], None], ...]] = (
    landscapes.hills,
    landscapes.peaks,
    landscapes.sea,
    landscapes.city,
    abstracts.tiles,
    abstracts.ribbons,
    abstracts.orbits,
)
_QUICK: Final = 1  # zlib's lowest level: four times as fast as its default, for a third more bytes


def draw(drawing: Drawing) -> bytes:
    """Draw and encode; takes a processor for about a tenth of a second a megapixel."""
    canvas = Canvas(drawing.width, drawing.height)
    subject = _lot(drawing.model, drawing.prompt)
    # The subject and its colours follow from the words alone; the seed moves what is in the picture, as a seed should.
    palette, composition = pick(subject), subject.choice(_COMPOSITIONS)
    composition(canvas, palette, _lot(drawing.model, drawing.prompt, str(drawing.seed)))
    facts = [drawing.model, f"{drawing.width}x{drawing.height}", *(["image-to-image"] if drawing.from_image else [])]
    caption.write(canvas, drawing.prompt, "  ·  ".join(facts))
    encoded = io.BytesIO()
    canvas.image.save(encoded, "PNG", compress_level=_QUICK)
    return encoded.getvalue()


def _lot(*words: str) -> Random:
    digest = hashlib.sha256("\0".join(words).encode()).digest()
    return Random(digest)
