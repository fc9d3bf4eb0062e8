"""The composition bank: how far a part's mean features are from those of the shots (PSAD, 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fmlad.objects.arrays import Floats

PRIOR_WEIGHT = 2.0  # the typical spread of all parts counts for this many shots


class Composition:
    """Mean embeddings of every part in every shot that has it."""

    def __init__(self, memory: Sequence[Floats], unit: float) -> None:
        """Remembers ``(k_j, C)`` per part, one row a shot that has it; ``k_j`` may be 0.

        ``unit`` > 0 is the spread where the shots have none, and four times the least.
        """
        self._memory = list(memory)
        gaps = [_left_out(vectors) for vectors in self._memory]
        known = np.concatenate([g for g in gaps if len(g)]) if any(map(len, gaps)) else np.ones(0)
        typical = max(float(np.mean(known)) if len(known) else unit, 0.25 * unit)
        self._units = [
            (PRIOR_WEIGHT * typical + float(g.sum())) / (PRIOR_WEIGHT + len(g)) for g in gaps
        ]

    def distance(self, part: int, embedding: Floats) -> float:
        """To the nearest shot's, in units of the distance between shots for this part."""
        memory = self._memory[part]
        if len(memory) == 0:
            return 0.0
        return float(np.linalg.norm(memory - embedding, axis=1).min() / self._units[part])


def _left_out(memory: Floats) -> Floats:
    """Distance of each vector to the nearest other one; empty for fewer than two."""
    if len(memory) < 2:
        return np.zeros(0)
    gaps = np.linalg.norm(memory[:, None] - memory[None], axis=-1)
    np.fill_diagonal(gaps, np.inf)
    return np.asarray(gaps.min(1), dtype=np.float64)
