"""Flat printed things: labels, stickers, cards, sheets, circuit boards."""

from dataclasses import replace

import numpy as np

from tools.objects.pictures import outlines as out
from tools.objects.pictures.canvas import SIDE, Canvas, Window, fill
from tools.objects.pictures.compounds import thing
from tools.objects.pictures.families import ink, letter, plain
from tools.objects.pictures.layout import Cell, scatter
from tools.objects.pictures.noise import Array, Rng, chance, colour, pick
from tools.objects.pictures.surface import paint
from tools.objects.pictures.things import Part, Thing, draw


def words(rng: Rng, count: int) -> str:
    letters = [out.LETTERS[i] for i in rng.integers(0, len(out.LETTERS), count)]
    return "".join(" " if chance(rng, 0.15) else letter for letter in letters)


def lines(rng: Rng, x0: float, y0: float, x1: float, y1: float) -> list[Array]:
    """One to four lines of text, as blocks of letters or as bars."""
    count = int(rng.integers(1, 5))
    step = (y1 - y0) / count
    found: list[Array] = []
    bars = chance(rng, 0.4)
    for index in range(count):
        top = y0 + (index + 0.15) * step
        end = x0 + (x1 - x0) * rng.uniform(0.5, 1.0)
        if bars:
            found.append(out.box(x0, top, end, top + 0.4 * step))
        else:
            found += out.text(rng, words(rng, 14), x0, top, end, top + 0.7 * step)
    return found


def label(rng: Rng, width: float, height: float, bend: float = 0.0) -> tuple[Thing, Cell | None]:
    """A label of a size in pixels about the origin, and the room for an icon on it, if any.

    `bend` in pixels lowers the middle of its edges, as on a bottle seen from above.
    """
    a, b = width / 2, height / 2
    base = paint(rng, colour(rng, saturation=rng.random() ** 2, value=rng.uniform(0.3, 1)), "flat")
    base = replace(
        base, metal=0.0, pattern=pick(rng, ("plain", "plain", "plain", "gradient", "bands"))
    )
    sheet = out.box(-a, -b, a, b, min(a, b) * rng.random() * 0.3 if chance(rng, 0.4) else 0.0)
    parts = [Part((sheet,), base)]
    if chance(rng, 0.4):
        gap, wide = rng.uniform(1, 0.12 * height + 1), rng.uniform(0.8, 3)
        frame = [out.box(g - a, g - b, a - g, b - g) for g in (gap, gap + wide)]
        if min(a, b) > gap + wide + 2:
            parts.append(
                Part(tuple(frame), paint(rng, ink(rng, base.colour), "flat"), printed=True)
            )
    what = pick(rng, ("icon", "text", "both", "none"), (0.4, 0.25, 0.25, 0.1))
    print_ink = paint(rng, ink(rng, base.colour), "flat")
    room: Cell | None = None
    if what in ("text", "both") and height > 10:
        top = -0.75 * b if what == "text" else 0.25 * b
        found = lines(rng, -0.8 * a, top, 0.8 * a, 0.85 * b)
        if found:
            parts.append(Part(tuple(found), print_ink, printed=True))
    if what in ("icon", "both"):
        low = -0.85 * b
        high = 0.85 * b if what == "icon" else 0.15 * b
        room = Cell(0.0, 0.5 * (low + high), 1.6 * a, high - low)
    if bend:
        parts = [replace(p, outlines=tuple(_bent(o, a, bend) for o in p.outlines)) for p in parts]
    return Thing(tuple(parts), flat=True), room


def _bent(outline: Array, half: float, bend: float) -> Array:
    dense = np.concatenate(
        [
            np.linspace(p, q, 6, endpoint=False)
            for p, q in zip(outline, np.roll(outline, -1, 0), strict=True)
        ]
    )
    dense[:, 1] += bend * (1 - np.clip(dense[:, 0] / half, -1, 1) ** 2)
    return dense


def stick(
    canvas: Canvas, x: float, y: float, width: float, height: float,
    turn: float = 0.0, bend: float = 0.0, depth: int | None = None,
) -> int:  # fmt: skip
    """Draw a label with what is on it; returns the label's number."""
    rng = canvas.rng
    flat, room = label(rng, width, height, bend)
    # In pixels: one unit is one pixel at a size of two.
    number = draw(canvas, flat, x, y, 2.0, turn, rng.uniform(0, 2.5), depth)
    if number and room is not None:
        icon = plain(rng) if chance(rng, 0.4) else (letter(rng) if chance(rng, 0.2) else thing(rng))
        if chance(rng, 0.5):
            icon = printed(icon)
        placed = Cell(x, y, width, height, turn)
        cx, cy = placed.at(room.x / width, room.y / height)
        size = min(room.width, room.height) * rng.uniform(0.6, 0.95)
        if size >= 8:
            upright = turn + (0.0 if chance(rng, 0.5) else np.pi / 2 * rng.integers(4))
            draw(canvas, icon, cx, cy, size, upright, 0.0)
    return number


def printed(thing: Thing) -> Thing:
    """The thing as a flat print."""
    parts = tuple(
        replace(p, paint=replace(p.paint, relief="flat", metal=0.0, gloss=0.0)) for p in thing.parts
    )
    return replace(thing, parts=parts, opacity=1.0)


