"""Pictures of places: hills, peaks, the sea, a city. Each is a function of canvas, palette and lots.

Only compositions live here; how a shape gets its soft edge is `canvas`' part.
"""

import math
from itertools import pairwise
from random import Random
from typing import Final

from gateway.simulator.canvas import Canvas, Colour, Point, mix
from gateway.simulator.palettes import Palette

_SNOW: Final = (250, 250, 252)


def hills(canvas: Canvas, palette: Palette, lot: Random) -> None:
    """Layers of soft hills under a low sun."""
    _sky(canvas, palette, lot, lot.uniform(0.3, 0.5))
    layers = lot.randint(5, 6)
    for layer in range(layers):
        depth = layer / (layers - 1)
        base = canvas.height * (0.5 + 0.38 * depth)
        rise = canvas.height * lot.uniform(0.05, 0.1)
        colour = mix(palette.far, palette.near, depth)
        haze = mix(colour, palette.sky[-1], 0.35 * (1 - depth))
        canvas.polygon(_ground(canvas, _swell(canvas, lot, base, rise, 1 + 1.5 * depth)), (colour, haze))


def peaks(canvas: Canvas, palette: Palette, lot: Random) -> None:
    """Ranges of jagged mountains, snow on the highest, the valley in haze."""
    _sky(canvas, palette, lot, lot.uniform(0.2, 0.32))
    for layer in range(4):
        depth = layer / 3
        top = canvas.height * (0.42 + 0.15 * layer)
        colour = mix(palette.far, palette.near, depth)
        haze = mix(colour, palette.sky[-1], 0.6 * (1 - depth))
        ridge = _ridge(canvas, lot, top, canvas.height * (0.22 - 0.035 * layer))
        canvas.polygon(_ground(canvas, ridge), (colour, haze))
        if layer == 0:
            _snow(canvas, ridge, colour, lot)


def sea(canvas: Canvas, palette: Palette, lot: Random) -> None:
    """A sun over water, its path of light, islands on the horizon."""
    horizon = canvas.height * lot.uniform(0.5, 0.6)
    x, radius = _sky(canvas, palette, lot, horizon / canvas.height - 0.06)
    far = mix(palette.far, palette.sky[-1], 0.4)
    for _ in range(lot.randint(1, 3)):
        middle, half = lot.uniform(0, canvas.width), canvas.width * lot.uniform(0.1, 0.25)
        rise = canvas.height * lot.uniform(0.03, 0.09)
        angles = [step / 24 * math.pi for step in range(25)]
        arc = [(middle + half * math.cos(angle), horizon - rise * math.sin(angle)) for angle in angles]
        canvas.polygon(arc, (palette.far, far))
    canvas.wash([mix(palette.sky[-1], palette.far, 0.35), mix(palette.far, palette.near, 0.5), palette.near], horizon)
    for row in range(26):
        depth = (row + lot.random()) / 26
        y = horizon + (canvas.height - horizon) * depth**1.4 + 2
        half = radius * (0.5 + 1.6 * depth) * lot.uniform(0.35, 1)
        thick = max(1.0, canvas.height * 0.0035 * (0.5 + 2 * depth))
        shift = x + lot.uniform(-0.4, 0.4) * radius * (0.4 + depth)
        wave = [(shift - half, y), (shift, y - thick), (shift + half, y), (shift, y + thick)]
        canvas.polygon(wave, palette.light, 0.75 * (1 - 0.6 * depth))


def city(canvas: Canvas, palette: Palette, lot: Random) -> None:
    """A skyline in three depths, windows lit in the nearest."""
    _sky(canvas, palette, lot, lot.uniform(0.3, 0.45))
    for layer in range(3):
        colour = mix(palette.far, palette.near, (0.1, 0.5, 1)[layer])
        haze = mix(colour, palette.sky[-1], (0.45, 0.25, 0.05)[layer])
        x = -canvas.width * 0.05 * lot.random()
        while x < canvas.width:
            breadth = canvas.width * lot.uniform(0.05, 0.11)
            top = canvas.height * (0.36 + 0.15 * layer + 0.24 * lot.random() ** 1.5)
            canvas.polygon(_box(x, top, x + breadth, canvas.height), (colour, haze))
            if lot.random() < 0.25:
                mast = x + breadth / 2
                canvas.polygon(_box(mast - 1, top - canvas.height * 0.05, mast + 1, top + 1), colour)
            if layer == 2:
                _windows(canvas, (x, top, breadth), mix(palette.light, (255, 200, 110), 0.5), lot)
            x += breadth * lot.uniform(1.0, 1.25)


