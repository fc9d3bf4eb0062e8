"""How much of an image each class covers, and how far that is from the shots.

CLIP-LAD, section 3.2, Eq. 2: the L1 norm of ``h_test / h``, least over the shots. As printed it
cannot work: two equal histograms give the number of classes instead of 0, a class that is missing
lowers the score, and a class that no shot has divides by zero. Two corrections are offered, and the
printed form is kept for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from fmlad.errors import OptionError

Distance = Literal["log", "ratio", "literal"]
DISTANCES: tuple[str, ...] = get_args(Distance)
EPSILON = 1 / 4096  # one cell of CLIP-LAD's 64 x 64 masks: a class as good as absent

Floats = npt.NDArray[np.float64]


def class_shares(labels: npt.NDArray[np.integer], classes: int) -> Floats:
    """Share of the cells that each class owns, the background left out.

    Args:
        labels: ``(h, w)``, 0 for the background, classes from 1.
        classes: Number of classes.

    Returns:
        float64 ``(classes,)`` in [0, 1].

    Raises:
        OptionError: A label is negative or beyond the classes.
    """
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= classes:
        raise OptionError(
            f"Labels must lie in 0 to {classes}, got {int(labels.min())} to {int(labels.max())}."
        )
    counted = np.bincount(labels.ravel(), minlength=classes + 1)[1:]
    return np.asarray(counted / max(labels.size, 1), np.float64)


def by_class(query: Floats, shot: Floats, distance: Distance, epsilon: float = EPSILON) -> Floats:
    """What each class adds to the distance of two histograms.

    - ``"log"``: ``|log((q + eps) / (h + eps))|``, the same for twice as much and half as much;
    - ``"ratio"``: ``|q - h| / (h + eps)``, the difference in units of what should be there;
    - ``"literal"``: ``q / h`` as printed; infinite or NaN where the shot has nothing.

    Args:
        query: float64 ``(classes,)``, shares or counts, >= 0.
        shot: The same of a shot.
        distance: Which.
        epsilon: What counts for nothing.

    Returns:
        float64 ``(classes,)``, >= 0.
    """
    if distance == "log":
        return np.abs(np.log((query + epsilon) / (shot + epsilon)))
    if distance == "ratio":
        return np.abs(query - shot) / (shot + epsilon)
    if distance == "literal":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(query / shot)
    raise OptionError(f"distance={distance!r} is not one of {DISTANCES}.")


def nearest(
    query: Floats, memory: Sequence[Floats], distance: Distance, epsilon: float = EPSILON
) -> tuple[float, int]:
    """Distance to the nearest histogram of a memory, and its index (corrected Eq. 2).

    The nearest shot decides: where a product comes in several types, a query is compared with its
    own.

    Raises:
        OptionError: The memory is empty.
    """
    if not memory:
        raise OptionError("The memory of histograms is empty; at least one shot must stay.")
    sums = np.array([by_class(query, shot, distance, epsilon).sum() for shot in memory])
    # 0 / 0 of the literal form: nothing can be said, so it is no neighbour.
    sums = np.where(np.isnan(sums), np.inf, sums)
    best = int(sums.argmin())
    return float(sums[best]), best
