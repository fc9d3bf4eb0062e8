"""Procedural pictures: their truth is consistent and the same for a seed."""

import numpy as np
import pytest

from tools.objects.pictures import SIDE, Picture, picture
from tools.objects.pictures.canvas import Canvas, Window, fill
from tools.objects.pictures.fittings import fit
from tools.objects.pictures.layout import Cell
from tools.objects.pictures.outlines import box, circle
from tools.objects.pictures.surface import paint
from tools.objects.pictures.things import Part, Thing, draw

SEEDS = range(40)


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [picture(seed) for seed in SEEDS]


def numbers(layer: np.ndarray) -> set[int]:
    return set(np.unique(layer).tolist()) - {0}


def test_same_seed_same_picture(pictures: list[Picture]) -> None:
    for seed in (3, 17, 31):
        again = picture(seed)
        assert (again.pixels == pictures[seed].pixels).all()
        assert (again.layers == pictures[seed].layers).all()
        assert (again.holders, again.stuff) == (pictures[seed].holders, pictures[seed].stuff)
    assert (pictures[0].pixels != pictures[1].pixels).any()


def test_shapes(pictures: list[Picture]) -> None:
    for made in pictures:
        assert made.pixels.shape == (SIDE, SIDE, 3)
        assert made.layers.shape == (3, SIDE, SIDE)
        assert made.pixels.dtype == made.layers.dtype == np.uint8
        assert made.layers.max() <= 250


def test_layers_nest(pictures: list[Picture]) -> None:
    for made in pictures:
        found = [numbers(layer) for layer in made.layers]
        assert sum(map(len, found)) == len(set().union(*found))
        for outer, inner in zip(made.layers, made.layers[1:], strict=False):
            assert not ((inner > 0) & (outer == 0)).any()
            for number in numbers(inner):
                below = numbers(outer[inner == number])
                assert len(below) == 1, "an instance lies on one other"
                assert below <= set(made.holders)


def test_holders_and_stuff_are_there_and_nothing_is_a_speck(pictures: list[Picture]) -> None:
    for made in pictures:
        areas = sum(np.bincount(layer.ravel(), minlength=256) for layer in made.layers)
        there = set(np.flatnonzero(areas).tolist()) - {0}
        assert set(made.holders) <= there
        assert set(made.stuff) <= there
        assert not set(made.holders) & set(made.stuff)
        assert all(areas[number] >= 25 for number in there)


def test_the_kinds_are_all_made(pictures: list[Picture]) -> None:
    assert sum(bool(made.holders) for made in pictures) >= 10
    assert any(made.stuff for made in pictures)
    assert any(made.layers[2].any() for made in pictures)


def _canvas(seed: int = 0) -> Canvas:
    return Canvas(np.random.default_rng(seed), np.full((SIDE, SIDE, 3), 0.5, np.float32))


def test_a_hole_belongs_to_its_thing() -> None:
    canvas = _canvas()
    rng = canvas.rng
    washer = Thing((Part((circle(), circle(a=0.6)), paint(rng)),))
    number = draw(canvas, washer, 160.0, 160.0, 100.0)
    assert canvas.layers[0, 160, 160] == number
    assert (canvas.layers[0] == number).sum() == pytest.approx(np.pi * 50**2, rel=0.03)


def test_what_lies_on_a_holder_is_one_layer_below_and_what_sticks_out_is_not() -> None:
    canvas = _canvas()
    tray = Thing((Part((box(-1, -1, 1, 1),), paint(canvas.rng)),), holder=True)
    disc = Thing((Part((circle(),), paint(canvas.rng)),))
    below = draw(canvas, tray, 160.0, 160.0, 200.0, turn=0.0)
    inside = draw(canvas, disc, 120.0, 160.0, 40.0)
    across = draw(canvas, disc, 260.0, 160.0, 40.0)
    canvas.finish()
    assert canvas.layers[:, 160, 120].tolist() == [below, inside, 0]
    assert canvas.layers[:, 160, 258].tolist() == [across, 0, 0]
    assert canvas.holders == {below}


def test_fittings_lie_in_their_cell_and_are_seen() -> None:
    plain = np.full((SIDE, SIDE, 3), 0.6, np.float32)
    for seed in range(8):
        canvas = Canvas(np.random.default_rng(seed), plain.copy())
        fit(canvas, Cell(160, 160, 240, 120))
        made = canvas.layers[0] > 0
        assert len(numbers(canvas.layers[0])) == canvas.count > 0
        assert not made[:, :24].any()
        assert not made[:84].any()
        assert np.abs(canvas.pixels - plain)[made].mean() > 0.05


def test_a_circle_has_its_area() -> None:
    mask = fill([circle(40.0, 40.0, 30.0)], Window(0, 0, 80, 80))
    assert mask.sum() == pytest.approx(np.pi * 900, rel=0.05)
    assert mask[:, :40].sum() == pytest.approx(mask[:, 40:].sum(), rel=0.02)
