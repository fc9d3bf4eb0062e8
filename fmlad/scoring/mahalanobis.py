"""Branch scores as one Gaussian: how far a query lies from the normal images in all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad.errors import CorruptDetectorError

KIND = "mahalanobis"
RIDGE = 1e-6  # of the trace of the correlations: keeps the inverse finite, whatever the units
NEGLIGIBLE = 1e-6  # a branch that hardly varies over the normal images counts as it is
ENOUGH = 3  # images a branch from which means and covariance are believed (ours)
LEAST_SPREAD = 0.1  # of its mean: least standard deviation of a branch with few images (ours)
LEAST_UNIT = 0.25  # of its unit: least standard deviation of a branch that has one (ours)
FAR = 1e6  # what an infinite score counts as (Eq. 2 as printed, of a class that no shot has)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mahalanobis:
    """Mahalanobis distance of the branch scores from those of normal images.

    CLIP-LAD, Eq. 4, with the *inverse* of the covariance; the printed form multiplies by the
    covariance itself, which gives the noisiest branch the most weight. A score below the mean is no
    sign of an anomaly and counts as the mean, unless ``two_sided`` asks for the distance as it is.

    Attributes:
        branches: Names, in the order of the arrays.
        mean: float64 ``(n,)``.
        covariance: float64 ``(n, n)``, positive definite.
        two_sided: Whether scores below the mean count as well.
    """

    branches: tuple[str, ...]
    mean: Floats
    covariance: Floats
    two_sided: bool = False

    @classmethod
    def fit(
        cls,
        left_out: Sequence[Mapping[str, float]],
        units: Mapping[str, float] | None = None,
        two_sided: bool = False,
    ) -> Mahalanobis:
        """Learns mean and covariance from raw branch scores, one mapping per normal image.

        What few images say is mostly chance (ours; the paper has 54 to 69 validation images).
        Below ``ENOUGH`` images a branch correlations are left out, branches in natural units keep
        these, from 0, and others vary by a tenth of their mean at least.

        Args:
            left_out: Raw scores, all of the same branches; at least one.
            units: Branch -> its unit, for branches in natural units.
        """
        branches = tuple(sorted(left_out[0]))
        scores = _finite([[image[branch] for branch in branches] for image in left_out])
        mean = scores.mean(0)
        off = scores - mean
        covariance = off.T @ off / max(len(scores) - 1, 1)
        few = len(scores) < ENOUGH * len(branches)
        if few:
            covariance = np.diag(np.diag(covariance))
        for row, branch in enumerate(branches):
            unit = (units or {}).get(branch)
            if few and unit is not None:
                mean[row], covariance[row, row] = 0.0, unit**2
            elif few:
                covariance[row, row] = max(covariance[row, row], (LEAST_SPREAD * mean[row]) ** 2)
            if covariance[row, row] < max(LEAST_UNIT * (unit or 0.0), NEGLIGIBLE) ** 2:
                # Its scores say nothing about how it goes with the others.
                covariance[row, :] = covariance[:, row] = 0.0
                covariance[row, row] = (LEAST_UNIT * unit) ** 2 if unit else 1.0
        covariance += RIDGE * len(branches) * np.diag(np.diag(covariance))
        return cls(branches, mean, covariance, two_sided)

    @property
    def scales(self) -> dict[str, float]:
        """Standard deviation of each branch."""
        return dict(zip(self.branches, np.sqrt(np.diag(self.covariance)).tolist(), strict=True))

    @property
    def baseline(self) -> float:
        """Three standard deviations; distances from a mean may be small for half of the shots."""
        return 3.0

    def scaled(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Scores of the branches in standard deviations from the mean, >= 0."""
        return {branch: float(self._off(branch, score)) for branch, score in scores.items()}

    def fused(self, scores: Mapping[str, float]) -> float:
        """The image score, >= 0."""
        off = _finite([scores[branch] for branch in self.branches]) - self.mean
        if not self.two_sided:
            off = np.maximum(off, 0)
        squared = float(off @ np.linalg.solve(self.covariance, off))
        return math.nan if math.isnan(squared) else math.sqrt(max(squared, 0.0))

    def fused_map(self, maps: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Of maps ``(h, w)``, each in standard deviations from its branch's mean, the greatest.

        A place does not have all scores of an image, so a distance of places would mean nothing.
        """
        scaled = np.stack([self._off(branch, maps[branch]) for branch in sorted(maps)])
        return np.asarray(scaled.max(0), np.float32)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "kind": KIND,
            "branches": list(self.branches),
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
            "two_sided": self.two_sided,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Mahalanobis:
        """Back from :meth:`to_dict`; CorruptDetectorError: something is missing or invalid."""
        try:
            branches = tuple(data["branches"])
            mean = np.array(data["mean"], np.float64)
            covariance = np.array(data["covariance"], np.float64)
            count = len(branches)
            fits = (
                data["kind"] == KIND
                and isinstance(data["two_sided"], bool)
                and count > 0
                and all(isinstance(branch, str) for branch in branches)
                and (mean.shape, covariance.shape) == ((count,), (count, count))
                and np.isfinite([*mean, *covariance.ravel()]).all()
                and np.allclose(covariance, covariance.T)
                and (np.linalg.eigvalsh(covariance) > 0).all()
            )
        except (KeyError, TypeError, ValueError):  # of NumPy's linear algebra as well
            fits = False
        if not fits:
            raise CorruptDetectorError(f"The fusion of the saved detector is unreadable: {data!r}.")
        return cls(branches, mean, covariance, data["two_sided"])

    def _off(self, branch: str, score: Any) -> Any:
        off = _finite(score) - float(self.mean[self.branches.index(branch)])
        off = np.abs(off) if self.two_sided else np.maximum(off, 0)
        return off / self.scales[branch]


def _finite(scores: Any) -> Floats:
    """Scores with infinity as a large number; NaN stays, for a fault must not pass as a score."""
    return np.minimum(np.asarray(scores, np.float64), FAR)
