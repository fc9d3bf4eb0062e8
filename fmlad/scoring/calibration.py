"""From a score to a decision, with the record of where the threshold came from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Literal, cast, get_args

import numpy as np

from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.scoring.quantiles import conformal, needed, predictive

GAP = 2.0  # times the next lower score, from which a shot is far odder
CERTAIN = 0.05  # chance of a false alarm from which on an alarm is called certain
MOST = 0.15  # chance of a false alarm at the automatic threshold, at most

Source = Literal[
    "leave-one-out", "training", "augmentations", "held-out", "validation", "rules", "user"
]
Decision = Literal["ok", "unsure", "not_ok"]
OddShots = Literal["keep", "drop"]

_OF = {
    "leave-one-out": "{n} shots, each judged by the others",
    "training": "{n} training images, each judged by the others",
    "augmentations": "{n} gentle alterations of the shots, which say little about real variation",
    "held-out": "{n} images set aside from the shots",
    "validation": "{n} validation images",
}


@dataclass(frozen=True)
class Calibration:
    """A threshold and the normal scores it was read off.

    By exchangeability one more normal image exceeds the ``r``-th largest of ``n`` normal scores
    with a chance of at most ``r / (n + 1)``. Where ``n`` is too small for the rate wanted, the
    threshold is read off the spread of the scores instead, and is marked as such (``modelled``).

    Attributes:
        threshold: Scores above it are anomalous; None means no decision.
        source: Where it came from.
        scores: The normal scores, ascending; those of dropped shots left out.
        rate: Chance of a false alarm that the threshold stands for; None where it is not known.
        sure_above: Scores above it are certain alarms, ``CERTAIN`` or less of normal images; those
            between threshold and it are unsure. None where there is no such range.
        modelled: Whether the threshold is read off the spread of the scores, not off their ranks.
        dropped: Number of odd shots that do not count.
    """

    threshold: float | None
    source: Source
    scores: tuple[float, ...]
    rate: float | None = None
    sure_above: float | None = None
    modelled: bool = False
    dropped: int = 0

    @classmethod
    def fit(
        cls,
        scores: Sequence[float],
        source: Source,
        rate: float | None = None,
        odd: OddShots = "keep",
        baseline: float = 0.0,
    ) -> Calibration:
        """Sets the threshold by some normal scores.

        Args:
            scores: Fused scores of normal images.
            source: Where they come from.
            rate: False alarms wanted, in (0, 1); None is what so many images can promise, within
                ``CERTAIN`` and ``MOST``.
            odd: Whether shots that are far odder than the others count. One that is truly
                anomalous hides anomalies like it; one that is normal is what the threshold is
                for. Other sources always count whole.
            baseline: A score up to which none is odd (``Fusion.baseline``).
        """
        limit = math.inf
        if source in ("leave-one-out", "training") and odd == "drop":
            limit = far_odder(scores, baseline)
        kept = sorted(score for score in scores if score <= limit)
        dropped = len(scores) - len(kept)
        if not kept:
            return cls(None, source, (), dropped=dropped)
        if rate is None:
            rate = min(max(1 / (len(kept) + 1), CERTAIN), MOST)
        threshold = conformal(kept, rate)
        modelled = threshold is None
        if threshold is None:
            threshold = predictive(kept, rate)
        sure = None
        if rate > CERTAIN:
            ranked = conformal(kept, CERTAIN)
            sure = max(threshold, predictive(kept, CERTAIN) if ranked is None else ranked)
        return cls(threshold, source, tuple(kept), rate, sure, modelled, dropped)

    def with_threshold(self, threshold: float | None) -> Calibration:
        """A copy with a threshold of the user's own.

        Raises:
            OptionError: The threshold is not a finite number.
        """
        value = None if threshold is None else _as_float(threshold)
        return replace(
            self, threshold=value, source="user", rate=None, sure_above=None, modelled=False
        )

    def decide(self, score: float) -> bool | None:
        """Whether a score is anomalous; None without a threshold."""
        return None if self.threshold is None else score > self.threshold

    def decision(self, score: float) -> Decision | None:
        """``"ok"``, ``"not_ok"``, or ``"unsure"`` where normal images come as high; None without
        a threshold."""
        if self.threshold is None:
            return None
        if score <= self.threshold:
            return "ok"
        return "unsure" if self.sure_above is not None and score <= self.sure_above else "not_ok"

    def p_value(self, score: float) -> float | None:
        """Conformal p-value ``(1 + #{normal >= score}) / (1 + n)``; None without normal scores."""
        if not self.scores:
            return None
        return (1 + sum(s >= score for s in self.scores)) / (1 + len(self.scores))

    @property
    def missing(self) -> int:
        """How many more normal images it takes to promise the rate without a model."""
        if self.rate is None:
            return 0
        known = 0 if self.source == "augmentations" else len(self.scores)  # copies are no images
        return max(0, needed(self.rate) - known)

    def describe(self) -> str:
        """How the threshold came about, in one phrase."""
        if self.source == "user":
            return "set by the user"
        if self.source == "rules":
            return "between a kept and a broken rule; no image was seen"
        of = _OF[self.source].format(n=len(self.scores))
        if self.dropped:
            of += f" ({self.dropped} far odder left aside)"
        if self.rate is None:
            return f"none could be read off {of}"
        rate = f"{self.rate:.{0 if self.rate >= 0.01 else 2}%} false alarms"
        if not self.modelled:
            return f"at most {rate} by the ranks of {of}"
        return (
            f"about {rate} by the spread of {of}; a promise takes {self.missing} more normal "
            f"image{'' if self.missing == 1 else 's'}"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "scores": list(self.scores)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Back from :meth:`to_dict`.

        Raises:
            CorruptDetectorError: A field is missing or of the wrong type.
        """
        found = dict(data)
        scores = found.get("scores")
        fits = (
            found.keys() == cls.__dataclass_fields__.keys()
            and all(
                found[name] is None or _finite(found[name])
                for name in ("threshold", "rate", "sure_above")
            )
            and isinstance(found["source"], str)
            and found["source"] in get_args(Source)
            and isinstance(scores, list)
            and all(map(_finite, scores))
            and isinstance(found["modelled"], bool)
            and type(found["dropped"]) is int
            and found["dropped"] >= 0
        )
        if not fits:
            what = f"The calibration of the saved detector is unreadable: {data!r}."
            raise CorruptDetectorError(what)
        return cls(**{**found, "scores": tuple(cast(list[float], scores))})


def checked_rate(rate: object) -> float | None:
    """A rate of false alarms as users give it.

    Raises:
        OptionError: It is not a number between 0 and 1, both excluded.
    """
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, Real) or not 0 < float(rate) < 1:
        raise OptionError(
            f"target_false_alarms (--false-alarms) is a share of normal images between 0 and 1, "
            f"such as 0.05; got {rate!r}."
        )
    return float(rate)


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
