"""Patch histograms against brute force, the Gaussian against NumPy, and the choice of grids."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fmlad.errors import ShotsError
from fmlad.methods.csad.patch_histogram import (
    Covariance,
    HistogramModel,
    chosen_grids,
    fitted_models,
    joint_distance,
    patch_histogram,
    positional_spread,
)
from fmlad.scoring.trimmed import TrimmedMoments

CLASSES = 4
Maps = npt.NDArray[np.int32]

maps = hnp.arrays(
    np.int32, st.tuples(st.integers(4, 12), st.integers(4, 12)), elements=st.integers(0, 3)
)


def by_counting(labels: Maps, grid: int) -> list[float]:
    """Column after column of cells, from the top; pixel ``i`` of ``n`` is in ``i * P // n``."""
    height, width = labels.shape
    found = []
    for column in range(grid):
        for row in range(grid):
            own = [
                labels[y, x]
                for y in range(height)
                for x in range(width)
                if y * grid // height == row and x * grid // width == column
            ]
            found += [own.count(part) / len(own) for part in range(1, CLASSES)]
    return found


@given(maps, st.integers(1, 4))
def test_equals_counting(labels: Maps, grid: int) -> None:
    assert patch_histogram(labels, CLASSES, grid) == pytest.approx(by_counting(labels, grid))


def test_a_checkerboard() -> None:
    board = np.kron([[1, 2], [2, 0]], np.ones((8, 8))).astype(np.int32)
    assert patch_histogram(board, 3, 1).tolist() == [0.25, 0.5]
    # Top left, bottom left, top right, bottom right.
    assert patch_histogram(board, 3, 2).tolist() == [1, 0, 0, 1, 0, 1, 0, 0]


@given(maps)
def test_the_whole_is_the_mean_of_equal_cells(labels: Maps) -> None:
    even = np.kron(labels, np.ones((2, 2))).astype(np.int32)
    cells = patch_histogram(even, CLASSES, 2).reshape(4, -1)
    if all(side % 2 == 0 for side in labels.shape):
        assert cells.mean(0) == pytest.approx(patch_histogram(labels, CLASSES, 1))


def vectors(count: int = 60, length: int = 3) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(length, length))
    return np.asarray(0.3 + 0.02 * rng.normal(size=(count, length)) @ mixing)


def test_the_distance_is_mahalanobis() -> None:
    known = vectors()
    model = HistogramModel.fit(1, known)
    off = np.array([0.4, 0.2, 0.3]) - known.mean(0)
    direct = math.sqrt(off @ np.linalg.inv(np.cov(known.T)) @ off)
    assert model.distance(np.array([0.4, 0.2, 0.3])) == pytest.approx(direct, rel=1e-6)


@pytest.mark.parametrize("covariance", ["pinv", "shrunk"])
def test_a_class_that_no_image_has_does_no_harm(covariance: str) -> None:
    known = np.insert(vectors(), 1, 0.0, axis=1)
    model = HistogramModel.fit(1, known, covariance)  # type: ignore[arg-type]
    normal, new = known[0], known[0] + [0, 0.1, 0, 0]
    assert math.isfinite(model.distance(normal))
    if covariance == "pinv":  # what never varied counts nothing
        assert model.distance(new) == pytest.approx(model.distance(normal))
    else:
        assert model.distance(new) > 10 * model.distance(normal)


@pytest.mark.parametrize("covariance", ["pinv", "shrunk"])
def test_one_image_is_enough(covariance: str) -> None:
    model = HistogramModel.fit(1, vectors(1), covariance)  # type: ignore[arg-type]
    assert model.distance(vectors(1)[0]) == 0
    assert math.isfinite(model.distance(vectors(2)[1]))


def test_no_image_is_refused() -> None:
    with pytest.raises(ShotsError):
        HistogramModel.fit(1, vectors(0))


def test_shrinking_tames_more_dimensions_than_images() -> None:
    known = vectors(12, 20)
    others = vectors(40, 20)[12:]
    exact, shrunk = HistogramModel.fit(1, known), HistogramModel.fit(1, known, "shrunk")
    inside, outside = (
        [np.mean([model.distance(one) for one in some]) for model in (exact, shrunk)]
        for some in (known, others)
    )
    assert outside[0] / inside[0] > outside[1] / inside[1]


def test_parts_say_which_class_of_which_cell() -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(0.3, 0.01, (100, 8))  # four cells of two classes
    model = HistogramModel.fit(2, known)
    query = known.mean(0)
    query[5] += 0.1  # third cell, second class
    parts = model.parts(query)
    assert np.unravel_index(parts.argmax(), parts.shape) == (2, 1)
    assert parts.max() == pytest.approx(model.distance(query) ** 2)
    assert model.difference(query)[2, 1] == pytest.approx(0.1)


