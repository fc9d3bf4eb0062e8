"""Branch scores in trimmed standard deviations, added up (CSAD)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad.errors import CorruptDetectorError

KIND = "trimmed-z"
RANGE = (0.2, 0.8)  # quantiles between which scores count (paper, section 3.5)
LEAST = 1e-3  # deviation below which nothing is divided (released code)


@dataclass(frozen=True)
class TrimmedMoments:
    """Mean and deviation of the middle of some scores.

    Attributes:
        mean: Trimmed mean.
        deviation: Trimmed standard deviation (of the population), positive; 1 where the middle does
            not vary.
    """

    mean: float
    deviation: float

    @classmethod
    def fit(cls, scores: Sequence[float]) -> TrimmedMoments:
        """Of the scores strictly between their 20 % and 80 % quantiles (CSAD, section 3.5).

        Where none lies between, which takes fewer than three different scores, all count.
        """
        values = np.asarray(scores, np.float64)
        low, high = np.quantile(values, RANGE)
        middle = values[(values > low) & (values < high)]
        middle = middle if len(middle) else values
        deviation = float(middle.std())
        return cls(float(middle.mean()), deviation if deviation >= LEAST else 1.0)

    def __call__(self, score: Any) -> Any:
        """A score, or an array of scores, in deviations from the mean."""
        return (score - self.mean) / self.deviation


@dataclass(frozen=True)
class TrimmedZ:
    """Adds the branches up, each in trimmed standard deviations from its trimmed mean.

    CSAD, section 3.5. The image score is the softplus of the sum, which keeps the order of all
    images and is positive (ours), because a threshold for few images is read off logarithms.

    Attributes:
        moments: Of each branch.
    """

    moments: Mapping[str, TrimmedMoments]

    @classmethod
    def fit(cls, left_out: Sequence[Mapping[str, float]]) -> TrimmedZ:
        """Learns the moments from raw branch scores, one mapping per normal image."""
        branches = sorted(left_out[0])
        return cls({b: TrimmedMoments.fit([one[b] for one in left_out]) for b in branches})

    @property
    def scales(self) -> dict[str, float]:
        """Trimmed standard deviation of each branch."""
        return {branch: one.deviation for branch, one in self.moments.items()}

    @property
    def baseline(self) -> float:
        """Three trimmed deviations; most scores are near 0, so that their ratios say nothing."""
        return 3.0

    def scaled(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Softplus of each branch's score in trimmed deviations."""
        return {b: float(softplus(self.moments[b](score))) for b, score in scores.items()}

    def sum(self, scores: Mapping[str, float]) -> float:
        """The sum itself, of any sign: the paper's score."""
        return float(sum(one(scores[branch]) for branch, one in self.moments.items()))

    def fused(self, scores: Mapping[str, float]) -> float:
        """The image score, >= 0: softplus of :meth:`sum`."""
        return float(softplus(self.sum(scores)))

    def fused_map(self, maps: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """The maps added up, each as the softplus of its values in deviations.

        Softplus comes before the sum, because a place that one branch does not mind must not hide
        what another one finds there.
        """
        scaled = [
            softplus(self.moments[branch](maps[branch].astype(np.float64)))
            for branch in sorted(maps)
        ]
        return np.asarray(np.sum(scaled, axis=0), np.float32)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        moments = {name: [m.mean, m.deviation] for name, m in self.moments.items()}
        return {"kind": KIND, "moments": moments}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrimmedZ:
        """Back from :meth:`to_dict`; CorruptDetectorError: something is missing or invalid."""
        try:
            if data["kind"] != KIND or not data["moments"]:
                raise ValueError
            found = {str(n): TrimmedMoments(*map(float, m)) for n, m in data["moments"].items()}
            if not all(
                math.isfinite(m.mean) and 0 < m.deviation < math.inf for m in found.values()
            ):
                raise ValueError
        except (AttributeError, LookupError, TypeError, ValueError):
            raise CorruptDetectorError(
                f"The fusion of the saved detector is unreadable: {data!r}."
            ) from None
        return cls(found)


def softplus(value: Any) -> Any:
    """``log(1 + exp(value))``: positive, rising, and the value itself where that is large."""
    return np.logaddexp(0.0, value)
