"""Surprise, in nats, of a count, a size or a position after those of the shots.

A count has two explanations: a law ("always six", with a small chance of one more or fewer), or
none (a Poisson or geometric count). The counts of the shots decide between them: 6, 6, 6, 6
support a law, so that a seventh die is surprising; 5, 8, 3, 6 do not. The share of groups with a
law is learned from all groups of a level: where most counts vary, one that happens to be equal four
times weighs less. One more after four equal counts is worth about 3 to 4 nats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fmlad.objects.arrays import Floats

SLIPS = (0.01, 0.05, 0.25)  # chance ratios of one more or fewer under a law
MISCOUNTED = 0.05  # chance that an image is miscounted by any number
WITHIN_LAW = (0.55, 0.27, 0.18)  # prior shares of those slips, given that there is a law
WITHOUT = (0.4, 0.6)  # prior shares of Poisson and geometric counts, given that there is none
PRIOR_GROUPS = 6.0  # the prior counts for this many groups when a level's own shares are learned
ROUNDS = 4  # of that learning
LEAST_CENTRES = 10  # counts considered possible at least
PRIOR_SPREAD_WEIGHT = 2.0  # the prior spread of a size or place counts for this many shots
EMPTY: Floats = np.zeros(0)


@dataclass(frozen=True)
class CountLaw:
    """The posterior over all explanations of a group's counts.

    Attributes:
        shares: float64 ``(h,)``, posterior share of each kind of explanation, sums to 1.
        weights: float64 ``(h, m)``: posterior over ``centres`` for each kind.
        centres: float64 ``(m,)``, counts (for a law) or means (without).
        expected: The count to report: the shots' most frequent one.
    """

    shares: Floats
    weights: Floats
    centres: Floats
    expected: float

    @property
    def lawful(self) -> float:
        """Posterior belief in [0, 1] that there is a law."""
        return float(self.shares[: len(SLIPS)].sum())

    def surprise(self, count: float, leaving: Floats = EMPTY, joining: Floats = EMPTY) -> float:
        """Nats by which ``count`` is less likely than the likeliest count, 0 or more.

        Multiplied by the belief in a law: specks and shadows vary more than a Poisson count would.

        Args:
            count: Of the image's objects that belong to the group.
            leaving: For some of the objects counted, the chance in [0, 1] that they do not belong.
            joining: For some of the others, the chance that they do.
        """
        chances, counts = np.ones(1), np.array([count - len(leaving)])
        for belongs in (*(1 - leaving), *joining):
            chances = np.convolve(chances, [1 - belongs, belongs])
        counts = np.maximum(counts + np.arange(len(chances)), 0)
        logs = self._logs(np.concatenate([self.centres, [self.expected], counts]))
        here = float(np.log(chances @ np.exp(logs[-len(counts) :]) + 1e-300))
        return max(0.0, float(logs.max()) - here) * self.lawful

    def _logs(self, counts: Floats) -> Floats:
        likelihood = np.exp(_log_likelihood(counts, self.centres))
        mixed = np.einsum("h,hm,hmk->k", self.shares, self.weights, likelihood)
        return np.asarray(np.log(mixed + 1e-300), dtype=np.float64)


def count_laws(counts: Sequence[Floats], lawful: float = 0.5) -> list[CountLaw]:
    """Laws for the groups of one level, which share the learned frequency of laws.

    Args:
        counts: Per group its counts over the shots ``(k,)``; ``k`` may be 0.
        lawful: Prior belief, in (0, 1), that a group of this level has a law.
    """
    largest = max((float(c.max()) for c in counts if len(c)), default=0.0)
    centres = np.arange(max(math.ceil(largest) + 3, LEAST_CENTRES), dtype=np.float64)
    prior = np.array([*(lawful * w for w in WITHIN_LAW), *((1 - lawful) * w for w in WITHOUT)])
    logs = [_log_likelihood(c, centres).sum(-1) - math.log(len(centres)) for c in counts]
    evidence = [np.logaddexp.reduce(log, axis=1) for log in logs]
    shares = prior.copy()
    for _ in range(ROUNDS):
        posteriors = [_softmax(np.log(shares) + e) for e in evidence]
        # With one shot every explanation fits as well as any other: nothing is learned.
        total = PRIOR_GROUPS * prior + sum(posteriors, np.zeros(len(prior)))
        shares = total / total.sum()
    return [
        CountLaw(_softmax(np.log(shares) + e), np.exp(log - e[:, None]), centres, _typical(c))
        for c, log, e in zip(counts, logs, evidence, strict=True)
    ]


def spread_surprise(value: Floats, seen: Floats, prior_spread: float) -> float:
    """Nats by which a value is less likely than the mean of those seen (Student's t).

    Args:
        value: ``(d,)``.
        seen: ``(k, d)`` with ``k`` >= 1.
        prior_spread: Standard deviation per coordinate that is believed before any is seen.
    """
    count, size = seen.shape
    mean = seen.mean(0)
    freedom = PRIOR_SPREAD_WEIGHT + size * (count - 1)
    squares = PRIOR_SPREAD_WEIGHT * prior_spread**2 + np.square(seen - mean).sum()
    squared = float(np.square(value - mean).sum()) / (squares / freedom * (1 + 1 / count))
    return float((freedom + size) / 2 * math.log1p(squared / freedom))


def _typical(counts: Floats) -> float:
    """The most frequent whole count, the larger one of several; 0 without any."""
    if len(counts) == 0:
        return 0.0
    values, times = np.unique(np.round(counts), return_counts=True)
    return float(values[times == times.max()].max())


def _log_likelihood(counts: Floats, centres: Floats) -> Floats:
    """Log chance of each count under each explanation, ``(h, m, k)``."""
    from scipy.special import gammaln

    gap = np.abs(counts[None, :] - centres[:, None])
    # One miscounted shot (an object in pieces) must not refute a law.
    miscounted = math.log(MISCOUNTED) - 2 * np.log1p(gap) - math.log(2)
    laws = [
        np.logaddexp(math.log((1 - slip) / (1 + slip)) + math.log(slip) * gap, miscounted)
        for slip in SLIPS
    ]
    means = np.maximum(centres, 0.25)[:, None]
    poisson = counts * np.log(means) - means - gammaln(counts + 1)
    # Geometric: counts that vary more than Poisson allows.
    handful = counts * np.log(means / (1 + means)) - np.log1p(means)
    return np.stack([*laws, poisson, handful])


def _softmax(logs: Floats) -> Floats:
    raised = np.exp(logs - logs.max())
    return np.asarray(raised / raised.sum(), dtype=np.float64)
