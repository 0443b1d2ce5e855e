"""Pictures that are drawn when somebody looks."""

import asyncio
from random import Random

from gateway.simulator.draw import draw
from gateway.simulator.gallery import Gallery
from gateway.simulator.rules import Drawing

DRAWING = Drawing("m", "a cat", 64, 64, seed=1)


async def test_all_who_look_at_once_see_the_same_picture() -> None:
    gallery = Gallery(Random(1))
    path = gallery.hang(DRAWING, "20260102")

    seen = await asyncio.gather(*(gallery.look(path) for _ in range(5)))

    assert seen == [draw(DRAWING)] * 5


async def test_a_path_at_which_nothing_hangs_shows_nothing() -> None:
    assert await Gallery(Random(1)).look("/gpt/imgs/20260102/0.png") is None


def test_a_path_has_the_form_of_302s_own() -> None:
    path = Gallery(Random(1)).hang(DRAWING, "20260102")

    assert path.startswith("/gpt/imgs/20260102/")
    assert len(path) == len("/gpt/imgs/20260102/.png") + 32
