"""Places: what lies in its slot is no surprise, what lies elsewhere is."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlad.objects.places import LEAST_SPREAD, MOST_SLOTS, Slots, one_to_one

Floats = npt.NDArray[np.float64]
CENTRES = np.array([[-0.6, -0.4], [0.0, -0.4], [0.6, -0.4], [-0.6, 0.4], [0.5, 0.4]])


def shots(spread: float, count: int = 4, seed: int = 0) -> list[Floats]:
    rng = np.random.default_rng(seed)
    return [rng.permutation(CENTRES + rng.normal(0, spread, CENTRES.shape)) for _ in range(count)]


def learned(spread: float, count: int = 4, seed: int = 0) -> Slots:
    slots = Slots.learn(shots(spread, count, seed))
    assert slots is not None
    return slots


@pytest.mark.parametrize("seed", range(5))
def test_slots_are_where_the_objects_lie(seed: int) -> None:
    slots = learned(0.02, seed=seed)
    assert [len(s) for s in slots.seen] == [4] * 5
    found, rows = one_to_one(slots.centres, CENTRES)
    assert np.abs(slots.centres[found] - CENTRES[rows]).max() < 0.05
    assert 0.01 < slots.spread < 0.04


@pytest.mark.parametrize("seed", range(5))
def test_in_its_slot_is_no_surprise_and_far_is(seed: int) -> None:
    slots = learned(0.02, seed=seed)
    _, _, at_home = slots.match(slots.centres)
    assert at_home.max() == pytest.approx(0, abs=1e-12)
    (usual,) = shots(0.02, 1, seed + 100)
    _, _, nearby = slots.match(usual)
    moved = CENTRES.copy()
    moved[2] = (0.3, 0.1)
    slot, row, surprise = slots.match(moved)
    assert surprise[row == 2][0] > 2 * nearby.max()
    assert surprise[row == 2][0] > 5
    assert surprise[row != 2].max() < 3
    np.testing.assert_array_equal(
        np.round(slots.centres[slot], 1)[row != 2], np.round(CENTRES[row], 1)[row != 2]
    )


def test_farther_is_odder() -> None:
    slots = learned(0.02)
    surprises = []
    for away in (0.0, 0.03, 0.06, 0.12, 0.25):
        places = slots.centres
        places[0, 1] -= away
        slot, _, surprise = slots.match(places)
        surprises.append(surprise[slot == 0][0])
    assert (np.diff(surprises) > 0.2).all()


def test_where_objects_lie_freely_no_place_is_a_surprise() -> None:
    spreads = [learned(s).spread for s in (0.0, 0.02, 0.05, 0.1)]
    assert spreads[0] == LEAST_SPREAD
    assert (np.diff(spreads) > 0.002).all()
    moved = CENTRES + np.array([0.1, 0.0])
    strict, loose = (learned(s).match(moved)[2].mean() for s in (0.02, 0.15))
    assert strict > 3 * loose


def test_an_object_far_off_does_not_push_the_others_out() -> None:
    line = np.column_stack([np.linspace(-0.8, 0.8, 5), np.zeros(5)])
    slots = Slots.learn([line, line + 0.005, line - 0.005])
    assert slots is not None
    moved = line.copy()
    moved[0] = (1.2, 0.0)  # from one end past the other: shifting all by one would be as near
    slot, row, surprise = slots.match(moved)
    stayed = row != 0
    np.testing.assert_array_equal(slot[stayed], row[stayed])
    assert surprise[stayed].max() < 0.1
    assert surprise[~stayed].min() > 5


@pytest.mark.parametrize(
    "counts",
    [
        [3],  # one shot says nothing about spread
        [0, 0, 0],
        [1, 2, 3, 4],  # no typical number
        [MOST_SLOTS + 1] * 3,
    ],
)
def test_where_nothing_can_be_said(counts: list[int]) -> None:
    rng = np.random.default_rng(0)
    assert Slots.learn([rng.uniform(-1, 1, (n, 2)) for n in counts]) is None


def test_a_shot_with_one_less_or_more_fills_the_others() -> None:
    slots = Slots.learn([CENTRES, CENTRES[1:], np.vstack([CENTRES, [[0.0, 0.0]]]), CENTRES])
    assert slots is not None
    np.testing.assert_allclose(slots.centres, CENTRES)
    assert [len(s) for s in slots.seen] == [3, 4, 4, 4, 4]
    assert slots.spread == LEAST_SPREAD


@pytest.mark.parametrize("n", [0, 1, 4, 9])
def test_any_number_of_objects_matches(n: int) -> None:
    rng = np.random.default_rng(n)
    slot, row, surprise = learned(0.02).match(rng.uniform(-1, 1, (n, 2)))
    assert len(slot) == len(row) == len(surprise) == min(n, 5)
    assert len(set(slot.tolist())) == len(set(row.tolist())) == len(slot)
    assert np.isfinite(surprise).all()
    assert (surprise >= 0).all()


coordinates = st.integers(-20, 20).map(lambda n: n / 20)
some = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=5).map(
    lambda drawn: np.array(drawn, float)
)


@settings(deadline=None)
@given(some, some, st.sampled_from([np.inf, 0.5]))
def test_one_to_one_is_the_best_there_is(first: Floats, second: Floats, most: float) -> None:
    rows, columns = one_to_one(first, second, most)
    count = min(len(first), len(second))
    assert len(rows) == len(columns) == count
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == count
    full = np.linalg.norm(first[:, None] - second[None], axis=-1)
    gaps = np.minimum(full, most)
    if len(first) > len(second):
        gaps = gaps.T
    best = min(
        sum(gaps[i, chosen[i]] for i in range(count))
        for chosen in permutations(range(gaps.shape[1]), count)
    )
    assert np.minimum(full, most)[rows, columns].sum() == pytest.approx(best, abs=1e-4)


def test_a_place_says_the_less_the_more_freely_objects_lie() -> None:
    rng = np.random.default_rng(0)
    kept = rng.normal(0, 0.01, (6, 2))
    slots = Slots.of([kept, rng.normal(0, 0.4, (6, 2))])
    alone = Slots.of([kept])
    assert alone.steady[0] > 0.9
    assert slots.steady[1] < 0.1 < slots.steady[0]
    assert ((slots.steady > 0) & (slots.steady <= 1)).all()
