"""Mahalanobis distances through inner products against the dense inverse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fmlad.memory import mahalanobis as module
from fmlad.memory.mahalanobis import RIDGE, Metric, mahalanobis, measure


def dense(query: Tensor, references: Tensor, epsilon: float) -> Tensor:
    """By equations 11 and 12, with the C x C matrix."""
    count, places, channels = references.shape
    found = []
    for place in range(places):
        known = references[:, place]
        mean = known.mean(0)
        centred = known - mean
        covariance = epsilon * torch.eye(channels, dtype=query.dtype)
        if count > 1:
            covariance = covariance + centred.T @ centred / (count - 1)
        apart = query[place] - mean
        found.append((apart @ torch.linalg.inv(covariance) @ apart).sqrt())
    return torch.stack(found)


def sample(count: int, places: int = 7, channels: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    query = torch.randn(places, channels, generator=generator, dtype=torch.float64)
    references = torch.randn(count, places, channels, generator=generator, dtype=torch.float64)
    return query, references


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("epsilon", [0.01, 1.0])
def test_equals_the_dense_inverse(count: int, epsilon: float) -> None:
    query, references = sample(count)
    torch.testing.assert_close(
        mahalanobis(query, references, epsilon), dense(query, references, epsilon)
    )


def test_two_references_by_the_closed_form() -> None:
    query, references = sample(2)
    a, b = references
    d, y = (a - b) / math.sqrt(2), query - (a + b) / 2
    along = (d * y).sum(1).square() / (0.01 + d.square().sum(1))
    expected = ((y.square().sum(1) - along) / 0.01).sqrt()
    torch.testing.assert_close(mahalanobis(query, references, 0.01), expected)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_each_reference_before_the_others(count: int) -> None:
    query, references = sample(count)
    _, others = measure(query, references)
    for one in range(count):
        rest = [i for i in range(count) if i != one]
        torch.testing.assert_close(
            others[one], dense(references[one], references[rest], 0.01), atol=1e-6, rtol=1e-6
        )
    assert measure(query, references[:1])[1].isnan().all()


def test_single_precision_with_a_large_common_part() -> None:
    query, references = sample(4, channels=64)
    far = 50.0
    near = mahalanobis((query * 0.05 + far).float(), (references * 0.05 + far).float())
    exact = dense(query * 0.05 + far, references * 0.05 + far, 0.01)
    torch.testing.assert_close(near.double(), exact, rtol=2e-3, atol=1e-3)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    query, references = sample(3, places=11)
    whole = measure(query, references)
    monkeypatch.setattr(module, "BLOCK", 4)
    for part, expected in zip(measure(query, references), whole, strict=True):
        torch.testing.assert_close(part, expected)


def test_normal_is_near_and_a_duplicate_is_at_nothing() -> None:
    query, references = sample(3)
    same = query.expand(3, -1, -1)
    assert mahalanobis(query, same).max() < 1e-4
    assert mahalanobis(query, references).min() > 1


def test_distances_by_differences_equal_the_dense_inverse() -> None:
    rng = np.random.default_rng(0)
    differences, points = rng.normal(size=(5, 12)), rng.normal(size=(7, 12))
    metric = Metric.of(differences, points)
    scatter = differences.T @ differences / 5
    inverse = np.linalg.inv(scatter + RIDGE * np.trace(scatter) / 12 * np.eye(12))
    apart = points[:, None] - points[None]
    expected = np.einsum("mni,ij,mnj->mn", apart, inverse, apart)
    found = metric.squared(points, points, metric.known)
    np.testing.assert_allclose(found, np.maximum(expected, module.LEAST_SQUARE), atol=1e-9)
