"""A curve of overlap against false positive rate, and areas under it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fmlad.errors import OptionError

Floats = npt.NDArray[np.float64]


def check_limit(limit: float) -> None:
    """Raises OptionError unless ``limit`` is a false positive rate in (0, 1]."""
    if not 0 < limit <= 1:
        raise OptionError(f"fpr_limit must lie in (0, 1], got {limit}.")


@dataclass(frozen=True)
class SproCurve:
    """Saturated per-region overlap against false positive rate, from no pixel to all of them.

    All arrays are ``(n,)`` float64. Between two points the curve is a straight line.

    Attributes:
        fpr: Share of normal pixels predicted, in [0, 1], never falling; starts at 0, ends at 1.
        spro: Mean over the regions of ``min(pixels found / saturation area, 1)``, in [0, 1], never
            falling; starts at 0.
        thresholds: Predicted is what reaches it; falling, from infinity to minus infinity at most.
        slack: Area between 0 and ``fpr`` that the straight lines may at most be wrong by (not
            normalised): 0 where every distinct map value has its point, see :meth:`error`.
    """

    fpr: Floats = field(repr=False)
    spro: Floats = field(repr=False)
    thresholds: Floats = field(repr=False)
    slack: Floats = field(repr=False)

    def area(self, limit: float = 0.05) -> float:
        """Area under the curve from 0 to ``limit`` in (0, 1], divided by it; in [0, 1].

        Cut on the straight line between two points; a constant map gives ``limit / 2``.

        Raises:
            OptionError: ``limit`` is out of range.
        """
        check_limit(limit)
        inside = int(np.searchsorted(self.fpr, limit, side="right"))
        x, y = self.fpr[:inside], self.spro[:inside]
        whole = np.trapezoid(y, x)
        end = np.interp(limit, self.fpr, self.spro)
        return float(whole + (limit - x[-1]) * (y[-1] + end) / 2) / limit

    def error(self, limit: float = 0.05) -> float:
        """Bound of the error of :meth:`area`: whatever was joined, it cannot be more.

        0 for all but very large data: see :mod:`fmlad.metrics.sweep`.
        """
        check_limit(limit)
        last = int(np.searchsorted(self.fpr, limit, side="right")) - 1
        bound = self.slack[last]
        if last + 1 < len(self.fpr) and self.slack[last + 1] > bound:
            # A line cut somewhere: the true curve may be anywhere in the box around it.
            bound += (limit - self.fpr[last]) * (self.spro[last + 1] - self.spro[last])
        return float(bound) / limit

    def thinned(self, points: int) -> SproCurve:
        """The same curve with at most ``points`` of its points, spread evenly along it.

        Raises:
            OptionError: Fewer than two points are asked for.
        """
        if points < 2:
            raise OptionError(f"a curve needs two points or more, got {points}.")
        if len(self.fpr) <= points:
            return self
        way = self.fpr + self.spro
        kept = np.searchsorted(way, np.linspace(way[0], way[-1], points))
        kept[0], kept[-1] = 0, len(way) - 1
        kept = np.unique(kept)
        return SproCurve(self.fpr[kept], self.spro[kept], self.thresholds[kept], self.slack[kept])

    def to_dict(self) -> dict[str, list[float]]:
        """JSON-ready: ``fpr`` and ``spro``."""
        return {"fpr": self.fpr.tolist(), "spro": self.spro.tolist()}
