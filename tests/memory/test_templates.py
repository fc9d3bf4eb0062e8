"""Templates: nearest images, exclusion, coreset."""

from __future__ import annotations

import numpy as np
import torch

from fmlad.memory.templates import TemplateIndex, coreset, image_vector


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


def test_a_coreset_keeps_an_outlier() -> None:
    rng = np.random.default_rng(1)
    crowd = [rng.normal(0, 0.1, 4).astype(np.float32) for _ in range(30)]
    outlier = np.array([9, 9, 9, 9], np.float32)
    chosen = coreset([*crowd[:10], outlier, *crowd[10:]], 5)
    assert len(chosen) == 5
    assert 10 in chosen
    assert coreset(crowd, 64) == list(range(30))
    same = [np.zeros(3, np.float32)] * 6
    assert set(coreset(same, 3)) <= set(range(6))
