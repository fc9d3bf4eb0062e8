"""Mahalanobis distances where vectors are few and long, by Woodbury's identity.

With k references the covariance has rank k - 1 beside the ridge, so the distance needs inner
products of k vectors and never a ``C x C`` matrix: time and memory grow with ``k C``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fmlad.memory.change import Floats

BLOCK = 2048  # places worked on at once: bounds the memory
LEFT_OUT = 6  # references that are left out in turn, at most: enough to know what is normal


def mahalanobis(query: Tensor, references: Tensor, epsilon: float = 0.01) -> Tensor:
    """Distance of the query to the Gaussian of the references, place by place.

    Args:
        query: ``(P, C)``.
        references: ``(k, P, C)``; with k = 1 the covariance is the ridge alone.
        epsilon: Ridge, > 0 (PaDiM: 0.01).

    Returns:
        ``(P,)``.
    """
    return _blockwise(query, references, epsilon, 0)[0]


def measure(query: Tensor, references: Tensor, epsilon: float = 0.01) -> tuple[Tensor, Tensor]:
    """As :func:`mahalanobis`, and how far each reference is from the Gaussian of the others.

    Returns:
        ``(P,)`` and ``(min(k, LEFT_OUT), P)``; the latter is NaN with a single reference.
    """
    return _blockwise(query, references, epsilon, LEFT_OUT)


def _blockwise(
    query: Tensor, references: Tensor, epsilon: float, left_out: int
) -> tuple[Tensor, Tensor]:
    count, places = references.shape[:2]
    distances = query.new_zeros(places)
    others = query.new_full((min(count, left_out), places), math.nan)
    for start in range(0, places, BLOCK):
        part = slice(start, start + BLOCK)
        known = references[:, part].transpose(0, 1)  # (p, k, C)
        mean = known.mean(1, keepdim=True)
        known, asked = known - mean, query[part] - mean[:, 0]
        inner = known @ known.transpose(1, 2)  # (p, k, k)
        cross = (known @ asked[..., None])[..., 0]  # (p, k)
        distances[part] = _distance(asked.square().sum(1), cross, inner, epsilon)
        for one in range(len(others) if count > 1 else 0):
            rest = [i for i in range(count) if i != one]
            others[one, part] = _distance(
                inner[:, one, one], inner[:, rest, one], inner[:, rest][:, :, rest], epsilon
            )
    return distances, others


def _distance(own: Tensor, cross: Tensor, inner: Tensor, epsilon: float) -> Tensor:
    """Mahalanobis distance ``(p,)`` from inner products alone.

    Of the query with itself, ``own`` ``(p,)``, of the references with the query, ``cross``
    ``(p, k)``, and with each other, ``inner`` ``(p, k, k)``.
    """
    count = inner.shape[-1]
    # Centring on the references' mean, in terms of inner products.
    across, grand = inner.mean(2), inner.mean((1, 2))
    squared = own - 2 * cross.mean(1) + grand
    if count > 1:
        scale = 1 / (count - 1)
        centred = (inner - across[:, :, None] - across[:, None] + grand[:, None, None]) * scale
        along = (cross - cross.mean(1, keepdim=True) - across + grand[:, None]) * math.sqrt(scale)
        ridge = epsilon * torch.eye(count, dtype=inner.dtype, device=inner.device)
        solved = torch.linalg.solve(centred + ridge, along[..., None])[..., 0]
        squared = squared - (along * solved).sum(1)
    return (squared.clamp_min(0) / epsilon).sqrt()


RIDGE = 3.0  # of a covariance by differences, in its own mean variances: there are few differences
LEAST_SQUARE = 1e-12


@dataclass(frozen=True)
class Metric:
    """Mahalanobis distances by some differences (Woodbury: never ``D x D``).

    Attributes:
        projection: ``(D, r)``: what the differences explain, to be taken off.
        ridge: Of the covariance.
        known: ``(T, r)``: the projections of all objects of the templates.
    """

    projection: Floats
    ridge: float
    known: Floats

    @classmethod
    def of(cls, differences: Floats, vectors: Floats) -> Metric:
        """By differences ``(p, D)``, for vectors ``(T, D)``."""
        factors = differences / np.sqrt(max(len(differences), 1))
        inner = factors @ factors.T
        ridge = max(RIDGE * float(np.trace(inner)) / vectors.shape[1], LEAST_SQUARE)
        lower = np.linalg.cholesky(inner + ridge * np.eye(len(factors)))
        projection = np.linalg.solve(lower, factors).T
        return cls(projection, ridge, vectors @ projection)

    def squared(self, here: Floats, there: Floats, there_known: Floats) -> Floats:
        """Squared distances ``(m, n)`` of ``(m, D)`` to ``(n, D)``."""
        explained = _squares(here @ self.projection, there_known)
        return np.maximum((_squares(here, there) - explained) / self.ridge, LEAST_SQUARE)


def _squares(here: Floats, there: Floats) -> Floats:
    cross = here @ there.T
    found = np.square(here).sum(1)[:, None] + np.square(there).sum(1) - 2 * cross
    return np.asarray(found, dtype=np.float64)
