"""AUPRO and pixel AUROC against a slow reference that follows the definition word by word."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label as skimage_label

from fmlad.errors import OptionError
from fmlad.metrics import aupro, auroc, pixel_auroc

Case = tuple[list[np.ndarray], list[np.ndarray]]


def regions_of(mask: np.ndarray) -> list[np.ndarray]:
    labels = skimage_label(mask, connectivity=2) if mask.dtype == bool else mask
    return [labels == number for number in np.unique(labels) if number > 0]


def slow_aupro(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], limit: float) -> float:
    """One threshold at a time; the area is cut off by walking along the curve."""
    thresholds = sorted({value for map_ in maps for value in map_.ravel().tolist()}, reverse=True)
    curve = [(0.0, 0.0)]
    for threshold in thresholds:
        overlaps, wrong, normal = [], 0, 0
        for map_, mask in zip(maps, masks, strict=True):
            called = map_ >= threshold
            overlaps += [called[region].mean() for region in regions_of(mask)]
            wrong += int(called[mask <= 0].sum())
            normal += int((mask <= 0).sum())
        curve.append((wrong / normal, float(np.mean(overlaps))))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            x1 = limit
        area += (x1 - x0) * (y0 + y1) / 2
        if x1 >= limit:
            break
    return area / limit


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.integers(2, 30))
    labelled = draw(st.booleans())
    maps, masks = [], []
    for _ in range(draw(st.integers(1, 3))):
        shape = rng.integers(2, 8, 2)
        mask = rng.integers(0, 4, shape) if labelled else rng.random(shape) < 0.3
        mask.flat[0], mask.flat[-1] = 0, 1  # a normal and an anomalous pixel, always
        maps.append((rng.integers(0, levels, shape) / levels).astype(np.float32))
        masks.append(mask)
    return maps, masks


LIMITS = st.sampled_from([0.05, 0.3, 0.5, 1.0])


@given(cases(), LIMITS)
@settings(deadline=None, max_examples=150)
def test_it_is_what_the_definition_says(case: Case, limit: float) -> None:
    assert aupro(*case, fpr_limit=limit) == pytest.approx(slow_aupro(*case, limit), abs=1e-6)


@given(cases(), LIMITS)
@settings(deadline=None, max_examples=40)
def test_only_the_order_of_map_values_matters(case: Case, limit: float) -> None:
    maps, masks = case
    bent = [np.exp(4 * map_) - 7 for map_ in maps]
    assert aupro(bent, masks, limit) == pytest.approx(aupro(maps, masks, limit), abs=1e-9)


@given(cases(), LIMITS)
@settings(deadline=None, max_examples=40)
def test_the_order_of_images_does_not_matter(case: Case, limit: float) -> None:
    maps, masks = case
    turned = aupro(maps[::-1], masks[::-1], limit)
    assert turned == pytest.approx(aupro(maps, masks, limit), abs=1e-9)


def square(size: int = 12) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[2:5, 3:7] = True
    return mask


@pytest.mark.parametrize("limit", [0.01, 0.3, 1.0])
def test_a_perfect_map_gives_one(limit: float) -> None:
    assert aupro([square().astype(np.float32)], [square()], limit) == pytest.approx(1)


@pytest.mark.parametrize("limit", [0.01, 0.3, 1.0])
def test_a_perfectly_wrong_map_gives_nothing(limit: float) -> None:
    # At a false positive rate of 1 the curve jumps from 0 to 1: no area.
    assert aupro([-square().astype(np.float32)], [square()], limit) == pytest.approx(0)


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_a_constant_map_gives_the_diagonal(limit: float) -> None:
    assert aupro([np.full((12, 12), 3.0)], [square()], limit) == pytest.approx(limit / 2)


def test_regions_weigh_the_same_however_large() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[0, 0] = True  # 1 px
    mask[8:18, 5:15] = True  # 100 px
    only_small, only_large = np.zeros((20, 20)), np.zeros((20, 20))
    only_small[0, 0] = 1
    only_large[8:18, 5:15] = 1
    small, large = aupro([only_small], [mask]), aupro([only_large], [mask])
    assert small == pytest.approx(large)
    assert 0.5 < small < 0.7


def test_touching_labels_are_two_regions_and_a_boolean_mask_one() -> None:
    labels = np.zeros((10, 10), dtype=np.int32)
    labels[4, 2:5], labels[4, 5:6] = 1, 2  # 3 px and 1 px, side by side
    map_ = np.zeros((10, 10))
    map_[4, 5] = 1  # only the small one is seen
    # PRO jumps to the share that is seen, then runs straight to (1, 1).
    for mask, seen in ((labels, 1 / 2), (labels > 0, 1 / 4)):
        wanted = seen + (1 - seen) * 0.15
        assert aupro([map_], [mask]) == pytest.approx(wanted)


def test_corners_join_pixels_of_a_boolean_mask() -> None:
    mask = np.eye(6, dtype=bool)
    map_ = np.zeros((6, 6))
    map_[0, 0] = 1
    seen = 1 / 6  # one region of six pixels; were it six regions, the same: so cut one off
    assert aupro([map_], [mask], 1.0) == pytest.approx(seen + (1 - seen) / 2)
    mask[5, 5], mask[5, 3] = False, True  # (4, 4) and (5, 3) still touch at a corner
    alone = mask.copy()
    alone[0, 5] = True  # now a second region of one pixel, not seen
    assert aupro([map_], [mask], 1.0) == pytest.approx(seen + (1 - seen) / 2)
    seen = (1 / 6 + 0) / 2
    assert aupro([map_], [alone], 1.0) == pytest.approx(seen + (1 - seen) / 2)


def test_the_same_label_in_two_images_is_two_regions() -> None:
    labels = np.zeros((4, 4), dtype=int)
    labels[0, :2] = 1
    seen, blind = (labels > 0).astype(float), np.zeros((4, 4))
    got = aupro([seen, blind], [labels, labels])
    assert got == pytest.approx(0.5 + 0.5 * 0.15)


def test_images_of_different_sizes_go_together() -> None:
    small, large = square(8), square(15)
    maps = [small.astype(np.float32), large.astype(np.float32)]
    assert aupro(maps, [small, large]) == pytest.approx(1)


def test_images_without_a_region_only_count_as_normal() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.random((9, 9)), rng.random((9, 9))]
    masks = [square(9), np.zeros((9, 9), dtype=bool)]
    assert aupro(maps, masks) == pytest.approx(slow_aupro(maps, masks, 0.3))


def test_a_stack_is_as_good_as_a_list_and_nothing_is_changed() -> None:
    rng = np.random.default_rng(1)
    maps, masks = rng.random((3, 9, 9)), np.stack([square(9)] * 3)
    kept = maps.copy()
    got = aupro(maps, masks)  # type: ignore[arg-type]
    assert type(got) is float
    assert got == aupro(list(maps), list(masks))
    assert (maps == kept).all()


def test_close_values_stay_apart() -> None:
    map_ = np.ones((12, 12))
    map_[square()] += 1e-9
    assert aupro([map_], [square()]) == pytest.approx(1)


@given(cases())
@settings(deadline=None, max_examples=60)
def test_pixel_auroc_is_that_of_all_pixels_in_a_row(case: Case) -> None:
    maps, masks = case
    truth = np.concatenate([mask.ravel() > 0 for mask in masks])
    wanted = auroc(truth, np.concatenate([map_.ravel() for map_ in maps]))
    got = pixel_auroc(maps, masks)
    assert type(got) is float
    assert got == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        ([MASK_ALL := np.ones((2, 2), bool)], "pixel AUROC needs .* one normal pixel"),
        ([MASK_ALL & False], "at least one anomalous region"),
        ([MASK_ALL[:1]], r"its mask \(1, 2\)"),
        ([MASK_ALL, MASK_ALL], "1 maps and 2 masks"),
    ],
)
def test_pixel_auroc_refuses_too(masks: Any, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        pixel_auroc([np.zeros((2, 2))], masks)


MAP, MASK = np.zeros((4, 4)), np.eye(4, dtype=bool)


@pytest.mark.parametrize(
    ("maps", "masks", "limit", "says"),
    [
        ([MAP], [MASK], 0.0, "fpr_limit"),
        ([MAP], [MASK], -0.1, "fpr_limit"),
        ([MAP], [MASK], 1.01, "fpr_limit"),
        ([MAP], [MASK], np.nan, "fpr_limit"),
        ([MAP, MAP], [MASK], 0.3, "2 maps and 1 masks"),
        ([], [], 0.3, "at least one map"),
        ([MAP], [MASK[:3]], 0.3, r"map 0 has shape \(4, 4\), its mask \(3, 4\)"),
        ([MAP, MAP[None]], [MASK, MASK[None]], 0.3, "map 1"),
        ([MAP * np.nan], [MASK], 0.3, "map 0 holds NaN"),
        ([MAP - np.inf], [MASK], 0.3, "map 0 holds NaN or infinity"),
        ([MAP], [MASK & False], 0.3, "at least one anomalous region"),
        ([MAP], [MASK | True], 0.3, "one normal pixel"),
    ],
)
def test_what_cannot_be_measured_is_refused(maps: Any, masks: Any, limit: float, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        aupro(maps, masks, fpr_limit=limit)
