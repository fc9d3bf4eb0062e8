"""What counts as one object: several images together know better than each alone.

A pin may be seen whole in one image and as head and point in the next, because a threshold fell
differently. Proposals therefore come with their rivals, and the shots agree on kinds: of all that
looks alike, how often was it taken? What is usually taken gains, what is usually left loses, and
each image is parsed again with that, until nothing changes. A query is parsed with what the shots
agreed on (ours; the rule that a part must recur across images is CSAD's, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmlad.objects.appearance import COLOUR, FORM, Floats, Proposals

Bools = npt.NDArray[np.bool_]

FORM_REACH, COLOUR_REACH = 0.75, 2.0  # units of look within which two proposals are of a kind
TRUST = 1.0  # natural log of what a kind that is always taken gains, and one never taken loses
MARGIN = 1.2  # a change must gain this factor: the proposer knows its image best
DOUBT = 1.0  # like so many proposals of which half were taken
ROUNDS = 4
SHARED = 0.5  # of the smaller one, from which two proposals exclude each other
ROOMY, CONTENT = 0.03, 0.25  # but a holder of this share of the image may have contents this small
INSIDE = 0.8  # of a piece
LIKELY = 0.6  # share taken from which what excludes nothing is taken as well


@dataclass(frozen=True)
class Kinds:
    """What was on offer in some images and what of it was taken.

    Attributes:
        points: float64 ``(n, 6)``: colour and form, in reaches.
        quality: float64 ``(n,)`` in [0, 1].
        taken: bool ``(n,)``.
    """

    points: Floats
    quality: Floats
    taken: Bools

    @classmethod
    def of(cls, proposals: Proposals, taken: Bools) -> Kinds:
        """Of one image."""
        appearance = proposals.objects.appearance
        points = np.concatenate(
            [appearance[:, COLOUR[:3]] / COLOUR_REACH, appearance[:, FORM] / FORM_REACH], axis=1
        )
        return cls(points, proposals.quality, taken)

    @classmethod
    def together(cls, several: Sequence[Kinds]) -> Kinds:
        """Of several images."""
        return cls(
            np.concatenate([kinds.points for kinds in several]),
            np.concatenate([kinds.quality for kinds in several]),
            np.concatenate([kinds.taken for kinds in several]),
        )

    def usual(self, points: Floats) -> Floats:
        """Share of what looks like ``points`` ``(m, 6)`` that was taken, ``(m,)`` in [0, 1]."""
        from scipy.spatial.distance import cdist

        if not len(self.points):
            return np.full(len(points), 0.5)
        alike = np.exp(-0.5 * cdist(points, self.points, "sqeuclidean")) * self.quality
        return np.asarray((alike @ self.taken + DOUBT / 2) / (alike.sum(1) + DOUBT), np.float64)


def agree(images: Sequence[Proposals]) -> list[Bools]:
    """What to take of each image, so that images agree; one alone keeps its proposer's choice."""
    taken = [proposals.own for proposals in images]
    if len(images) == 1:
        return taken
    for _ in range(ROUNDS):
        kinds = [Kinds.of(proposals, rows) for proposals, rows in zip(images, taken, strict=True)]
        changed = [
            parse(proposals, Kinds.together(kinds[:index] + kinds[index + 1 :]), taken[index])
            for index, proposals in enumerate(images)
        ]
        if all((new == old).all() for new, old in zip(changed, taken, strict=True)):
            break
        taken = changed
    return taken


def parse(proposals: Proposals, kinds: Kinds, start: Bools | None = None) -> Bools:
    """What to take of an image, ``(n,)``, by what was taken of such things elsewhere.

    Args:
        offers: Of the image.
        kinds: Of other images.
        start: Choice to start from; the proposer's by default.
    """
    taken = (proposals.own if start is None else start).copy()
    points = Kinds.of(proposals, taken).points
    usual = kinds.usual(points)
    # Area counts so that a whole and its pieces compare; squared quality as in the proposer.
    value = proposals.areas * proposals.quality**2 * np.exp(TRUST * (2 * usual - 1))
    rivals = _rivals(proposals)
    sizes = np.maximum(np.diag(proposals.shared), 1)
    within = proposals.shared / sizes[None] > INSIDE  # [whole, piece]
    for _ in range(ROUNDS):
        before = taken.copy()
        for row in np.argsort(-value, kind="stable"):
            against = rivals[row] & taken
            if taken[row]:
                continue
            if against.any():
                better = value[row] > MARGIN * value[against].sum()
            else:
                better = bool(usual[row] > LIKELY)
            if better:
                taken[against] = False
                taken[row] = True
        for row in np.flatnonzero(taken):
            pieces = _pieces(int(row), rivals, within[row], taken, value)
            if len(pieces) > 1 and value[pieces].sum() > MARGIN * value[row]:
                taken[row] = False
                taken[pieces] = True
        if (taken == before).all():
            break
    return taken


def _rivals(proposals: Proposals) -> Bools:
    """Which proposals exclude each other, ``(n, n)``."""
    own = np.maximum(np.diag(proposals.shared), 1)
    smaller, larger = (
        np.minimum.outer(proposals.areas, proposals.areas),
        np.maximum.outer(proposals.areas, proposals.areas),
    )
    holder = (larger > ROOMY) & (smaller < CONTENT * larger)
    result = (proposals.shared > SHARED * np.minimum.outer(own, own)) & ~holder
    np.fill_diagonal(result, False)
    return np.asarray(result)


def _pieces(row: int, rivals: Bools, within: Bools, taken: Bools, value: Floats) -> list[int]:
    """Proposals inside one that could stand in its place together, the most valuable first."""
    others = taken.copy()
    others[row] = False
    free = rivals[row] & within & ~taken & ~(rivals & others).any(1)
    chosen: list[int] = []
    for piece in sorted(np.flatnonzero(free), key=lambda index: -value[index]):
        if not rivals[piece][chosen].any():
            chosen.append(int(piece))
    return chosen
