"""Paint: smooth gradients and shapes with soft edges, which Pillow's own drawing has not.

Knows pixels and colours only; what a picture shows is decided in `landscapes` and `abstracts`.
"""

from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Fill = Colour | tuple[Colour, ...]
Point = tuple[float, float]

_FINER: Final = 2  # shapes are drawn this many times larger and reduced: cheap, and enough to hide the stairs
_DISTANCE: Final = Image.radial_gradient("L")  # from the centre: 0 there, 181 at the middle of an edge, 255 in a corner
_RIM: Final = 181


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """A colour between two: 0 is the one, 1 the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def gradient(colours: Sequence[Colour], width: int, height: int) -> Image.Image:
    """Two or more colours from top to bottom, equally far apart."""
    column = Image.new("RGB", (1, len(colours)))
    column.putdata(colours)
    # From the middle of the first pixel to that of the last, so that each end has its own colour; then a mere copy.
    whole = (0, 0.5, 1, len(colours) - 0.5)
    column = column.resize((1, height), Image.Resampling.BILINEAR, whole)
    return column.resize((width, height), Image.Resampling.NEAREST)


class Canvas:
    """One picture in the making. Coordinates are pixels from the top left; what lies outside is cut off."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height))
        self.width = width
        self.height = height

    def wash(self, colours: Sequence[Colour], top: float = 0, bottom: float | None = None) -> None:
        """Fill a band of the picture, from edge to edge, with a gradient."""
        first, last = round(top), round(self.height if bottom is None else bottom)
        if last > first:
            self.image.paste(gradient(colours, self.width, last - first), (0, first))

    def polygon(self, points: Sequence[Point], fill: Fill, opacity: float = 1) -> None:
        """Fill a polygon with one colour, or with several from its top to its bottom."""
        xs, ys = [x for x, _ in points], [y for _, y in points]
        self._stamp((min(xs), min(ys), max(xs), max(ys)), fill, opacity, points)

    def disc(self, x: float, y: float, radius: float, fill: Fill, opacity: float = 1) -> None:
        """Fill a circle."""
        self._stamp((x - radius, y - radius, x + radius, y + radius), fill, opacity)

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """Shed light: strongest at the centre, nothing at the radius."""
        size = max(1, round(radius * 2))
        fall = [round(255 * strength * max(0.0, 1 - distance / _RIM) ** 2) for distance in range(256)]
        mask = _DISTANCE.point(fall).resize((size, size), Image.Resampling.BILINEAR)
        self.image.paste(colour, (round(x - radius), round(y - radius)), mask)

    def dot(self, x: float, y: float, colour: Colour) -> None:
        """Colour one pixel, as for a star."""
        if 0 <= x < self.width and 0 <= y < self.height:
            self.image.putpixel((int(x), int(y)), colour)

    def frost(self, box: tuple[int, int, int, int], radius: int, tint: Colour, opacity: float) -> None:
        """Lay a pane of tinted frosted glass with round corners over a part of the picture."""
        part = self.image.crop(box)
        blurred = part.filter(ImageFilter.BoxBlur(max(1, radius // 2)))
        pane = Image.blend(blurred, Image.new("RGB", part.size, tint), opacity)
        mask = Image.new("L", (part.width * _FINER, part.height * _FINER))
        outline = (0, 0, mask.width - 1, mask.height - 1)
        ImageDraw.Draw(mask).rounded_rectangle(outline, radius * _FINER, fill=255)
        self.image.paste(pane, box[:2], mask.reduce(_FINER))

    def _stamp(
        self, extent: tuple[float, float, float, float], fill: Fill, opacity: float, points: Sequence[Point] = ()
    ) -> None:
        left, top = max(0, int(extent[0]) - 1), max(0, int(extent[1]) - 1)
        right, bottom = min(self.width, int(extent[2]) + 2), min(self.height, int(extent[3]) + 2)
        if right <= left or bottom <= top:
            return
        mask = Image.new("L", ((right - left) * _FINER, (bottom - top) * _FINER))
        pen = ImageDraw.Draw(mask)
        ink = round(255 * opacity)
        if points:
            pen.polygon([((x - left) * _FINER, (y - top) * _FINER) for x, y in points], fill=ink)
        else:
            edges = zip(extent, (left, top, left, top), strict=True)
            pen.ellipse([(edge - origin) * _FINER for edge, origin in edges], fill=ink)
        paint = gradient(_colours(fill), right - left, bottom - top) if isinstance(fill[0], tuple) else fill
        self.image.paste(paint, (left, top, right, bottom), mask.reduce(_FINER))


def _colours(fill: Fill) -> list[Colour]:
    return [colour for colour in fill if isinstance(colour, tuple)]
