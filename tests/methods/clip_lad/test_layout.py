"""Places and sizes against the shots: what is odd, what is not, and where nothing can be said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fmlad.methods.clip_lad.layout import Layout
from fmlad.objects.instances import GRID, Instance, PartMap

Point = tuple[float, float]
EMPTY = np.zeros((GRID, GRID), np.int64)
GRIDDED = [((x + 0.5) / 5, (y + 0.5) / 3) for y in range(3) for x in range(5)]


def image(places: list[Point], parts: list[int], sides: list[float], seed: int) -> PartMap:
    """Squares of given sides about given centres, each moved a little."""
    rng = np.random.default_rng(seed)
    found = []
    for (x, y), part, side in zip(places, parts, sides, strict=True):
        x, y = x + rng.normal(0, 0.006), y + rng.normal(0, 0.006)
        side *= float(np.exp(rng.normal(0, 0.02)))
        half = side / 2
        found.append(Instance(part, (x - half, y - half, x + half, y + half), side * side))
    return PartMap(EMPTY, tuple(found))


def tray(seed: int, change: Callable[[list[Point], list[float]], None] | None = None) -> PartMap:
    """Rows of one class each, moved as a whole as a tray is."""
    rng = np.random.default_rng(seed)
    places, sides = list(GRIDDED), [0.08] * 15
    if change is not None:
        change(places, sides)
    dx, dy = rng.uniform(-0.04, 0.04, 2)
    zoom = rng.uniform(0.95, 1.05)
    moved = [((x - 0.5) * zoom + 0.5 + dx, (y - 0.5) * zoom + 0.5 + dy) for x, y in places]
    return image(moved, [1 + row // 5 for row in range(15)], sides, seed)


def total(layout: Layout, seen: PartMap) -> float:
    return sum(one.surprise for one in layout.odd(seen))


@pytest.fixture(scope="module")
def layout() -> Layout:
    return Layout([tray(seed) for seed in range(4)], 3)


def test_another_normal_image_is_hardly_odd(layout: Layout) -> None:
    assert max(total(layout, tray(seed)) for seed in range(10, 20)) < 3


def test_an_object_in_its_neighbours_place_is_misplaced(layout: Layout) -> None:
    def doubled(places: list[Point], sides: list[float]) -> None:
        places[7] = (places[8][0] - 0.05, places[8][1])

    seen = tray(30, doubled)
    found = layout.odd(seen)
    assert [one.kind for one in found if one.surprise > 4] == ["misplaced"]
    assert found[0].part == 2
    assert found[0].box == seen.instances[7].box


def test_an_object_of_another_size_is_resized(layout: Layout) -> None:
    def large(places: list[Point], sides: list[float]) -> None:
        sides[3] *= 1.5

    seen = tray(31, large)
    (found,) = [one for one in layout.odd(seen) if one.kind == "resized"]
    assert found.surprise > 3
    assert found.part == 1
    assert found.box == seen.instances[3].box
    assert found.expected == pytest.approx(0.0064, rel=0.2)
    assert found.observed == seen.instances[3].area


def heap(seed: int) -> PartMap:
    places = [tuple(p) for p in np.random.default_rng(seed).uniform(0.1, 0.9, (6, 2))]
    return image(places, [1, 1, 1, 2, 2, 2], [0.1] * 6, seed)  # type: ignore[arg-type]


def test_where_objects_lie_freely_no_place_is_odd() -> None:
    layout = Layout([heap(seed) for seed in range(4)], 2)
    assert all(one.kind == "resized" for seed in range(10) for one in layout.odd(heap(100 + seed)))


def test_a_single_shot_says_nothing_about_places() -> None:
    def doubled(places: list[Point], sides: list[float]) -> None:
        places[7] = (places[8][0] - 0.05, places[8][1])

    assert all(one.kind == "resized" for one in Layout([tray(0)], 3).odd(tray(30, doubled)))


def test_a_wide_picture_may_be_turned() -> None:
    def turned(angle: float, seed: int) -> PartMap:
        c, s = np.cos(angle), np.sin(angle)
        # Twice as wide as high: a turn is one of pixels, not of shares.
        centred = [(2 * (x - 0.5) * 0.7, (y - 0.5) * 0.7) for x, y in GRIDDED]
        places = [((c * x - s * y) / 2 + 0.5, s * x + c * y + 0.5) for x, y in centred]
        return image(places, [1 + row // 5 for row in range(15)], [0.06] * 15, seed)

    shots = [turned(angle, seed) for seed, angle in enumerate((-0.2, -0.05, 0.1, 0.2))]
    layout = Layout(shots, 3, 2.0)
    assert max(total(layout, turned(0.15, seed)) for seed in range(10, 15)) < 3


def test_empty_images_are_taken(layout: Layout) -> None:
    nothing = PartMap(EMPTY, ())
    assert layout.odd(nothing) == []
    assert Layout([nothing, nothing], 3).odd(tray(0)) == []
