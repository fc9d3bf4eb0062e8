"""How the objects of two images lie to each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmlad.objects.arrangement import NEAR, Arrangement, arrange, composed, inverse, moved

Floats = npt.NDArray[np.float64]


def similarity(zoom: float, turn: float, x: float, y: float) -> Floats:
    c, s = zoom * np.cos(turn), zoom * np.sin(turn)
    return np.array([[c, -s, x], [s, c, y]])


def scattered(n: int, seed: int, least: float = 0.3) -> Floats:
    """Positions no closer to each other than ``least``, so that it is known which is which."""
    rng = np.random.default_rng(seed)
    found: list[Floats] = []
    for _ in range(20000):
        point = rng.uniform(-0.8, 0.8, 2)
        if all(np.linalg.norm(point - other) > least for other in found):
            found.append(point)
        if len(found) == n:
            return np.array(found)
    raise AssertionError("no room")


def arranged(first: Floats, second: Floats, like: npt.NDArray[np.bool_] | None = None) -> object:
    alike = np.ones((len(first), len(second)), bool) if like is None else like
    return arrange(first, second, alike, (np.ones(len(first)), np.ones(len(second))))


def error(arrangement: Arrangement, matrix: Floats, points: Floats) -> float:
    """How far the farthest of some points lands from where it should."""
    gaps = np.linalg.norm(moved(points, arrangement.matrix) - moved(points, matrix), axis=1)
    return float(gaps.max())


def found(first: Floats, second: Floats, like: npt.NDArray[np.bool_] | None = None) -> Arrangement:
    result = arranged(first, second, like)
    assert isinstance(result, Arrangement)
    return result


MATRICES = [
    similarity(1, 0, 0, 0),
    similarity(1.15, 0.2, 0.1, -0.05),
    similarity(0.85, -0.35, -0.1, 0.1),
    np.array([[1.08, 0.06, 0.05], [-0.04, 0.95, 0.02]]),  # affine
]


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("seed", range(4))
def test_a_known_transform_is_found(matrix: Floats, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = scattered(9, seed)
    second = moved(first, matrix) + rng.normal(0, 0.01, first.shape)
    order = rng.permutation(len(second))
    arrangement = found(first, second[order])
    assert error(arrangement, matrix, first) < NEAR
    assert arrangement.share > 0.99
    assert arrangement.inliers == 9


@pytest.mark.parametrize("seed", range(4))
def test_a_shift_is_found_exactly(seed: int) -> None:
    first = scattered(9, seed)
    matrix = similarity(1, 0, 0.2, -0.1)
    assert error(found(first, moved(first, matrix)), matrix, first) < 1e-6


@pytest.mark.parametrize("matrix", MATRICES[1:3])
@pytest.mark.parametrize("seed", range(4))
def test_a_turn_is_found_as_exactly_as_a_shift(matrix: Floats, seed: int) -> None:
    first = scattered(9, seed)
    assert error(found(first, moved(first, matrix)), matrix, first) < 0.02


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("seed", range(4))
def test_missing_and_extra_objects_and_one_elsewhere_do_no_harm(matrix: Floats, seed: int) -> None:
    rng = np.random.default_rng(seed)
    everything = scattered(12, seed)
    first, second = everything[:10], moved(everything[2:], matrix)  # two missing, two extra
    second = second + rng.normal(0, 0.01, second.shape)
    second[3] += (0.3, -0.3)
    arrangement = found(first, second)
    typical = np.median(
        np.linalg.norm(moved(first, arrangement.matrix) - moved(first, matrix), axis=1)
    )
    assert typical < NEAR
    assert arrangement.inliers >= 7
    assert 0.65 < arrangement.share < 0.95


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 5), (2, 5), (5, 2)])
def test_fewer_than_three_are_no_arrangement(n: int, m: int) -> None:
    assert arranged(scattered(6, 0)[:n], scattered(6, 1)[:m]) is None


def test_nothing_alike_is_no_arrangement() -> None:
    first = scattered(6, 0)
    assert arranged(first, first, np.zeros((6, 6), bool)) is None
    few = np.zeros((6, 6), bool)
    few[0, 0] = few[1, 1] = True
    assert arranged(first, first, few) is None
    few[2, 2] = True
    assert arranged(first, first, few) is not None


def test_all_in_one_place_say_nothing() -> None:
    assert arranged(np.zeros((6, 2)), np.zeros((6, 2))) is None


def test_a_mirror_image_and_an_upside_down_one_are_not_brought_back() -> None:
    first = scattered(9, 3)
    for matrix in (np.array([[-1.0, 0, 0], [0, 1, 0]]), similarity(1, np.pi, 0, 0)):
        arrangement = arranged(first, moved(first, matrix), np.eye(9, dtype=bool))
        share = arrangement.share if isinstance(arrangement, Arrangement) else 0.0
        assert share < 0.6


def test_likes_decide_where_places_would_not() -> None:
    first = scattered(8, 5)
    turned = np.roll(np.arange(8), 1)
    right = np.eye(8, dtype=bool)
    assert found(first, first, right).share > 0.99
    wrong = arranged(first, first, right[turned])
    assert (wrong.share if isinstance(wrong, Arrangement) else 0.0) < 0.8


def test_unlike_objects_are_ignored() -> None:
    first = scattered(8, 5)
    like = np.eye(8, dtype=bool)
    like[6:] = False
    arrangement = found(first, first, like)
    assert arrangement.inliers == 6
    assert arrangement.share > 0.99


def test_weights_say_whom_to_believe() -> None:
    first = scattered(10, 6)
    second = first.copy()
    second[5:] = moved(first[5:], similarity(1, 0.45, 0.3, -0.2))
    heavy = np.where(np.arange(10) < 5, 1.0, 0.05)
    arrangement = arrange(first, second, np.eye(10, dtype=bool), (heavy, heavy))
    assert arrangement is not None
    assert np.abs(moved(first[:5], arrangement.matrix) - first[:5]).max() < 0.03
    other = arrange(first, second, np.eye(10, dtype=bool), (heavy[::-1], heavy[::-1]))
    assert other is not None
    assert np.linalg.norm(moved(first[5:], other.matrix) - second[5:], axis=1).max() < NEAR


@pytest.mark.parametrize("n", [6, 9, 15])
def test_an_arrangement_is_told_from_a_heap(n: int) -> None:
    same, heaps = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        first = rng.uniform(-0.8, 0.8, (n, 2))
        second = moved(first, similarity(1.05, 0.1, 0.05, 0)) + rng.normal(0, 0.01, (n, 2))
        same.append(found(first, second).share)
        heap = arranged(first, rng.uniform(-0.8, 0.8, (n, 2)))
        heaps.append(heap.share if isinstance(heap, Arrangement) else 0.0)
    assert np.mean(same) > 0.98
    assert np.mean(heaps) < 0.8
    assert np.mean(np.array(heaps) < min(same)) > 0.9


def test_two_hundred_objects_and_the_same_answer_every_time() -> None:
    first = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    one, two = found(first, first + 0.02), found(first, first + 0.02)
    np.testing.assert_array_equal(one.matrix, two.matrix)
    assert (one.share, one.inliers) == (two.share, two.inliers)
    assert np.abs(moved(first, one.matrix) - first - 0.02).max() < NEAR


numbers = st.floats(-2, 2)
transforms = st.builds(
    similarity, st.floats(0.3, 3), st.floats(-3, 3), numbers, numbers
) | st.builds(
    lambda a, b, c, d: np.array([[1 + a, b, c], [-b, 1 - a / 2, d]]),
    st.floats(-0.5, 0.5),
    st.floats(-0.4, 0.4),
    numbers,
    numbers,
)
points = st.lists(st.tuples(numbers, numbers), max_size=5).map(
    lambda drawn: np.array(drawn, float).reshape(-1, 2)
)


@given(transforms, transforms, points)
def test_composed_does_one_after_the_other(first: Floats, second: Floats, some: Floats) -> None:
    both = moved(some, composed(second, first))
    np.testing.assert_allclose(both, moved(moved(some, first), second), atol=1e-9)


@given(transforms, points)
def test_inverse_undoes(matrix: Floats, some: Floats) -> None:
    np.testing.assert_allclose(moved(moved(some, matrix), inverse(matrix)), some, atol=1e-9)
    np.testing.assert_allclose(composed(inverse(matrix), matrix), np.eye(2, 3), atol=1e-9)


@given(points, numbers, numbers)
def test_moved_shifts_and_turns_as_written(some: Floats, x: float, y: float) -> None:
    np.testing.assert_allclose(
        moved(some, similarity(1, 0, x, y)), some + np.array([x, y]), atol=1e-12
    )
    quarter = moved(some, similarity(1, np.pi / 2, 0, 0))
    np.testing.assert_allclose(quarter, np.column_stack([-some[:, 1], some[:, 0]]), atol=1e-9)
