"""A whole scene: ground, things free or in holders, and what is special."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tools.objects.pictures import cables, holders, labels, vessels
from tools.objects.pictures.canvas import SIDE, Canvas
from tools.objects.pictures.compounds import prototypes, thing
from tools.objects.pictures.families import cube, fruit, topdown
from tools.objects.pictures.fittings import fit
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
    if chance(rng, 0.06):
        fit(canvas, EVERYWHERE)
    kind = pick(rng, ("free", "held", "special"), (0.38, 0.42, 0.20))
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
        scatter(canvas, EVERYWHERE, kinds, _many(rng, 9), 26, 170)
    elif what == "many":
        scatter(canvas, EVERYWHERE, kinds, 12 + _many(rng, 20, 80), 14, 64)
    elif what == "large":
        middle = Cell(SIDE / 2, SIDE / 2, SIDE * 0.7, SIDE * 0.7)
        scatter(canvas, middle, kinds, int(rng.integers(1, 4)), 110, 260, "free")
    else:
        for kind in kinds:
            scatter(canvas, EVERYWHERE, [kind], _many(rng, 4), 14, 180)
    if chance(rng, 0.1):  # labels on the table
        for _ in range(int(rng.integers(1, 4))):
            x, y = rng.uniform(30, SIDE - 30, 2)
            wide, tall = rng.uniform(30, 130), rng.uniform(20, 90)
            labels.stick(canvas, x, y, wide, tall, rng.normal(0, 0.5))
    if chance(rng, 0.12):
        x, y = rng.uniform(40, SIDE - 40, 2)
        heap(canvas, patch(rng, x, y, rng.uniform(25, 110)), 8.0)


HOLDERS = ("tray", "plate", "bag", "card", "bottle", "jar", "parcel")
OFTEN = (0.34, 0.1, 0.17, 0.1, 0.14, 0.07, 0.08)


def _places(rng: Rng) -> list[Cell]:
    """Where holders stand: one, or up to four beside each other."""
    count = 1 if chance(rng, 0.75) else int(rng.integers(2, 5))
    columns, rows = (count, 1) if count < 4 else (2, 2)
    if chance(rng, 0.5):
        columns, rows = rows, columns
    wide, tall = SIDE / columns, SIDE / rows
    found = []
    for index in range(count):
        width = wide * (rng.uniform(0.4, 0.97) if count == 1 else rng.uniform(0.6, 0.9))
        height = tall * (rng.uniform(0.35, 0.97) if count == 1 else rng.uniform(0.5, 0.9))
        free = 0.45 * np.array([wide - width, tall - height])
        x, y = rng.uniform(-1, 1, 2) * free + (
            (index % columns + 0.5) * wide,
            (index // columns + 0.5) * tall,
        )
        if count == 1 and chance(rng, 0.2):  # cut off by the picture's edge, or just not
            x, y = (SIDE / 2, rng.uniform(0, 0.6) * height) if chance(rng, 0.5) else (x, y)
            x, y = (SIDE - y, x) if chance(rng, 0.5) else (x, y)
        found.append(Cell(float(x), float(y), float(width), float(height)))
    return found


def _hold(canvas: Canvas, place: Cell, kinds: list[Thing], inner: bool) -> None:
    """One holder and what is in it; now and then another holder."""
    rng = canvas.rng
    name = pick(rng, HOLDERS, OFTEN)
    if inner and name == "bag":
        name = "card"
    if name == "bag":
        rooms, cover = vessels.bag(canvas, place)
        for room in rooms:
            scatter(canvas, room, kinds, _many(rng, 6), 22, 110)
            if chance(rng, 0.1):
                stock(canvas, room, kinds, 2.0)
            vessels.film(canvas, room, cover)
        return
    if name == "card":
        kinds = [labels.printed(kind) for kind in kinds] if chance(rng, 0.5) else kinds
        rooms = labels.card(canvas, place)
    elif name in ("bottle", "jar"):
        rooms = vessels.bottle(canvas, place, name == "jar")
    elif name == "plate":
        rooms = holders.plate(canvas, place)
    elif name == "parcel":
        rooms = labels.parcel(canvas, place)
    else:
        rooms = holders.tray(canvas, place)
    if rooms and name in ("tray", "card", "plate") and chance(rng, 0.2):
        fit(canvas, place if chance(rng, 0.7) else rooms[0])
    for room in rooms:
        if min(room.width, room.height) > 70 and not inner and chance(rng, 0.25):
            smaller = replace(room, width=0.75 * room.width, height=0.75 * room.height)
            _hold(canvas, smaller, kinds, inner=True)
        else:
            stock(canvas, room, kinds, 7.0 if len(rooms) == 1 else 2.5)
    if rooms and name in ("tray", "plate") and chance(rng, 0.1):
        room = rooms[0]
        labels.stick(canvas, room.x, room.y, 0.6 * room.width, 0.4 * room.height, room.turn)


def _held(canvas: Canvas, kinds: list[Thing]) -> None:
    rng = canvas.rng
    if chance(rng, 0.25):
        kinds = [fruit(rng) for _ in range(int(rng.integers(1, 4)))] + kinds[:1]
    for place in _places(rng):
        _hold(canvas, place, kinds, inner=False)
    if chance(rng, 0.3):
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
    (cables.connected, 4.5), (cables.free, 2.0), (labels.page, 2.5), (_board, 1.5),
    (_dice, 1.5), (_round, 2.0), (_drops, 0.7), (_heaps, 2.0),
)  # fmt: skip


def pick_special(rng: Rng) -> Callable[[Canvas], None]:
    shares = np.cumsum([weight for _, weight in SPECIAL])
    found = int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))
    return SPECIAL[found][0]
