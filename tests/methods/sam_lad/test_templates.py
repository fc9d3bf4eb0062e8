"""The template bank: nearest images, exclusion, coreset; and match statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fmlad.methods.sam_lad.matching import UNKNOWN, MatchStatistics
from fmlad.methods.sam_lad.templates import TemplateIndex, coreset, image_vector


def vectors(count: int, size: int = 12) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=size).astype(np.float32) for _ in range(count)]


def test_nearest_equals_brute_force_and_leaves_out() -> None:
    known = vectors(20)
    index = TemplateIndex(known)
    query = vectors(21)[20]
    order = np.argsort([np.linalg.norm(query - v) for v in known]).tolist()
    assert index.nearest(query, 5) == order[:5]
    out = frozenset(order[:3])
    assert index.nearest(query, 5, out) == order[3:8]
    assert index.nearest(query, 50) == order


def test_image_vectors_do_not_depend_on_the_number_of_cells() -> None:
    small = torch.rand(1, 3, 16, 16)
    large = torch.repeat_interleave(torch.repeat_interleave(small, 2, -1), 2, -2)
    np.testing.assert_allclose(image_vector(small), image_vector(large), rtol=1e-6)
    assert image_vector(torch.rand(1, 3, 40, 24)).shape == (3 * 256,)


def test_a_coreset_keeps_what_is_unlike_the_rest() -> None:
    rng = np.random.default_rng(1)
    crowd = [rng.normal(0, 0.1, 4).astype(np.float32) for _ in range(30)]
    odd = np.array([9, 9, 9, 9], np.float32)
    chosen = coreset([*crowd[:10], odd, *crowd[10:]], 5)
    assert len(chosen) == 5
    assert 10 in chosen
    assert coreset(crowd, 64) == list(range(30))
    same = [np.zeros(3, np.float32)] * 6
    assert set(coreset(same, 3)) <= set(range(6))


def test_absence_surprises_as_much_as_presence_is_usual() -> None:
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
