"""From a score to a decision, with the record of where the threshold came from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Literal, cast

import numpy as np

from fmlad.errors import CorruptDetectorError, OptionError

GAP = 2.0  # times the next lower score, from which a shot is far odder

Source = Literal["leave-one-out", "augmentations", "held-out", "validation", "rules", "user"]

_HOW = {
    "leave-one-out": "the largest leave-one-out score of {n} shots",
    "augmentations": "the largest score of {n} gentle alterations of the shots, "
    "which says little about real variation",
    "held-out": "the largest score of {n} images set aside from the shots",
    "validation": "the largest score of {n} validation images",
    "rules": "between a kept and a broken rule; no image was seen",
    "user": "set by the user",
}


@dataclass(frozen=True)
class Calibration:
    """A threshold and the normal scores it was read off.

    The threshold is the largest normal score seen. By exchangeability one more normal image exceeds
    the largest of ``n`` with a chance of about ``1 / (n + 1)``: with four shots one in five. That
    is what a handful of images can promise; more shots, or ``validation`` images, promise more.

    Attributes:
        threshold: Scores above it are anomalous; None means no decision.
        source: Where it came from.
        scores: The normal scores, ascending.
    """

    threshold: float | None
    source: Source
    scores: tuple[float, ...]

    @classmethod
    def fit(cls, scores: list[float], source: Source, baseline: float = 0.0) -> Calibration:
        """Takes the largest of some normal scores as the threshold.

        Shots that are reported as far odder than the others do not count: one misread or truly
        anomalous shot would hide every anomaly. Images given for validation all count.

        Args:
            scores: Fused scores of normal images.
            source: Where they come from.
            baseline: A score up to which none is odd (``Fusion.baseline``).
        """
        limit = far_odder(scores, baseline) if source == "leave-one-out" else math.inf
        threshold = max((score for score in scores if score <= limit), default=None)
        return cls(threshold, source, tuple(sorted(scores)))

    def with_threshold(self, threshold: float | None) -> Calibration:
        """A copy with a threshold of the user's own.

        Raises:
            OptionError: The threshold is not a finite number.
        """
        value = None if threshold is None else _as_float(threshold)
        return replace(self, threshold=value, source="user")

    def decide(self, score: float) -> bool | None:
        """Whether a score is anomalous; None without a threshold."""
        return None if self.threshold is None else score > self.threshold

    def p_value(self, score: float) -> float | None:
        """Conformal p-value ``(1 + #{normal >= score}) / (1 + n)``; None without normal scores."""
        if not self.scores:
            return None
        return (1 + sum(s >= score for s in self.scores)) / (1 + len(self.scores))

    def describe(self) -> str:
        """How the threshold came about, in one phrase."""
        aside = 0
        if self.source == "leave-one-out" and self.threshold is not None:
            aside = sum(score > self.threshold for score in self.scores)
        how = _HOW[self.source].format(n=len(self.scores) - aside)
        return f"{how}, {aside} far odder left aside" if aside else how

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"threshold": self.threshold, "source": self.source, "scores": list(self.scores)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Back from :meth:`to_dict`.

        Raises:
            CorruptDetectorError: A field is missing or of the wrong type.
        """
        threshold, source, scores = (data.get(k) for k in ("threshold", "source", "scores"))
        if not (
            "threshold" in data
            and (threshold is None or _finite(threshold))
            and isinstance(source, str)
            and source in _HOW
            and isinstance(scores, list)
            and all(map(_finite, scores))
        ):
            what = f"The calibration of the saved detector is unreadable: {data!r}."
            raise CorruptDetectorError(what)
        return cls(threshold, cast(Source, source), tuple(scores))


def far_odder(scores: Sequence[float], baseline: float = 0.0) -> float:
    """Score from which shots are far odder than the others; infinite where none are.

    A minority of the shots that a wide gap parts from the rest. Shots of several types differ more
    from each other than shots of one, but without such a gap.

    Args:
        scores: Of all shots, each judged by the others.
        baseline: A score up to which none is odd (``Fusion.baseline``).
    """
    ordered = sorted(scores)
    for last in range(len(ordered) // 2, len(ordered) - 1):
        limit = max(GAP * ordered[last], baseline)
        if ordered[last + 1] > limit:
            return limit
    return math.inf


def _finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _as_float(threshold: object) -> float:
    # Real, so that numpy's numbers are as good as Python's.
    if isinstance(threshold, bool | np.bool_) or not isinstance(threshold, Real):
        raise OptionError(f"threshold must be a number or None, got {threshold!r}.")
    value = math.inf
    with suppress(OverflowError):
        value = float(threshold)
    if not math.isfinite(value):
        raise OptionError(f"threshold must be finite, got {value}.")
    return value
