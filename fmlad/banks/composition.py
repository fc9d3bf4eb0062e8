"""The composition bank: how far the mean embedding of each part is from the nearest shot's.

PSAD (Kim et al., AAAI 2024, section 3.4), with each part measured by how much its own embedding
differs between shots, so that fruit of all colours may differ more than screws of one steel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fmlad.segmentation.describe import Floats, Objects
from fmlad.segmentation.parts import Group, Ints, Parts

PRIOR_WEIGHT = 2.0  # the typical spread of all parts counts for this many shots


def group_embedding(objects: Objects, rows: Ints) -> Floats:
    """Mean features ``(C,)`` of some objects of an image, weighted by how surely they are objects.

    Args:
        objects: Of the image.
        rows: Their indices, at least one.
    """
    weights = objects.weights[rows]
    return np.asarray(weights @ objects.features[rows] / weights.sum(), dtype=np.float64)


class Composition:
    """Mean embeddings of every group in every shot that has it."""

    def __init__(self, parts: Parts) -> None:
        """Takes them from the shots' objects."""
        self._memory = [self._of_shots(parts, group) for group in parts.groups]
        gaps = [_left_out(memory) for memory in self._memory]
        known = np.concatenate([g for g in gaps if len(g)]) if any(map(len, gaps)) else np.ones(0)
        typical = float(np.mean(known)) if len(known) else parts.feature_unit
        typical = max(typical, 0.25 * parts.feature_unit)
        self._units = [
            (PRIOR_WEIGHT * typical + float(g.sum())) / (PRIOR_WEIGHT + len(g)) for g in gaps
        ]

    def distance(self, group: int, embedding: Floats) -> float:
        """To the nearest shot's, in units of what is usual between shots for this group."""
        memory = self._memory[group]
        if len(memory) == 0:
            return 0.0
        return float(np.linalg.norm(memory - embedding, axis=1).min() / self._units[group])

    @staticmethod
    def _of_shots(parts: Parts, group: Group) -> Floats:
        rows: Sequence[Floats] = [
            group_embedding(objects, parts.row[members])
            for shot, objects in enumerate(parts.shots)
            if len(members := group.members[parts.shot[group.members] == shot])
        ]
        size = parts.shots[0].features.shape[1]
        return np.array(rows, dtype=np.float64).reshape(len(rows), size)


def _left_out(memory: Floats) -> Floats:
    """Distance of each vector to the nearest other one; empty for fewer than two."""
    if len(memory) < 2:
        return np.zeros(0)
    gaps = np.linalg.norm(memory[:, None] - memory[None], axis=-1)
    np.fill_diagonal(gaps, np.inf)
    return np.asarray(gaps.min(1), dtype=np.float64)
