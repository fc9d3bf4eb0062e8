"""Affinity learned from the shots: units, place, dustbin; and match statistics."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest

from fmlad.methods.sam_lad.matching import (
    UNKNOWN,
    Affinity,
    MatchStatistics,
    ObjectDescriptors,
)
from fmlad.objects.assignment import match


def described(seed: int, places: np.ndarray, jitter: float, kinds: int = 1) -> ObjectDescriptors:
    """Objects of some kinds in turn, with noise, in given places."""
    rng = np.random.default_rng(seed)
    kind = np.arange(len(places)) % kinds
    base = np.random.default_rng(99).normal(size=(kinds, 8))
    descriptors = base[kind] + rng.normal(0, 0.02, (len(places), 8))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    appearance = 3.0 * kind[:, None] + rng.normal(0, 0.2, (len(places), 7))
    return ObjectDescriptors(descriptors, appearance, places + rng.normal(0, jitter, places.shape))


GRID = np.array([[x, y] for x in (-0.6, 0.0, 0.6) for y in (-0.4, 0.4)])


def test_arranged_objects_have_places_and_match_completely() -> None:
    shots = [described(seed, GRID, 0.01) for seed in range(4)]
    affinity = Affinity.learn(shots)
    assert affinity.spread is not None
    assert affinity.spread <= 0.06
    for i in range(4):
        for j in range(4):
            found = match(affinity.scores(shots[i], shots[j]), affinity.dustbin, 1.0)
            assert found.pairs.tolist() == [[n, n] for n in range(6)]
    assert Affinity.learn(shots, place=False).spread is None


def test_freely_placed_objects_have_no_strict_place() -> None:
    shots = []
    for seed in range(6):
        places = np.random.default_rng(seed).uniform(-0.9, 0.9, (6, 2))
        shots.append(described(seed, places, 0.0, kinds=3))
    affinity = Affinity.learn(shots)
    assert affinity.spread is None or affinity.spread >= 0.12
    for query in shots:
        for reference in shots:
            pairs = match(affinity.scores(query, reference), affinity.dustbin, 1.0).pairs
            assert len(pairs) == 6
            assert all(i % 3 == j % 3 for i, j in pairs)


def test_another_kind_in_a_place_is_no_match() -> None:
    shots = [described(seed, GRID, 0.01) for seed in range(4)]
    affinity = Affinity.learn(shots)
    changed = described(9, GRID, 0.01)
    changed.appearance[2] += 8
    found = match(affinity.scores(changed, shots[0]), affinity.dustbin, 1.0)
    assert found.partner[2] == -1
    assert found.nearest[2] == 2
    assert found.left_over.tolist() == [2]


def test_displacement_is_a_surprise_only_beyond_the_spread() -> None:
    affinity = Affinity(0.1, (), 0.05, -5.0, 0.01)
    near, far = affinity.misplaced(np.array([0.05, 1.0]))
    assert near == 0
    assert far == pytest.approx(-np.log(0.01))
    assert not Affinity(0.1, (), None, -5.0).misplaced(np.array([1.0])).any()


def test_nothing_to_learn_from() -> None:
    empty = ObjectDescriptors(np.zeros((0, 8)), np.zeros((0, 7)), np.zeros((0, 2)))
    for shots in ([empty], [empty, empty], [described(0, GRID, 0.0)]):
        affinity = Affinity.learn(shots)
        assert np.isfinite(affinity.dustbin)
        assert affinity.scores(empty, described(0, GRID, 0.0)).shape == (0, 6)


def test_round_trip_and_refusal() -> None:
    affinity = Affinity.learn([described(seed, GRID, 0.01) for seed in range(3)])
    assert Affinity(**asdict(affinity)) == affinity
    for key, value in (("shortfall", 0.0), ("units", [1, -1]), ("stray", 2), ("dustbin", "low")):
        with pytest.raises((ValueError, TypeError)):
            Affinity(**{**asdict(affinity), key: value})


def test_absence_costs_more_nats_the_more_often_an_object_is_matched() -> None:
    always, never = [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]
    found = np.array([[UNKNOWN, *always], [UNKNOWN, *never]])
    surplus = np.zeros((4, 4)) + UNKNOWN * np.eye(4)
    statistics = MatchStatistics((found,) * 4, surplus)
    sure, clutter = statistics.missing(0, frozenset())
    assert sure == pytest.approx(-math.log(1 - 3.5 / 4))
    assert clutter < 0.2
    assert statistics.missing(0, frozenset({2, 3}))[0] < sure
    assert statistics.extra(frozenset()) == pytest.approx(math.log(1 + 13 / 0.5))
    noisy = MatchStatistics((found,) * 4, np.where(surplus < 0, UNKNOWN, 2.0))
    assert noisy.extra(frozenset()) < 0.5
    lone = MatchStatistics((np.zeros((2, 1)) + UNKNOWN,), np.full((1, 1), UNKNOWN))
    assert lone.extra(frozenset()) == pytest.approx(math.log(2))
    np.testing.assert_allclose(lone.missing(0, frozenset()), math.log(2))
