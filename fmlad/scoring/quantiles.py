"""Scores that a further normal image exceeds with a stated chance, from a few normal scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# How normal scores spread, of which nothing else is known: standard deviation of their logarithms,
# and how many images that knowledge is worth. Chosen on scenes of worlds 1 and 2, reported on
# others (benchmarks/false_alarms.py).
SPREAD, WORTH = 0.2, 4.0
OFFSET = 0.1  # on the common scale: makes logarithms of scores near 0 finite


def needed(rate: float) -> int:
    """How many normal images it takes to promise a rate of false alarms without a model."""
    return math.ceil(1 / rate - 1e-9) - 1


def conformal(scores: Sequence[float], rate: float) -> float | None:
    """The score that a further normal image exceeds with a chance of at most ``rate``.

    Split-conformal prediction (Papadopoulos et al. 2002; Vovk et al. 2005): with ``n``
    exchangeable scores the ``r``-th largest is exceeded with a chance of at most ``r / (n + 1)``.

    Args:
        scores: Of normal images.
        rate: In (0, 1).

    Returns:
        The threshold; None with fewer than :func:`needed` scores.
    """
    rank = math.floor(rate * (len(scores) + 1) + 1e-9)
    return sorted(scores, reverse=True)[rank - 1] if rank >= 1 else None


def predictive(scores: Sequence[float], rate: float) -> float:
    """The score that a further normal image exceeds with a chance of ``rate``, if a model holds.

    Logarithms of scores (plus ``OFFSET``) are taken as Gaussian of unknown mean and spread, the
    spread with a prior; the next one then follows a Student distribution (Gelman et al., Bayesian
    Data Analysis, section 3.3). It says more than a rank where there are few scores, and is no
    promise.

    Args:
        scores: Of normal images, 0 or more; at least one.
        rate: In (0, 1).
    """
    from scipy.stats import t

    logs = np.log(np.maximum(np.asarray(scores, np.float64), 0) + OFFSET)
    freedom = WORTH + len(logs) - 1
    variance = (WORTH * SPREAD**2 + np.square(logs - logs.mean()).sum()) / freedom
    width = math.sqrt(variance * (1 + 1 / len(logs)))
    return max(0.0, math.exp(logs.mean() + float(t.ppf(1 - rate, freedom)) * width) - OFFSET)
