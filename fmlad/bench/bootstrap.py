"""Bootstrap of AUROC over test images and over seeds, all draws at once.

Test images are drawn with replacement within their kind, so that no draw is without anomalies, and
the same draw of images serves every seed and every entry that judged them: what is common to two
entries is common in every draw of their difference. Seeds are drawn on top. (scipy.stats.bootstrap
draws each sample for itself and knows no draw that several statistics share.)

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 13 (percentile
interval) and 16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fmlad.bench.model import ImageRecord

DRAWS = 1000
SEED = 0
LEVEL = 0.95
FIGURES = ("auroc_micro", "auroc_mean")  # what can be drawn again

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ImageDraws:
    """How often each test image is in each draw: name -> ``(draws,)``."""

    counts: Mapping[str, Floats] = field(repr=False)

    @classmethod
    def of(
        cls, cells: Sequence[Sequence[ImageRecord]], rng: np.random.Generator, draws: int = DRAWS
    ) -> ImageDraws:
        """``draws`` draws among all images that any of some cells of one task judged."""
        kinds: dict[str, set[str]] = {}
        for row in (row for rows in cells for row in rows):
            kinds.setdefault(row.kind, set()).add(row.name)
        counts: dict[str, Floats] = {}
        for _, names in sorted(kinds.items()):
            table = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
            counts |= zip(sorted(names), table.T.astype(np.float64), strict=True)
        return cls(counts)

    def figure(self, name: str, rows: Sequence[ImageRecord]) -> Floats:
        """``(draws,)`` values of one of :data:`FIGURES`; NaN where a kind is missing."""
        normal = [row for row in rows if row.kind == "good"]
        odd = [row for row in rows if row.kind != "good"]
        if name == "auroc_micro":
            return self._auroc(normal, odd)
        kinds = ("logical", "structural")
        parts = [self._auroc(normal, [row for row in odd if row.kind == kind]) for kind in kinds]
        return np.mean(parts, axis=0)  # type: ignore[no-any-return]

    def _auroc(self, normal: Sequence[ImageRecord], odd: Sequence[ImageRecord]) -> Floats:
        """Share of pairs that are in order, each as often as both its images were drawn."""
        if not normal or not odd:
            return np.full(len(next(iter(self.counts.values()))), np.nan)
        low, high = (np.array([row.score for row in rows]) for rows in (normal, odd))
        in_order = (high[:, None] > low) + 0.5 * (high[:, None] == low)
        drawn = [np.stack([self.counts[row.name] for row in rows]) for rows in (odd, normal)]
        hits = np.einsum("pd,pn,nd->d", drawn[0], in_order, drawn[1], optimize=True)
        pairs = drawn[0].sum(axis=0) * drawn[1].sum(axis=0)
        return np.divide(hits, pairs, out=np.full(len(hits), np.nan), where=pairs > 0)  # type: ignore[no-any-return]


def over_seeds(cells: Sequence[Floats], rng: np.random.Generator) -> Floats:
    """``(draws,)`` means over seeds drawn with replacement, of ``(draws,)`` values of each seed."""
    values = np.stack(cells)
    chosen = rng.integers(len(values), size=values.shape)
    return np.take_along_axis(values, chosen, axis=0).mean(axis=0)  # type: ignore[no-any-return]


def interval(draws: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of ``(draws,)`` values; NaN among them are left out."""
    low, high = np.nanpercentile(draws, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)
