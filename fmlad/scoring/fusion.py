"""From branch scores to one score on a scale fixed at fit time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from fmlad.errors import CorruptDetectorError

NEGLIGIBLE = 1e-6  # a branch whose unit is below must not divide by it: it counts as it is
KIND = "adaptive-scaling"
LEAST_OTHERS = 2  # images: the scales of a single one say nothing about another

Combine = Literal["sum", "norm", "maximum"]


class Fusion(Protocol):
    """How branch scores become one score, on a scale fixed at fit time."""

    @property
    def scales(self) -> Mapping[str, float]:
        """Branch -> its unit, positive."""

    @property
    def baseline(self) -> float:
        """A score up to which no shot is odd, however small those of the others are."""

    def scaled(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Scores of some branches on the common scale."""

    def fused(self, scores: Mapping[str, float]) -> float:
        """The image score, of the scores of all branches."""

    def fused_map(self, maps: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Maps of some branches, all ``(h, w)`` alike, as one on the common scale."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with its ``kind``."""


def fusion_from_dict(data: Mapping[str, Any]) -> Fusion:
    """Back from ``to_dict`` of any fusion.

    Raises:
        CorruptDetectorError: The kind is unknown, or its description is damaged.
    """
    from fmlad.scoring import leading, mahalanobis, trimmed

    if data.get("kind") == mahalanobis.KIND:
        return mahalanobis.Mahalanobis.from_dict(data)
    if data.get("kind") == trimmed.KIND:
        return trimmed.TrimmedZ.from_dict(data)
    if data.get("kind") == leading.KIND:
        return leading.Leading.from_dict(data)
    return AdaptiveScaling.from_dict(data)


def by_the_others(
    learn: Callable[[Sequence[Mapping[str, float]]], Fusion], images: Sequence[Mapping[str, float]]
) -> list[float]:
    """Scores of normal images, each fused by what the others teach (ours).

    An image that has a say in the scales is too well described by them; without it, it is like a
    new one.

    Args:
        learn: From raw branch scores of normal images to a fusion.
        images: Raw branch scores. Fewer than ``LEAST_OTHERS`` + 1 are fused by all of them.
    """
    if len(images) <= LEAST_OTHERS:
        return [learn(images).fused(image) for image in images]
    return [
        learn([*images[:index], *images[index + 1 :]]).fused(image)
        for index, image in enumerate(images)
    ]


@dataclass(frozen=True)
class AdaptiveScaling:
    """Divides every branch by its largest leave-one-out score over the shots, then joins them.

    Source: PSAD (Kim et al., AAAI 2024), adaptive scaling, which adds the branches up. A fused
    score of 1.0 from one branch means "as odd as the oddest shot is to the others".

    Attributes:
        scales: Branch -> its divisor, positive.
        combine: ``"sum"`` (PSAD), ``"maximum"`` (ours), so that the noise of the other branches
            does not hide the greatest, or ``"norm"`` (ours), their Euclidean norm, in between.
    """

    scales: Mapping[str, float]
    combine: Combine = "sum"

    @classmethod
    def fit(
        cls,
        left_out: Sequence[Mapping[str, float]],
        bounds: Mapping[str, tuple[float, float]] | None = None,
        combine: Combine = "sum",
        by_mean: Collection[str] = (),
    ) -> AdaptiveScaling:
        """Learns the scales from raw branch scores, one mapping per left-out image.

        Args:
            left_out: Raw scores.
            bounds: Branch -> least and greatest divisor, for branches in natural units: without
                the least, scores of 0 on every shot would make any other infinite; without the
                greatest, one failure on a shot would scale all other scores down to nothing.
            combine: How the branches are joined.
            by_mean: Branches divided by their mean over the left-out images instead: those that
                are 0 on most images and high on one.
        """
        raw: dict[str, list[float]] = {}
        for scores in left_out:
            for branch, score in scores.items():
                raw.setdefault(branch, []).append(score)
        scales = {}
        for branch in sorted(raw):
            unit = float(np.mean(raw[branch]) if branch in by_mean else max(raw[branch]))
            if bounds and branch in bounds:
                floor, ceiling = bounds[branch]
                scales[branch] = min(max(unit, floor), ceiling)
            else:
                scales[branch] = unit if unit > NEGLIGIBLE else 1.0
        return cls(scales, combine)

    @classmethod
    def plain(cls, branches: Iterable[str]) -> AdaptiveScaling:
        """No scaling at all: raw branch scores are added as they are."""
        return cls(dict.fromkeys(branches, 1.0))

    @property
    def baseline(self) -> float:
        """0: ratios to the oddest shot may be compared as they are."""
        return 0.0

    def scaled(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Scores of the branches on the common scale."""
        return {branch: score / self.scales[branch] for branch, score in scores.items()}

    def fused(self, scores: Mapping[str, float]) -> float:
        """The image score: sum, norm or maximum of the scaled branch scores."""
        return float(self._joined(np.array(list(self.scaled(scores).values()))))

    def fused_map(self, maps: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """The scaled branch maps, all ``(h, w)`` alike, joined as the scores are."""
        scaled = np.stack([maps[branch] / self.scales[branch] for branch in sorted(maps)])
        return np.asarray(self._joined(scaled), dtype=np.float32)

    def _joined(self, scaled: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Branches ``(b, ...)`` as one; all are 0 or more."""
        if self.combine == "norm":
            return np.asarray(np.sqrt(np.square(scaled).sum(0)))
        return np.asarray(scaled.sum(0) if self.combine == "sum" else scaled.max(0))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"kind": KIND, "scales": dict(self.scales), "combine": self.combine}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AdaptiveScaling:
        """Back from :meth:`to_dict`.

        Raises:
            CorruptDetectorError: A scale is not a positive number, or the kind is another.
        """
        scales: Any = data.get("scales")
        combine: Any = data.get("combine")
        if (
            data.get("kind") != KIND
            or combine not in get_args(Combine)
            or not isinstance(scales, dict)
            or not all(isinstance(s, float) and 0 < s < float("inf") for s in scales.values())
        ):
            raise CorruptDetectorError(f"The fusion of the saved detector is unreadable: {data!r}.")
        return cls(scales, combine)
