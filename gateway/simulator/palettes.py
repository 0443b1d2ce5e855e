"""Colours that go together.

Data and one lot; nothing here draws.
"""

import colorsys
from dataclasses import dataclass
from random import Random
from typing import Final

from gateway.simulator.canvas import Colour


@dataclass(frozen=True, slots=True)
class Palette:
    """A sky from top to horizon, the light in it, the land from far to near, and accents."""

    sky: tuple[Colour, ...]
    light: Colour
    far: Colour
    near: Colour
    accents: tuple[Colour, ...]

    @property
    def is_night(self) -> bool:
        """Whether stars show in this sky."""
        return sum(self.sky[0]) < 160


def _palette(sky: str, light: str, land: str, accents: str) -> Palette:
    far, near = _read(land)
    return Palette(_read(sky), _read(light)[0], far, near, _read(accents))


def _read(text: str) -> tuple[Colour, ...]:
    return tuple((int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)) for code in text.split())


PALETTES: Final = (
    _palette("2b2d5b a8577e f6a56b fbd7a0", "fff1cf", "b8688a 1d1b3a", "f25f5c ffe066 247ba0 70c1b3 50514f"),  # dusk
    _palette("2f80b5 7fc4dd d8f0ee fdf6e3", "fffdf0", "9cc9cf 1f5a5c", "ef476f ffd166 06d6a0 118ab2 073b4c"),  # noon
    _palette("070b24 16245a 37508f 7f8fc4", "f4f1de", "44568f 070b1c", "e07a5f 81b29a f2cc8f f4f1de 3d405b"),  # night
    _palette("f4b6a6 f9d3b4 fdeccd fff8e8", "ffffff", "e9bba4 7a4a4f", "e63946 f1faee a8dadc 457b9d 1d3557"),  # peach
    _palette("0f3d3e 2c7a6b 8fc9a0 e8f1c8", "fff9d6", "79b090 0b2f2a", "264653 2a9d8f e9c46a f4a261 e76f51"),  # forest
    _palette("3a1c4a 8a3a6b e0607e ffb199", "ffe8d6", "a4507a 241030", "9b5de5 f15bb5 fee440 00bbf9 00f5d4"),  # magenta
    _palette("8fa9bf b9cad6 dfe7ea f5f4ee", "ffffff", "b3c3cd 3e5263", "cad2c5 84a98c 52796f 354f52 2f3e46"),  # mist
    _palette("c2452d e88a3c f6c667 fcefb4", "fffbe6", "d98a4a 4a1d16", "d62828 f77f00 fcbf49 eae2b7 003049"),  # desert
    _palette("101820 1f4e5f 3fa796 b8e0b0", "e6fff2", "2f7a74 08131a", "00b4d8 90e0ef caf0f8 0077b6 03045e"),  # aurora
    _palette("a7b8e8 cfc8ee f1d9ee fff1ea", "fffaf5", "b8aede 544a82", "ffadad ffd6a5 caffbf 9bf6ff bdb2ff"),  # lilac
)


def pick(lot: Random) -> Palette:
    """Draw a palette, its hue turned a little so that two pictures of the same palette are still two."""
    chosen = lot.choice(PALETTES)
    turn = lot.uniform(-0.025, 0.025)
    return Palette(
        tuple(_turn(colour, turn) for colour in chosen.sky),
        _turn(chosen.light, turn),
        _turn(chosen.far, turn),
        _turn(chosen.near, turn),
        tuple(_turn(colour, turn) for colour in chosen.accents),
    )


def _turn(colour: Colour, share: float) -> Colour:
    hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255 for part in colour))
    red, green, blue = (round(part * 255) for part in colorsys.hsv_to_rgb((hue + share) % 1, saturation, value))
    return red, green, blue
