"""A whole scene: ground, things free or in holders, and what is special."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tools.objects.pictures import cables, holders, labels, vessels
from tools.objects.pictures.canvas import SIDE, Canvas
from tools.objects.pictures.compounds import prototypes, thing
from tools.objects.pictures.families import cube, fruit, topdown
from tools.objects.pictures.grains import heap, patch
from tools.objects.pictures.grounds import ground
from tools.objects.pictures.layout import EVERYWHERE, Cell, scatter, stock
from tools.objects.pictures.noise import Rng, chance, pick
from tools.objects.pictures.things import Thing


def scene(rng: Rng) -> Canvas:
    canvas = Canvas(rng, ground(rng))
    kinds = prototypes(rng, canvas.pixels.mean((0, 1)))
    if chance(rng, 0.08):
        labels.texture_text(canvas)
    kind = pick(rng, ("free", "held", "special"), (0.40, 0.45, 0.15))
    if kind == "free":
        _free(canvas, kinds)
    elif kind == "held":
        _held(canvas, kinds)
    else:
        pick_special(rng)(canvas)
    if chance(rng, 0.05):
        cables.free(canvas)
    canvas.finish()
    return canvas


def _many(rng: Rng, mean: float, most: int = 60) -> int:
    return int(min(most, rng.geometric(1 / mean)))


def _free(canvas: Canvas, kinds: list[Thing]) -> None:
    rng = canvas.rng
    what = pick(rng, ("few", "many", "large", "mixed"), (0.45, 0.25, 0.15, 0.15))
    if what == "few":
        scatter(canvas, EVERYWHERE, kinds, _many(rng, 9), 18, 130)
    elif what == "many":
        scatter(canvas, EVERYWHERE, kinds, 12 + _many(rng, 20, 80), 10, 50)
    elif what == "large":
        middle = Cell(SIDE / 2, SIDE / 2, SIDE * 0.7, SIDE * 0.7)
        scatter(canvas, middle, kinds, int(rng.integers(1, 4)), 110, 260, "free")
    else:
        for kind in kinds:
            scatter(canvas, EVERYWHERE, [kind], _many(rng, 4), 14, 180)
    if chance(rng, 0.12):
        x, y = rng.uniform(40, SIDE - 40, 2)
        heap(canvas, patch(rng, x, y, rng.uniform(25, 110)), 8.0)


def _held(canvas: Canvas, kinds: list[Thing]) -> None:
    rng = canvas.rng
    count = 1 if chance(rng, 0.75) else int(rng.integers(2, 4))
    names = ("tray", "plate", "bag", "card", "bottle", "jar")
    for _ in range(count):
        name = pick(rng, names, (0.36, 0.1, 0.19, 0.13, 0.14, 0.08))
        shrink = 1.0 if count == 1 else 0.6
        width, height = rng.uniform(110, 310) * shrink, rng.uniform(100, 300) * shrink
        if name == "bag":
            rooms, cover = vessels.bag(canvas, width, height)
            for room in rooms:
                scatter(canvas, room, kinds, _many(rng, 6), 18, 90)
                vessels.film(canvas, room, cover)
            continue
        if name in ("bottle", "jar"):
            rooms = vessels.bottle(canvas, name == "jar")
        elif name == "card":
            rooms = labels.card(canvas, width, height)
            if chance(rng, 0.5):
                kinds = [labels.printed(kind) for kind in kinds]
        elif name == "plate":
            rooms = holders.plate(canvas, width, height)
        else:
            rooms = holders.tray(canvas, width, height)
        for room in rooms:
            stock(canvas, room, kinds, 7.0 if len(rooms) == 1 else 2.5)
        if rooms and name in ("tray", "plate") and chance(rng, 0.12):
            room = rooms[0]
            labels.stick(canvas, room.x, room.y, 0.6 * room.width, 0.4 * room.height, room.turn)
    if chance(rng, 0.35):
        scatter(canvas, EVERYWHERE, kinds, _many(rng, 3), 14, 90, "free")


def _dice(canvas: Canvas) -> None:
    rng = canvas.rng
    one = cube(rng)
    kinds = (
        [one]
        if chance(rng, 0.3)
        else [cube(rng).recoloured([p.paint.colour for p in one.parts]) for _ in range(6)]
    )
    scatter(
        canvas, EVERYWHERE, kinds, int(rng.integers(2, 12)), 22, 80, pick(rng, ("free", "touch"))
    )


def _round(canvas: Canvas) -> None:
    rng = canvas.rng
    maker = fruit if chance(rng, 0.6) else topdown
    kinds = [maker(rng) for _ in range(int(rng.integers(1, 4)))]
    scatter(
        canvas, EVERYWHERE, kinds, _many(rng, 14), 16, 110, pick(rng, ("touch", "over", "free"))
    )


def _drops(canvas: Canvas) -> None:
    """Translucent blots and drops, as under a microscope."""
    rng = canvas.rng
    kinds = [replace(fruit(rng), opacity=rng.uniform(0.35, 0.8)) for _ in range(3)]
    scatter(canvas, EVERYWHERE, kinds, _many(rng, 14), 14, 60, pick(rng, ("touch", "free")))


def _heaps(canvas: Canvas) -> None:
    rng = canvas.rng
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(40, SIDE - 40, 2)
        heap(canvas, patch(rng, x, y, rng.uniform(30, 120)), 8.0)
    scatter(canvas, EVERYWHERE, [thing(rng), thing(rng)], _many(rng, 4), 15, 90)


def _board(canvas: Canvas) -> None:
    labels.board(canvas, canvas.rng.uniform(140, 310), canvas.rng.uniform(120, 300))


SPECIAL: tuple[tuple[Callable[[Canvas], None], float], ...] = (
    (cables.connected, 3.0), (cables.free, 1.5), (labels.page, 1.5), (_board, 1.5),
    (_dice, 1.5), (_round, 2.0), (_drops, 0.7), (_heaps, 2.0),
)  # fmt: skip


def pick_special(rng: Rng) -> Callable[[Canvas], None]:
    shares = np.cumsum([weight for _, weight in SPECIAL])
    found = int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))
    return SPECIAL[found][0]
