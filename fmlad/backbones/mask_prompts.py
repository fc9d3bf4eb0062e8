"""Prompts of a mask proposer, checked: boxes, and sets of points with labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad.errors import OptionError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ON, BESIDE, NONE = 1, 0, -1  # labels: on the object, beside it, no point at all


@dataclass(frozen=True)
class MaskPrompts:
    """What is asked for: one mask per box and per set of points.

    Attributes:
        boxes: ``(n, 4) xyxy``.
        points: ``(m, p, 2) xy``.
        labels: ``(m, p)``: 1 on the object, 0 beside it, -1 no point at all. Every set has a 1.
    """

    boxes: Floats
    points: Floats
    labels: Ints

    def sets(self) -> list[tuple[Ints, Floats, Ints]]:
        """The sets of points by their number of points, without what is labelled -1.

        A network sees a filling point as one more token, which moves the mask a little. So sets of
        unlike sizes are asked apart, and the others in a call change nothing for any of them.

        Returns:
            Of each number q of points, in rising order: the numbers of the sets ``(k,)``, their
            points ``(k, q, 2)`` and labels ``(k, q)``.
        """
        counts = (self.labels != NONE).sum(1)
        order = np.argsort(self.labels == NONE, axis=1, kind="stable")  # fillers last
        points = np.take_along_axis(self.points, order[:, :, None], axis=1)
        labels = np.take_along_axis(self.labels, order, axis=1)
        groups = [(int(count), np.flatnonzero(counts == count)) for count in np.unique(counts)]
        return [(rows, points[rows, :count], labels[rows, :count]) for count, rows in groups]


def mask_prompts(boxes: Any = None, points: Any = None, labels: Any = None) -> MaskPrompts:
    """Checks prompts in input pixels; see :class:`~fmlad.backbones.roles.MaskProposer`.

    Args:
        boxes: ``(n, 4) xyxy``, or None.
        points: ``(m, 2) xy``, a mask each, or ``(m, p, 2)``, p points for each mask, or None.
        labels: Of the points ``(m, p)``, or ``(m,)`` for points ``(m, 2)``; None: all are 1.

    Raises:
        OptionError: Other shapes or labels, coordinates that are not finite, a box whose far edge
            lies before its near one, or a set without a point labelled 1.
    """
    wanted = _numbers(boxes, "boxes", (0, 4))
    if wanted.ndim != 2 or wanted.shape[1] != 4:
        raise OptionError(f"Boxes are (n, 4), xyxy in pixels; these have the shape {wanted.shape}.")
    if (turned := (wanted[:, 2:] < wanted[:, :2]).any(1)).any():
        wrong = wanted[turned][0].tolist()
        raise OptionError(f"Boxes are left, top, right, bottom in pixels; this one is {wrong}.")
    spots = _numbers(points, "points", (0, 1, 2))
    if spots.ndim not in (2, 3) or spots.shape[-1] != 2:
        raise OptionError(
            f"Points are (n, 2), or (n, p, 2) for p points a mask, xy in pixels; these have the "
            f"shape {spots.shape}."
        )
    spots = spots[:, None] if spots.ndim == 2 else spots
    return MaskPrompts(wanted, spots, _labels(labels, spots))


def _labels(labels: Any, points: Floats) -> Ints:
    wanted = points.shape[:2]
    given = np.ones(wanted) if labels is None else _numbers(labels, "labels", (0, 1))
    if given.shape != wanted and not (wanted[1] == 1 and given.shape == wanted[:1]):
        raise OptionError(
            f"Labels are (n, p), one for each point; these have the shape {given.shape}, and the "
            f"points are {wanted[0]} sets of {wanted[1]}."
        )
    given = given.reshape(wanted)
    if not (known := np.isin(given, (ON, BESIDE, NONE))).all():
        raise OptionError(
            f"Labels of points are 1 (on the object), 0 (beside it) and -1 (no point at all); "
            f"{given[~known][0]:g} is among these."
        )
    if not (has := (given == ON).any(1)).all():
        raise OptionError(
            f"Every set of points needs one labelled 1 (on the object); set {int(has.argmin())} "
            f"of these has none."
        )
    return given.astype(np.int64)


def _numbers(given: Any, what: str, none: tuple[int, ...]) -> Floats:
    """As float64; ``none`` is the shape for nothing at all."""
    try:
        numbers = np.asarray([] if given is None else given, np.float64)
    except (TypeError, ValueError):
        raise OptionError(f"The {what} are no array of numbers.") from None
    if not np.isfinite(numbers).all():
        raise OptionError(f"Some of the {what} are not finite.")
    return np.zeros(none) if numbers.shape == (0,) else numbers
