"""sPRO against the slow reference, and against cases whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlad.errors import OptionError
from fmlad.metrics import aupro, saturation_area, spro, spro_curve
from fmlad.metrics.summary import SPRO_LIMITS
from tests.metrics import reference

Case = tuple[list[np.ndarray], list[np.ndarray], list[list[float]]]
LIMITS = st.sampled_from([*SPRO_LIMITS, 0.42])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Ties, constant maps, overlapping regions, good images, saturations below the area."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 2, 5, 30, 10**6]))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.float16]))
    maps, regions, saturations = [], [], []
    for index in range(draw(st.integers(1, 4))):
        shape = tuple(int(side) for side in rng.integers(2, 8, 2))
        count = draw(st.integers(index == 0, 3))
        own = rng.random((count, *shape)) < rng.uniform(0.1, 0.6)
        own[:, -1, -1] = True  # no region is empty, and all overlap here
        own[:, 0, 0] = False  # a normal pixel
        areas = own.sum(axis=(1, 2))
        whole = draw(st.booleans())
        maps.append((rng.integers(-levels, levels, shape) / levels).astype(dtype))
        regions.append(own)
        saturations.append(
            [float(a) if whole else float(rng.choice([1, 1.5, 0.5, (a + 1) // 2])) for a in areas]
        )
        saturations[-1] = [min(s, float(a)) for s, a in zip(saturations[-1], areas, strict=True)]
    return maps, regions, saturations


@given(cases(), LIMITS)
@settings(deadline=None, max_examples=250)
def test_it_is_what_the_definition_says(case: Case, limit: float) -> None:
    got = spro(*case, fpr_limit=limit)
    assert type(got) is float
    assert got == pytest.approx(reference.slow_spro(*case, limit), abs=1e-9)


@given(cases())
@settings(deadline=None, max_examples=60)
def test_every_point_of_the_curve_is_what_its_threshold_gives(case: Case) -> None:
    curve = spro_curve(*case)
    assert (curve.fpr[0], curve.spro[0], curve.thresholds[0]) == (0, 0, np.inf)
    assert (curve.fpr[-1], curve.spro[-1]) == (1, 1)
    assert (np.diff(curve.thresholds) < 0).all()
    assert (curve.slack == 0).all()
    # A threshold may be the next number of the maps' own precision: compare as they are.
    for fpr, overlap, threshold in zip(curve.fpr, curve.spro, curve.thresholds, strict=True):
        wanted = reference.point([m.astype(float) for m in case[0]], *case[1:], threshold)
        assert (fpr, overlap) == pytest.approx(wanted, abs=1e-9)


@given(cases(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_order_of_images_and_monotone_maps_do_not_matter(case: Case, random: Any) -> None:
    wanted = spro(*case)
    order = list(range(len(case[0])))
    random.shuffle(order)
    maps, regions, saturations = ([part[i] for i in order] for part in case)
    bent = [np.exp(map_.astype(float)) - 3 for map_ in maps]
    assert spro(bent, regions, saturations) == pytest.approx(wanted, abs=1e-9)


def strip() -> Case:
    """One region of 4 pixels in a row of 14, the rest normal."""
    region = np.zeros((1, 1, 14), dtype=bool)
    region[..., :4] = True
    return [np.zeros((1, 14), np.float32)], [region], [[2]]


def test_saturation_is_enough() -> None:
    (map_,), regions, _ = strip()
    map_[0, :2] = 1  # two of four pixels
    assert spro([map_], regions, [[2]]) == pytest.approx(1)
    # Half found, then a straight line to (1, 1).
    assert spro([map_], regions, [[4]], 0.5) == pytest.approx(0.5 + 0.5 * 0.25)
    assert spro([map_], regions, [[4]], 0.5) == pytest.approx(aupro([map_], [regions[0][0]], 0.5))


def test_a_pixel_in_another_region_is_no_false_positive_and_counts_in_both() -> None:
    (map_,), regions, _ = strip()
    both = np.concatenate([regions[0], np.roll(regions[0], 2, axis=-1)])  # share two pixels
    map_[0, 2:4] = 2
    map_[0, 4:6] = 1  # in the second alone
    curve = spro_curve([map_], [both], [[2, 4]])
    at = dict(zip(curve.thresholds.tolist(), curve.spro.tolist(), strict=True))
    assert at[2.0] == pytest.approx((1 + 0.5) / 2)
    assert at[1.0] == pytest.approx(1)
    assert curve.fpr[curve.thresholds == 1.0] == 0


def test_normal_pixels_of_good_images_count() -> None:
    maps, regions, saturations = strip()
    maps[0][0, :4] = 1
    good = np.full((1, 10), 2, np.float32)  # ten false positives first, of twenty normal pixels
    for none in (np.zeros((0, 1, 10), dtype=bool), []):
        curve = spro_curve([*maps, good], [*regions, none], [*saturations, []])  # type: ignore[list-item]
        assert curve.area(0.5) == pytest.approx(0)
        assert curve.area(1.0) == pytest.approx(0.5)


def test_every_region_of_the_data_set_weighs_the_same() -> None:
    many = np.eye(3, dtype=bool)[:, None, :]  # three regions of a pixel in one image
    maps = [np.array([[1.0, 1, 1, 0]]), np.array([[0.0, 0, 0, 0]])]
    first = np.concatenate([many, np.zeros((3, 1, 1), bool)], axis=2)
    second = np.array([[[True, False, False, False]]])
    curve = spro_curve(maps, [first, second], [[1, 1, 1], [1]])
    assert curve.spro[curve.fpr == 0].max() == pytest.approx(3 / 4)


@pytest.mark.parametrize("limit", SPRO_LIMITS)
def test_a_constant_map_gives_the_diagonal_and_a_perfect_one_gives_one(limit: float) -> None:
    maps, regions, saturations = strip()
    assert spro(maps, regions, [[4]], limit) == pytest.approx(limit / 2)
    # Tied with all, saturation does not help: the first threshold takes everything.
    assert spro(maps, regions, saturations, limit) == pytest.approx(limit / 2)
    assert spro([regions[0][0].astype(float)], regions, [[4]], limit) == pytest.approx(1)


class Lazy(Sequence[Any]):
    """Loads on demand into one buffer, and counts."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items, self.loads = items, 0
        self.buffer = np.empty_like(items[0])

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        self.loads += 1
        self.buffer[...] = self.items[index]
        return self.buffer


