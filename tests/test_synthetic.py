"""Altered copies of normal images: only what they say is changed, and it can be seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmlad.synthetic import DAMAGES, REARRANGEMENTS, damaged, erased, grown, rearranged, shifted


def tray() -> tuple[np.ndarray, list[np.ndarray]]:
    """Four discs of two colours on textured ground, and their masks."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(120, 6, (160, 200, 3)).clip(0, 255).astype(np.uint8)
    y, x = np.mgrid[0:160, 0:200]
    parts = []
    for index, (row, column) in enumerate([(40, 50), (40, 150), (120, 50), (120, 150)]):
        disc = (y - row) ** 2 + (x - column) ** 2 <= 14**2
        pixels[disc] = (200, 60, 40) if index % 2 else (40, 60, 200)
        parts.append(disc)
    return pixels, parts


PIXELS, PARTS = tray()


@pytest.mark.parametrize("kind", DAMAGES)
@given(seed=st.integers(0, 10_000))
def test_damage_is_visible_small_and_where_it_says(kind: str, seed: int) -> None:
    product = np.logical_or.reduce(PARTS)
    copy = damaged(kind, PIXELS, product, np.random.default_rng(seed))
    assert copy.kind == kind
    assert (copy.pixels == PIXELS)[~grown(copy.changed, PIXELS)].all()
    assert 0 < copy.changed.mean() < 0.02
    difference = np.abs(copy.pixels.astype(int) - PIXELS).max(axis=2)
    assert difference[copy.changed].max() > 25


@pytest.mark.parametrize("kind", REARRANGEMENTS)
@given(seed=st.integers(0, 10_000), index=st.integers(0, 3))
def test_rearranging_touches_nothing_else(kind: str, seed: int, index: int) -> None:
    copy = rearranged(kind, PIXELS, PARTS, index, np.random.default_rng(seed))
    if copy is None:
        assert kind in ("extra", "misplaced")  # there may be no free place
        return
    for row, part in enumerate(PARTS):
        if row != index:
            assert (copy.pixels == PIXELS)[part].all()
    part = PARTS[index]
    if kind in ("missing", "misplaced"):
        # Ground is left where the part was, matched to what is around it.
        assert np.abs(copy.pixels[part].mean(axis=0) - 120).max() < 12
    if kind in ("extra", "misplaced"):
        new = copy.changed & ~part
        assert new.sum() == part.sum()
        colour = PIXELS[part].mean(axis=0)
        assert np.abs(np.median(copy.pixels[new], axis=0) - colour).max() < 12
    if kind == "recoloured":
        assert (copy.changed == part).all()
        assert np.abs(copy.pixels[part].astype(int) - PIXELS[part]).max() > 60


def test_the_same_generator_gives_the_same_copy() -> None:
    one, two = (
        rearranged("misplaced", PIXELS, PARTS, 0, np.random.default_rng(3)) for _ in range(2)
    )
    assert one is not None
    assert two is not None
    assert (one.pixels == two.pixels).all()


def test_a_full_picture_has_no_free_place() -> None:
    full = [np.zeros((40, 40), bool) for _ in range(2)]
    full[0][:, :20] = full[1][:, 20:] = True
    pixels = np.full((40, 40, 3), 90, np.uint8)
    assert rearranged("extra", pixels, full, 0, np.random.default_rng(0)) is None
    # Nothing to copy ground from: filled smoothly, without an error.
    filled = rearranged("missing", pixels, full, 0, np.random.default_rng(0))
    assert filled is not None


def test_a_hole_in_even_ground_disappears() -> None:
    y, x = np.mgrid[0:80, 0:80]
    ramp = np.repeat((60 + x + y // 2)[..., None], 3, axis=2).astype(np.uint8)
    hole = (y - 40) ** 2 + (x - 40) ** 2 < 100
    marked = ramp.copy()
    marked[hole] = 255
    found = erased(marked, hole, hole, np.random.default_rng(0))
    assert np.abs(found.astype(int) - ramp).max() <= 4


@given(st.integers(-50, 50), st.integers(-50, 50))
def test_shifting_there_and_back_loses_the_edge_alone(down: int, right: int) -> None:
    mask = np.ones((30, 40), bool)
    moved = shifted(mask, (down, right))
    assert moved.sum() == max(0, 30 - abs(down)) * max(0, 40 - abs(right))