def _sky(canvas: Canvas, palette: Palette, lot: Random, height: float) -> tuple[float, float]:
    """Paint the sky and the light in it; tell where the light stands and how large it is."""
    canvas.wash(palette.sky, 0, canvas.height * 0.85)
    canvas.wash([palette.sky[-1], palette.sky[-1]], canvas.height * 0.85 - 1)
    short = min(canvas.width, canvas.height)
    if palette.is_night:
        for _ in range(140):
            y = canvas.height * 0.6 * lot.random() ** 1.5
            canvas.dot(lot.uniform(0, canvas.width), y, mix(palette.sky[0], (255, 255, 255), lot.uniform(0.4, 1)))
    x, y, radius = canvas.width * lot.uniform(0.22, 0.78), canvas.height * height, short * lot.uniform(0.06, 0.1)
    canvas.glow(x, y, radius * 7, palette.light, 0.7)
    canvas.glow(x, y, radius * 2.6, palette.light, 0.7)
    canvas.disc(x, y, radius, palette.light)
    return x, radius


def _ground(canvas: Canvas, ridge: list[Point]) -> list[Point]:
    return [*ridge, (canvas.width + 2, canvas.height + 2), (-2, canvas.height + 2)]


def _swell(canvas: Canvas, lot: Random, base: float, rise: float, waves: float) -> list[Point]:
    terms = [(waves * k * lot.uniform(0.7, 1.3), lot.uniform(0, math.tau), rise / k) for k in (1, 2, 3.7)]
    steps = 96
    line = []
    for i in range(steps + 1):
        lift = sum(height * math.sin(often * math.pi * i / steps + phase) for often, phase, height in terms)
        line.append((-2 + (canvas.width + 4) * i / steps, base - lift))
    return line


def _ridge(canvas: Canvas, lot: Random, top: float, rise: float) -> list[Point]:
    """Halve the line from summit to valley again and again, moving each middle by less: what mountains look like."""
    heights = [lot.uniform(0.5, 1) if number % 2 else lot.uniform(-0.4, 0.1) for number in range(lot.randint(5, 8))]
    rough = 0.22
    while len(heights) < 150:
        between = [(a + b) / 2 + lot.uniform(-rough, rough) for a, b in pairwise(heights)]
        heights = [value for pair in zip(heights, [*between, 0.0], strict=True) for value in pair][:-1]
        rough *= 0.52
    steps = len(heights) - 1
    return [(-2 + (canvas.width + 4) * i / steps, top - rise * height) for i, height in enumerate(heights)]


def _snow(canvas: Canvas, ridge: list[Point], colour: Colour, lot: Random) -> None:
    """Cap what rises above a line: the higher a summit, the further its snow comes down, in tongues."""
    highest, lowest = min(y for _, y in ridge), max(y for _, y in ridge)
    line = highest + (lowest - highest) * 0.55
    edge, tongue = [], 0.5
    for number, (x, y) in enumerate(ridge):
        if number % 3 == 0:
            tongue = lot.uniform(0.25, 0.8)
        edge.append((x, y + max(0.0, line - y) * tongue))
    canvas.polygon([*ridge, *reversed(edge)], mix(_SNOW, colour, 0.12), 0.95)


def _windows(canvas: Canvas, tower: tuple[float, float, float], light: Colour, lot: Random) -> None:
    x, top, breadth = tower
    pane = max(2.0, breadth / 9)
    for column in range(1, 8, 2):
        y = top + pane * 2
        while y < canvas.height:
            if lot.random() < 0.45:
                left = x + column * pane
                canvas.image.paste(light, (round(left), round(y), round(left + pane), round(y + pane * 1.3)))
            y += pane * 2.6


def _box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]
