"""SAM-LAD's Anomaly Measurement Module (section 3.6): a Gaussian a place over k matched objects.

With k references the covariance has rank k - 1 beside the ridge, so the Mahalanobis distance needs
inner products of k vectors and never a ``C x C`` matrix (Woodbury): time and memory grow with
``k C`` a place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 2048  # places worked on at once: bounds the memory
LEFT_OUT = 6  # references that are left out in turn, at most: enough to know what is normal


def mahalanobis(query: Tensor, references: Tensor, epsilon: float = 0.01) -> Tensor:
    """Distance of the query to the Gaussian of the references, place by place (equations 11, 12).

    Args:
        query: ``(P, C)``.
        references: ``(k, P, C)``; with k = 1 the covariance is the ridge alone.
        epsilon: Ridge, > 0 (PaDiM: 0.01).

    Returns:
        ``(P,)``.
    """
    return _blockwise(query, references, epsilon)[0]


def measure(query: Tensor, references: Tensor, epsilon: float = 0.01) -> tuple[Tensor, Tensor]:
    """As :func:`mahalanobis`, and how far each reference is from the Gaussian of the others.

    Returns:
        ``(P,)`` and ``(min(k, LEFT_OUT), P)``; the latter is NaN with a single reference.
    """
    return _blockwise(query, references, epsilon, left_out=True)


def _blockwise(
    query: Tensor, references: Tensor, epsilon: float, left_out: bool = False
) -> tuple[Tensor, Tensor]:
    count, places = references.shape[:2]
    distances = query.new_zeros(places)
    others = query.new_full((min(count, LEFT_OUT), places), math.nan)
    for start in range(0, places, BLOCK):
        part = slice(start, start + BLOCK)
        known = references[:, part].transpose(0, 1)  # (p, k, C)
        mean = known.mean(1, keepdim=True)
        known, asked = known - mean, query[part] - mean[:, 0]
        inner = known @ known.transpose(1, 2)  # (p, k, k)
        cross = (known @ asked[..., None])[..., 0]  # (p, k)
        distances[part] = _distance(asked.square().sum(1), cross, inner, epsilon)
        for one in range(len(others) if left_out and count > 1 else 0):
            rest = [i for i in range(count) if i != one]
            others[one, part] = _distance(
                inner[:, one, one], inner[:, rest, one], inner[:, rest][:, :, rest], epsilon
            )
    return distances, others


def _distance(own: Tensor, cross: Tensor, inner: Tensor, epsilon: float) -> Tensor:
    """Mahalanobis distance from inner products alone.

    Args:
        own: Of the query with itself, ``(p,)``.
        cross: Of the references with the query, ``(p, k)``.
        inner: Of the references with each other, ``(p, k, k)``.
        epsilon: Ridge.
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
