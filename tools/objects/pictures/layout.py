"""Where things go: cells of a holder or the whole picture, filled in many manners."""

from dataclasses import dataclass

import numpy as np

from tools.objects.pictures.canvas import SIDE, Canvas, Window, fill
from tools.objects.pictures.grains import halves, heap
from tools.objects.pictures.noise import Array, chance, log_uniform, pick
from tools.objects.pictures.things import Thing, draw


@dataclass(frozen=True)
class Cell:
    """A room for things: middle, width and height in pixels, turn in radians, its outline."""

    x: float
    y: float
    width: float
    height: float
    turn: float = 0.0
    outline: Array | None = None

    def at(self, across: float, down: float) -> tuple[float, float]:
        """The canvas' x and y of a place, each in -0.5..0.5 of the room."""
        a, b = across * self.width, down * self.height
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        return float(self.x + a * cos - b * sin), float(self.y + a * sin + b * cos)

    def region(self) -> Array:  # (SIDE, SIDE) float32
        outline = self.outline
        if outline is None:
            corners = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
            outline = np.array([self.at(a, b) for a, b in corners])
        return fill([outline], Window(0, 0, SIDE, SIDE))


EVERYWHERE = Cell(SIDE / 2, SIDE / 2, SIDE, SIDE)
MANNERS = ("free", "free", "touch", "over", "grid", "row")


def _choose(canvas: Canvas, kinds: list[Thing]) -> Thing:
    return kinds[int(canvas.rng.integers(len(kinds)))]


def scatter(
    canvas: Canvas,
    cell: Cell,
    kinds: list[Thing],
    count: int,
    low: float,
    high: float,
    manner: str | None = None,
) -> None:
    """Put things of about one size between low and high pixels into a cell."""
    rng = canvas.rng
    manner = manner or pick(rng, MANNERS)
    size, jitter = log_uniform(rng, low, high), float(rng.choice([0.03, 0.1, 0.4]))
    if manner in ("grid", "row"):
        _grid(canvas, cell, kinds, count, size, 1 if manner == "row" else None)
        return
    placed: list[tuple[float, float, float]] = []
    for _ in range(count):
        thing = _choose(canvas, kinds)
        own = size * float(np.exp(rng.normal(0, jitter)))
        reach = own * (0.5 + 0.5 * thing.slim)
        for _ in range(10):
            if manner == "touch" and placed and chance(rng, 0.8):
                px, py, other = placed[int(rng.integers(len(placed)))]
                turn, away = rng.uniform(0, 2 * np.pi), 0.5 * (other + reach) * rng.uniform(0.7, 1)
                x, y = px + away * np.cos(turn), py + away * np.sin(turn)
            else:
                free_x = max(0.0, 1 - 0.85 * own / cell.width)
                free_y = max(0.0, 1 - 0.85 * own / cell.height)
                if cell is EVERYWHERE:
                    free_x = free_y = 1.0
                x, y = cell.at(*(rng.uniform(-0.5, 0.5, 2) * (free_x, free_y)))
            near = {"touch": 0.6, "free": 0.95}.get(manner, 0.0)
            if any(np.hypot(x - a, y - b) < near * 0.5 * (reach + c) for a, b, c in placed):
                continue
            if draw(canvas, thing, x, y, own):
                placed.append((x, y, reach))
            break


def _grid(
    canvas: Canvas, cell: Cell, kinds: list[Thing], count: int, size: float, rows: int | None
) -> None:
    rng = canvas.rng
    if rows is None:
        rows = max(1, round(np.sqrt(count * cell.height / max(1.0, cell.width))))
    columns = max(1, round(count / rows))
    across, down = cell.width / columns, cell.height / rows
    turn = cell.turn + (rng.uniform(0, 2 * np.pi) if chance(rng, 0.5) else 0.0)
    missing, wobble = rng.random() * 0.15, rng.uniform(0, 0.06)
    own = min(size, 0.95 * min(across, down) if rows > 1 else 0.95 * across)
    if own < 8:
        return
    dy = rng.uniform(-0.25, 0.25) if rows == 1 and cell is EVERYWHERE else 0.0
    for row in range(rows):
        for column in range(columns):
            if chance(rng, missing):
                continue
            jx, jy = rng.normal(0, wobble, 2)
            x, y = cell.at((column + 0.5 + jx) / columns - 0.5, (row + 0.5 + jy) / rows - 0.5 + dy)
            draw(canvas, _choose(canvas, kinds), x, y, own, turn + rng.normal(0, wobble))


def one(canvas: Canvas, cell: Cell, thing: Thing) -> None:
    """One thing that fits, along the cell's longer side or turned at will."""
    rng = canvas.rng
    short, long = sorted((cell.width, cell.height))
    if chance(rng, 0.6) and thing.slim < 0.8:
        turn = cell.turn + (0.0 if cell.width >= cell.height else np.pi / 2)
        turn += np.pi * rng.integers(2) + rng.normal(0, 0.08)
        size = min(long, short / max(thing.slim, 0.05)) * rng.uniform(0.6, 0.93)
    else:
        turn, size = rng.uniform(0, 2 * np.pi), short * rng.uniform(0.5, 0.93)
    x, y = cell.at(*rng.normal(0, 0.02, 2))
    draw(canvas, thing, x, y, size, turn)


def heaps(canvas: Canvas, cell: Cell) -> None:
    """Grains that fill a cell, half of it, or two sorts side by side."""
    rng = canvas.rng
    region = cell.region()
    manner = pick(rng, ("full", "full", "half", "two", "spot"))
    if manner == "full":
        heap(canvas, region, 2.0)
        return
    if manner == "spot":
        ty, tx = np.mgrid[:SIDE, :SIDE].astype(np.float32)
        x, y = cell.at(*rng.uniform(-0.25, 0.25, 2))
        reach = min(cell.width, cell.height) * rng.uniform(0.25, 0.5)
        heap(canvas, region * (np.hypot(tx - x, ty - y) < reach), 4.0)
        return
    first, second = halves(rng, region)
    heap(canvas, first, 3.0)
    if manner == "two":
        heap(canvas, second, 3.0)


def stock(canvas: Canvas, cell: Cell, kinds: list[Thing], crowd: float) -> None:
    """Fill one cell: empty, one thing, several, or grains."""
    rng = canvas.rng
    short = min(cell.width, cell.height)
    what = pick(rng, ("none", "one", "some", "heap"), (0.12, 0.43, 0.32, 0.16))
    if what == "one":
        one(canvas, cell, _choose(canvas, kinds))
    elif what == "some":
        many = int(min(30, 1 + rng.geometric(1 / crowd)))
        scatter(canvas, cell, kinds, many, max(9, 0.15 * short), max(10, 0.7 * short))
    elif what == "heap" and short > 25:
        heaps(canvas, cell)
        if chance(rng, 0.15):
            one(canvas, cell, _choose(canvas, kinds))
