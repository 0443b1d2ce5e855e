"""Pictures of nothing but form: tiles, ribbons, orbits. Each is a function of canvas, palette and lots.

Only compositions live here; how a shape gets its soft edge is `canvas`' part.
"""

import math
from random import Random

from gateway.simulator.canvas import Canvas, Colour, Point, mix
from gateway.simulator.palettes import Palette


def tiles(canvas: Canvas, palette: Palette, lot: Random) -> None:
    """A board of squares, each with a quarter, a half or a whole circle, or a triangle."""
    short = lot.choice((4, 5))
    side = min(canvas.width, canvas.height) / short
    columns, rows = math.ceil(canvas.width / side), math.ceil(canvas.height / side)
    if columns * rows > 80:  # a strip of a picture: as many tiles as a person can look at
        side = math.sqrt(canvas.width * canvas.height / 80)
        columns, rows = math.ceil(canvas.width / side), math.ceil(canvas.height / side)
    grounds = (*palette.accents, mix(palette.sky[-1], (255, 255, 255), 0.4))
    for row in range(rows):
        for column in range(columns):
            ground, figure = lot.sample(grounds, 2)
            _tile(canvas, (column * side, row * side, side), (ground, figure), lot)


def ribbons(canvas: Canvas, palette: Palette, lot: Random) -> None:
    """Bands that flow across the picture, one over the other."""
    canvas.wash(palette.sky)
    x, y = canvas.width * lot.uniform(0.2, 0.8), canvas.height * lot.uniform(0.12, 0.25)
    canvas.glow(x, y, max(canvas.width, canvas.height) * 0.5, palette.light, 0.7)
    count = lot.randint(7, 9)
    bend, phase, waves = lot.uniform(0.1, 0.16), lot.uniform(0, math.tau), lot.uniform(1.2, 2.2)
    for band in range(count):
        share = band / count
        colour = mix(palette.accents[band % len(palette.accents)], palette.near, 0.55 * share)
        base = canvas.height * (0.24 + 0.78 * share)
        line = _wave(canvas, base, canvas.height * bend * (1 - 0.45 * share), waves, phase + band * 0.55)
        shade = [(px, py + canvas.height * 0.012) for px, py in line]
        floor: list[Point] = [(canvas.width + 2, canvas.height + 2), (-2, canvas.height + 2)]
        canvas.polygon([*line, *floor], (colour, mix(colour, palette.near, 0.5)))
        canvas.polygon([*line, *reversed(shade)], mix(colour, (255, 255, 255), 0.35))


def orbits(canvas: Canvas, palette: Palette, lot: Random) -> None:
    """A star, the rings around it, and a world on each."""
    deep = mix(palette.near, (8, 8, 20), 0.75)
    canvas.wash([deep, mix(deep, palette.sky[0], 0.35), mix(deep, palette.sky[1], 0.3)])
    for _ in range(220):
        shine = mix(deep, (255, 255, 255), lot.uniform(0.2, 0.9))
        canvas.dot(lot.uniform(0, canvas.width), lot.uniform(0, canvas.height), shine)
    short = min(canvas.width, canvas.height)
    x, y = canvas.width * lot.uniform(0.35, 0.65), canvas.height * lot.uniform(0.36, 0.48)
    canvas.glow(x, y, short * 0.6, palette.light, 0.6)
    radius, tilt = short * 0.09, lot.uniform(0.32, 0.5)
    turn = lot.uniform(-0.5, 0.5)
    for ring in range(lot.randint(4, 6)):
        reach = radius * (2.6 + 1.3 * ring)
        _ring(canvas, (x, y), (reach, reach * tilt), turn, mix(deep, palette.light, 0.45))
        px, py = _on_ring((x, y), (reach, reach * tilt), turn, ring * 2.4 + lot.uniform(0, 1.6))
        colour = palette.accents[ring % len(palette.accents)]
        world = short * lot.uniform(0.016, 0.042)
        canvas.glow(px, py, world * 3, colour, 0.7)
        canvas.disc(px, py, world, (mix(colour, (255, 255, 255), 0.4), mix(colour, deep, 0.35)))
    canvas.disc(x, y, radius, (palette.light, mix(palette.light, palette.accents[0], 0.35)))


def _tile(canvas: Canvas, place: tuple[float, float, float], colours: tuple[Colour, Colour], lot: Random) -> None:
    x, y, side = place
    ground, figure = colours
    left, top, right, bottom = round(x), round(y), round(x + side), round(y + side)
    canvas.image.paste(ground, (left, top, right, bottom))
    corners: list[Point] = [(left, top), (right, top), (right, bottom), (left, bottom)]
    first = lot.randrange(4)
    kind = lot.randrange(5)
    if kind < 2:
        canvas.polygon(_sector(corners[first], side, first * math.pi / 2, math.pi / 2), figure)
        if kind == 1:
            canvas.polygon(_sector(corners[first], side / 2, first * math.pi / 2, math.pi / 2), ground)
    elif kind == 2:
        (ax, ay), (bx, by) = corners[first], corners[(first + 1) % 4]
        canvas.polygon(_sector(((ax + bx) / 2, (ay + by) / 2), side / 2, first * math.pi / 2, math.pi), figure)
    elif kind == 3:
        canvas.disc(x + side / 2, y + side / 2, side * 0.32, figure)
    else:
        canvas.polygon([corners[first], corners[(first + 1) % 4], corners[(first + 2) % 4]], figure)


def _sector(centre: Point, radius: float, start: float, angle: float) -> list[Point]:
    steps = 32
    arc = [(start + angle * i / steps) for i in range(steps + 1)]
    return [centre, *((centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in arc)]


def _wave(canvas: Canvas, base: float, bend: float, waves: float, phase: float) -> list[Point]:
    steps = 96
    line = []
    for i in range(steps + 1):
        at = i / steps
        lift = math.sin(waves * math.pi * at + phase) + 0.4 * math.sin(2.3 * waves * math.pi * at + 1.7 * phase)
        line.append((-2 + (canvas.width + 4) * at, base - bend * lift))
    return line


def _on_ring(centre: Point, axes: Point, turn: float, angle: float) -> Point:
    x, y = axes[0] * math.cos(angle), axes[1] * math.sin(angle)
    return centre[0] + x * math.cos(turn) - y * math.sin(turn), centre[1] + x * math.sin(turn) + y * math.cos(turn)


def _ring(canvas: Canvas, centre: Point, axes: Point, turn: float, colour: Colour) -> None:
    steps = 120
    outer = [_on_ring(centre, axes, turn, math.tau * i / steps) for i in range(steps + 1)]
    thick = max(1.5, axes[0] * 0.006)
    inner_axes = (axes[0] - thick, axes[1] - thick)
    inner = [_on_ring(centre, inner_axes, turn, math.tau * i / steps) for i in range(steps + 1)]
    canvas.polygon([*outer, *reversed(inner)], colour, 0.6)