def card(canvas: Canvas, place: Cell) -> list[Cell]:
    """A card or a sheet that things lie on or are printed on."""
    rng = canvas.rng
    width, height, x, y = place.width, place.height, place.x, place.y
    turn = place.turn + (rng.normal(0, 0.15) if chance(rng, 0.6) else 0.0)
    sheet, _ = label(rng, width, height)
    sheet = replace(sheet, parts=sheet.parts[: 2 if chance(rng, 0.4) else 1])
    number = draw(canvas, sheet, x, y, 2.0, turn, rng.uniform(0.5, 6))
    return [Cell(x, y, 0.9 * width, 0.9 * height, turn)] if number else []


def parcel(canvas: Canvas, place: Cell) -> list[Cell]:
    """A closed box with one to four labels on it; no room for things."""
    rng = canvas.rng
    width, height = place.width, place.height
    coat = paint(rng, relief=pick(rng, ("bevel", "round", "flat")))
    coat = replace(coat, metal=coat.metal * 0.4, pattern=pick(rng, ("plain", "grain", "gradient")))
    shape = out.box(-width / 2, -height / 2, width / 2, height / 2, rng.uniform(0, 0.1) * width)
    turn = place.turn + (rng.normal(0, 0.15) if chance(rng, 0.6) else 0.0)
    body = Thing((Part((shape,), coat),), holder=True)
    if not draw(canvas, body, place.x, place.y, 2.0, turn, rng.uniform(8, 40)):
        return []
    at = -0.42
    for _ in range(int(rng.integers(1, 5))):
        tall = rng.uniform(0.12, 0.5)
        if at + tall > 0.44:
            break
        wide = rng.uniform(0.25, 0.8)
        across = rng.uniform(-0.44 + wide / 2, 0.44 - wide / 2) if chance(rng, 0.5) else 0.0
        x, y = Cell(place.x, place.y, width, height, turn).at(across, at + tall / 2)
        stick(canvas, x, y, wide * width, tall * height, turn)
        at += tall + rng.uniform(0.02, 0.15)
    return []


def board(canvas: Canvas, width: float, height: float) -> None:
    """A circuit-like board: printed lines are its texture, pads and blocks are instances."""
    rng = canvas.rng
    base = paint(rng, colour(rng, saturation=rng.uniform(0.3, 0.9), value=rng.uniform(0.15, 0.7)))
    base = replace(base, relief="flat", metal=0.0, pattern="plain")
    parts = [Part((out.box(-width / 2, -height / 2, width / 2, height / 2, 4),), base)]
    traces = []
    for _ in range(int(rng.integers(2, 14))):
        p = rng.uniform(-0.45, 0.45, 2) * (width, height)
        bend = p + rng.choice([(1, 0), (0, 1), (1, 1)]) * rng.uniform(-60, 60)
        end = bend + rng.choice([(1, 0), (0, 1), (1, -1)]) * rng.uniform(-60, 60)
        line = np.clip(np.array([p, bend, end]), *(np.array([[-0.46], [0.46]]) * (width, height)))
        traces.append(line)
    tone = replace(
        base, colour=np.clip(base.colour * rng.uniform(0.6, 1.5), 0, 1).astype(np.float32)
    )
    parts.append(Part(tuple(traces), tone, width=rng.uniform(1, 3), printed=True))
    x, y = SIDE / 2 + rng.normal(0, 10, 2)
    turn = rng.normal(0, 0.1) if chance(rng, 0.4) else 0.0
    if not draw(canvas, Thing(tuple(parts), flat=True), x, y, 2.0, turn, 5.0):
        return
    place = Cell(x, y, 0.9 * width, 0.9 * height, turn)
    pads = plain(rng)
    for _ in range(int(rng.integers(1, 4))):
        spot = Cell(
            *place.at(*rng.uniform(-0.25, 0.25, 2)),
            width * rng.uniform(0.2, 0.45), height * rng.uniform(0.2, 0.45), turn,
        )  # fmt: skip
        scatter(canvas, spot, [pads], int(rng.integers(3, 16)), 8, 20, pick(rng, ("grid", "row")))
    scatter(canvas, place, [thing(rng) for _ in range(3)], int(rng.integers(1, 8)), 18, 70, "free")


def page(canvas: Canvas) -> None:
    """Letters, digits and signs printed on paper that fills the picture."""
    rng = canvas.rng
    canvas.dark = 0.0
    tone = ink(rng, canvas.pixels.mean((0, 1)))
    kinds = [printed(letter(rng)) for _ in range(int(rng.integers(2, 12)))]
    if chance(rng, 0.7):
        kinds = [kind.recoloured([tone]) for kind in kinds]
    kinds = [replace(kind, upright=True) for kind in kinds]
    manner = pick(rng, ("grid", "row", "free"))
    whole = Cell(SIDE / 2, SIDE / 2, SIDE * rng.uniform(0.5, 0.95), SIDE * rng.uniform(0.3, 0.95))
    size = 16 if chance(rng, 0.4) else 30
    scatter(canvas, whole, kinds, int(rng.integers(4, 60)), size, 3 * size, manner)


def texture_text(canvas: Canvas) -> None:
    """Lines of text on the ground: no instances."""
    rng = canvas.rng
    x, y = rng.uniform(0, SIDE * 0.7, 2)
    found = []
    for index in range(int(rng.integers(1, 6))):
        top = y + 12 * index
        found += out.text(rng, words(rng, 30), x, top, x + rng.uniform(60, 200), top + 9)
    if found:
        share = fill(found, Window(0, 0, SIDE, SIDE)) * rng.uniform(0.15, 0.5)
        canvas.pixels += share[..., None] * (colour(rng) - canvas.pixels)