def test_sequences_that_load_on_demand_and_files_do(tmp_path: Any) -> None:
    rng = np.random.default_rng(3)
    maps = rng.random((5, 9, 11), dtype=np.float32)
    regions = [rng.random((r, 9, 11)) < 0.2 for r in (0, 1, 2, 0, 0)]
    saturations = [[1.0] * len(own) for own in regions]
    wanted = spro(list(maps), regions, saturations, 1.0)
    lazy = Lazy(maps)
    assert spro(lazy, regions, saturations, 1.0) == wanted
    assert lazy.loads == 7  # images with regions twice, good ones once
    mapped = np.memmap(tmp_path / "maps", np.float32, "w+", shape=maps.shape)
    mapped[...] = maps
    assert spro(mapped, regions, saturations, 1.0) == wanted  # type: ignore[arg-type]
    assert (mapped == maps).all()


OWN, MAP = np.eye(4, dtype=bool)[None], np.zeros((4, 4))


@pytest.mark.parametrize(
    ("maps", "regions", "saturations", "says"),
    [
        ([], [], [], "at least one map"),
        ([MAP], [OWN, OWN], [[1]], "1 maps and 2 regions"),
        ([MAP], [OWN], [[1], [1]], "1 maps and 2 saturations"),
        ([MAP], [OWN[:0]], [[]], "at least one anomalous region"),
        ([MAP], [np.ones((1, 4, 4), bool)], [[1]], "one normal pixel"),
        ([MAP], [OWN], [[]], r"regions 0 are bool \(1, 4, 4\); expected bool \(0, 4, 4\)"),
        ([MAP], [OWN], [[1, 1]], r"expected bool \(2, 4, 4\)"),
        ([MAP], [OWN[0]], [[1]], r"bool \(4, 4\); expected bool \(1, 4, 4\)"),
        ([MAP], [OWN * 255], [[1]], r"regions 0 are int"),
        ([MAP], [OWN[:, :3]], [[1]], r"a map \(4, 4\)"),
        ([MAP], [OWN & False], [[1]], "region 0 of image 0 has 0 pixels"),
        ([MAP], [OWN], [[5]], "has 4 pixels and saturates at 5"),
        ([MAP], [OWN], [[0]], "saturates at 0"),
        ([MAP], [OWN], [[np.nan]], "saturates at nan"),
        ([MAP * np.nan], [OWN], [[1]], "map 0 holds NaN"),
        ([MAP, MAP + np.inf], [OWN, OWN[:0]], [[1], []], "map 1 holds NaN or infinity"),
        ([MAP[0]], [OWN], [[1]], r"map 0 has shape \(4,\)"),
        ([MAP * 1j], [OWN], [[1]], "complex128"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    maps: Any, regions: Any, saturations: Any, says: str
) -> None:
    with pytest.raises(OptionError, match=says):
        spro_curve(maps, regions, saturations)


@pytest.mark.parametrize("limit", [0, -0.1, 1.01, np.nan])
def test_limits_out_of_range_are_refused(limit: float) -> None:
    with pytest.raises(OptionError, match="fpr_limit"):
        spro([MAP], [OWN], [[1]], limit)
    with pytest.raises(OptionError, match="fpr_limit"):
        spro_curve([MAP], [OWN], [[1]]).area(limit)


@pytest.mark.parametrize(
    ("area", "threshold", "relative", "wanted"),
    [
        (1000, 200, False, 200),
        (150, 200, False, 150),  # never more than there is
        (1000, 1.0, True, 1000),
        (1001, 0.5, True, 500),  # rounded down
        (1, 0.5, True, 1),  # but not to nothing
        (1000, 1, False, 1),  # one pixel, not all
    ],
)
def test_saturation_areas(area: int, threshold: float, relative: bool, wanted: float) -> None:
    assert saturation_area(area, threshold, relative) == wanted


@pytest.mark.parametrize(
    ("area", "threshold", "relative", "says"),
    [
        (0, 1, True, "0 pixels"),
        (10, 0, False, "positive number of pixels"),
        (10, -1, True, "share"),
        (10, 1.5, True, "share"),
        (10, np.nan, False, "positive"),
        (10, np.inf, False, "positive"),
    ],
)
def test_impossible_saturations_are_refused(
    area: int, threshold: float, relative: bool, says: str
) -> None:
    with pytest.raises(OptionError, match=says):
        saturation_area(area, threshold, relative)
