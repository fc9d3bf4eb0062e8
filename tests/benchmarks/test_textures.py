"""Textures with drawn damage, and how features are compared on them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.texture_pictures import KINDS, PHOTOGRAPHS, SIDE, SIZES, damage
from benchmarks.textures import (
    REPORTED,
    TUNING,
    aupro_again,
    measure,
    regions,
    remembering,
    summary,
    textures,
)
from fmlad import Detector
from fmlad.metrics import aupro


def test_photographs_that_tune_do_not_report() -> None:
    assert set(TUNING) | set(REPORTED) == set(PHOTOGRAPHS)
    assert not set(TUNING) & set(REPORTED)


@pytest.mark.parametrize("name", list(PHOTOGRAPHS))
def test_images_follow_from_the_world_and_masks_say_what_was_drawn(name: str) -> None:
    pool, normal, damaged = textures(name, 1, 2, 3)
    again = textures(name, 1, 2, 3)
    assert all(
        np.array_equal(a, b) for a, b in zip(pool + normal, again[0] + again[1], strict=True)
    )
    assert not np.array_equal(pool[0], textures(name, 2, 2, 3)[0][0])
    for pixels, mask in damaged:
        assert pixels.shape == (SIDE, SIDE, 3)
        assert pixels.dtype == np.uint8
        assert mask.shape == (SIDE, SIDE)
        places = np.argwhere(mask)
        assert SIZES[0] / 2 <= np.ptp(places, axis=0).max() / SIDE <= 2 * SIZES[1]


def test_shots_and_tests_come_from_different_parts_of_the_photograph() -> None:
    for photograph in PHOTOGRAPHS.values():
        (left, top, right, bottom), other = photograph.parts
        assert other[0] >= right or other[1] >= bottom
        assert min(right - left, bottom - top, other[2] - other[0], other[3] - other[1]) > (
            1.11 * photograph.crop  # with the largest zoom and turn
        )


@pytest.mark.parametrize("kind", KINDS)
def test_damage_changes_its_mask_and_little_else(kind: str) -> None:
    rng = np.random.default_rng(0)
    ground = rng.uniform(80, 160, (64, 96, 3))
    for _ in range(5):
        changed, mask = damage(ground, kind, rng)
        change = np.abs(changed - ground).mean(-1)
        assert change[mask].mean() > 10
        assert change[~mask].mean() < 1
        assert (changed >= 0).all()
        assert (changed <= 255).all()


def test_aupro_of_images_drawn_once_each_is_aupro() -> None:
    rng = np.random.default_rng(0)
    masks = [np.zeros((40, 40), bool) for _ in range(6)]
    for mask in masks[3:]:
        mask[10:20, 10:20] = True
    maps = [(rng.normal(size=(40, 40)) + 2 * mask).astype(np.float32) for mask in masks]
    drawn = aupro_again(maps, [regions(mask) for mask in masks], np.ones((6, 2)))
    assert drawn == pytest.approx([aupro(maps, masks, 0.05)] * 2, abs=0.005)
    one, copies = np.zeros((6, 1)), [maps[0], maps[3], maps[3]]
    one[[0, 3]] = [[1.0], [2.0]]
    expected = aupro(copies, [masks[0], masks[3], masks[3]], 0.05)
    assert aupro_again(maps, [regions(mask) for mask in masks], one) == pytest.approx(
        [expected], abs=0.02
    )


def test_remembered_answers_are_the_same() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)

    def maps() -> list[np.ndarray]:
        shots = list(pictures[:4])
        detector = Detector.from_shots(
            shots, banks=("patch",), backbones={"feature_extractor": "builtin:handmade@1"}
        )
        return [detector.predict(pixels).anomaly_map for pixels in pictures[4:]]

    expected = maps()
    with remembering():
        first, again = maps(), maps()
    for one in (first, again):
        for found, map_ in zip(one, expected, strict=True):
            assert np.array_equal(found, map_)


@pytest.mark.slow
def test_features_are_compared_with_intervals() -> None:
    cells = measure("builtin:handmade@1", "gravel", 1, draws=2, tests=3)
    cell = cells[4]
    assert cell.aurocs.shape == (2,)
    assert cell.aupro_draws.shape == cell.auroc_draws.shape == (2, 1000)
    row = summary([cell], [cell])
    assert row["AUROC, difference"] == row["AUPRO@0.05, difference"] == [0, 0, 0]
    assert row["AUROC, worst draw"] == pytest.approx(min(cell.aurocs), abs=1e-3)
