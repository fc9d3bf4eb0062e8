"""From branch scores to one score on a scale fixed at fit time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad.errors import CorruptDetectorError

# A branch that is silent on every shot must not divide by zero: it then counts as it is.
SILENT = 1e-6


@dataclass(frozen=True)
class AdaptiveMaximum:
    """Divides every branch by its largest leave-one-out score over the shots, then adds up.

    Source: PSAD (Kim et al., AAAI 2024), adaptive scaling. A fused score of 1.0 from one branch
    means "as odd as the oddest shot is to the others".

    Attributes:
        scales: Branch -> its divisor, positive.
    """

    scales: Mapping[str, float]

    @classmethod
    def fit(
        cls,
        left_out: Sequence[Mapping[str, float]],
        bounds: Mapping[str, tuple[float, float]] | None = None,
    ) -> AdaptiveMaximum:
        """Learns the scales from raw branch scores, one mapping per left-out image.

        Args:
            left_out: Raw scores.
            bounds: Branch -> least and greatest divisor, for branches in natural units: without a
                floor a branch that is silent on every shot would make the first sound infinite,
                without a ceiling one failure on a shot would make the branch deaf.
        """
        branches = sorted({name for scores in left_out for name in scores})
        largest = {b: max(scores[b] for scores in left_out if b in scores) for b in branches}
        scales = {b: value if value > SILENT else 1.0 for b, value in largest.items()}
        for branch, (floor, ceiling) in (bounds or {}).items():
            if branch in scales:
                scales[branch] = min(max(largest[branch], floor), ceiling)
        return cls(scales)

    @classmethod
    def plain(cls, branches: Iterable[str]) -> AdaptiveMaximum:
        """No scaling at all: raw branch scores are added as they are."""
        return cls(dict.fromkeys(branches, 1.0))

    def scaled(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Scores of the branches on the common scale."""
        return {branch: score / self.scales[branch] for branch, score in scores.items()}

    def fused(self, scores: Mapping[str, float]) -> float:
        """The image score: the sum of the scaled branch scores."""
        return float(sum(self.scaled(scores).values()))

    def fused_map(self, maps: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """The sum of the scaled branch maps, all ``(h, w)`` alike."""
        total = sum(maps[branch] / self.scales[branch] for branch in sorted(maps))
        return np.asarray(total, dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"kind": "adaptive-maximum", "scales": dict(self.scales)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AdaptiveMaximum:
        """Back from :meth:`to_dict`.

        Raises:
            CorruptDetectorError: A scale is not a positive number, or the kind is another.
        """
        scales = data.get("scales")
        if (
            data.get("kind") != "adaptive-maximum"
            or not isinstance(scales, dict)
            or not all(isinstance(s, float) and 0 < s < float("inf") for s in scales.values())
        ):
            raise CorruptDetectorError(f"The fusion of the saved detector is unreadable: {data!r}.")
        return cls(scales)