def scattered(spread: float, count: int = 30, seed: int = 0) -> list[Maps]:
    """A square of each class, off its place by so many sides of the image (deviation)."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        labels = np.zeros((100, 100), np.int32)
        for part, place in enumerate(((25, 25), (25, 75), (75, 50)), start=1):
            top, left = np.clip(np.array(place) + 100 * rng.normal(0, spread, 2), 5, 95)
            labels[int(top) - 5 : int(top) + 5, int(left) - 5 : int(left) + 5] = part
        found.append(labels)
    return found


def test_spread_of_places() -> None:
    assert np.nanmax(positional_spread(scattered(0.01), CLASSES)) < 0.03
    wide = positional_spread(scattered(0.1), CLASSES)
    assert np.median(wide) == pytest.approx(0.1, abs=0.04)
    once = [np.zeros((8, 8), np.int32), np.pad(np.ones((2, 2), np.int32), 3)]
    assert np.isnan(positional_spread(once, CLASSES)).all()  # one image alone has the class


def test_grids_are_as_fine_as_the_places_are_strict() -> None:
    candidates = (1, 2, 4)
    assert [*chosen_grids(scattered(0.005), CLASSES, candidates)] == [1, 2, 4]
    assert [*chosen_grids(scattered(0.05), CLASSES, candidates)] == [1, 2]
    assert [*chosen_grids(scattered(0.2), CLASSES, candidates)] == [1]
    assert [*chosen_grids([np.zeros((8, 8), np.int32)] * 3, CLASSES, candidates)] == [1]


def wandering() -> list[Maps]:
    """The first class keeps to its place, and the others lie anywhere."""
    pairs = zip(scattered(0.01), scattered(0.3), strict=True)
    return [np.where(strict == 1, 1, np.where(loose == 1, 0, loose)) for strict, loose in pairs]


def test_pieces_that_part_wander() -> None:
    found = []
    for off in range(0, 40, 4):
        labels = np.zeros((100, 100), np.int32)
        labels[50:54, [46 - off, 53 + off]] = 1  # their centroid stays where it is
        found.append(labels)
    assert positional_spread(found, 2)[0] > 0.1


def test_a_class_counts_in_the_cells_that_it_keeps_to() -> None:
    chosen = chosen_grids(wandering(), CLASSES, (1, 2, 4))
    assert {grid: counted.tolist() for grid, counted in chosen.items()} == {
        1: [True, True, True], 2: [True, False, False], 4: [True, False, False],
    }  # fmt: skip


@pytest.mark.parametrize("covariance", ["pinv", "shrunk"])
def test_what_does_not_count_changes_nothing(covariance: Covariance) -> None:
    known = wandering()
    vectors = np.stack([patch_histogram(one, CLASSES, 2) for one in known])
    counted = np.array([True, False, False])
    model = HistogramModel.fit(2, vectors, covariance, counted)
    query = vectors.mean(0)
    query.reshape(4, 3)[:, 1:] = 0.9
    assert model.distance(query) == 0.0
    query.reshape(4, 3)[0, 0] += 0.1
    assert model.distance(query) > 0
    # As if the other classes were not there.
    alone = HistogramModel.fit(2, vectors.reshape(-1, 4, 3)[:, :, 0], covariance)
    assert model.distance(query) == pytest.approx(alone.distance(query.reshape(4, 3)[:, 0]))
    none = HistogramModel.fit(2, vectors, covariance, np.zeros(3, bool))
    assert none.distance(query) == 0.0


def test_grids_add_up_in_their_scales() -> None:
    known, others = scattered(0.02), scattered(0.02, 20, seed=1)
    models = fitted_models(known, others, CLASSES, {1: None, 2: None}, "shrunk")
    for model in models:
        distances = [model.distance(patch_histogram(one, CLASSES, model.grid)) for one in others]
        assert model.scale == TrimmedMoments.fit(distances).deviation
    query = scattered(0.2, 1, seed=2)[0]
    expected = sum(
        model.distance(patch_histogram(query, CLASSES, model.grid)) / model.scale
        for model in models
    )
    assert joint_distance(models, query, CLASSES) == pytest.approx(expected)
    assert joint_distance(models, query, CLASSES) > max(
        joint_distance(models, one, CLASSES) for one in others
    )


def test_the_norm_of_grids_is_one_gaussian_over_all() -> None:
    known = scattered(0.02)
    models = fitted_models(known, [], CLASSES, {1: None, 2: None}, "shrunk", "norm")
    assert [one.scale for one in models] == [1.0, 1.0]
    query = scattered(0.2, 1, seed=2)[0]
    off = [patch_histogram(query, CLASSES, one.grid) - one.mean for one in models]
    whole = np.zeros((15, 15))
    whole[:3, :3], whole[3:, 3:] = (one.precision for one in models)
    vector = np.concatenate(off)
    expected = math.sqrt(vector @ whole @ vector)
    assert joint_distance(models, query, CLASSES, "norm") == pytest.approx(expected)
