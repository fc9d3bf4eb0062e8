"""Which proposals of an image count as objects, decided by several images together (ours).

A pin may be proposed whole in one image and as head and point in the next, because a threshold fell
differently. Each image keeps or rejects a proposal by the share of similar proposals that the other
images keep; all images are decided again until no decision changes. A query is decided by the
shots. That a part must recur across images is CSAD's rule (section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fmlad.objects.appearance import COLOUR, FORM, Proposals
from fmlad.objects.arrays import Bools, Floats

FORM_REACH, COLOUR_REACH = 0.75, 2.0  # units of appearance within which two proposals are similar
OF_FORM = slice(3, 6)  # columns of ``Choices.points``
TRUST = 1.0  # natural log of what a proposal gains where all similar ones were kept, or loses
MARGIN = 1.2  # factor by which a change must gain: the proposer's choice is the default
DOUBT = 1.0  # prior: as many similar proposals, of which half were kept
ROUNDS = 4
SHARED = 0.5  # of the smaller one, from which two proposals exclude each other
ROOMY, CONTENT = 0.03, 0.25  # but a holder of this share of the image may have contents this small
INSIDE = 0.8  # share of a piece that lies inside the whole
LIKELY = 0.6  # share kept from which a proposal that excludes no other is kept as well


@dataclass(frozen=True)
class Choices:
    """The proposals of some images and which of them were kept.

    Attributes:
        points: float64 ``(n, 6)``: colour and form, in reaches.
        quality: float64 ``(n,)`` in [0, 1].
        kept: bool ``(n,)``.
    """

    points: Floats
    quality: Floats
    kept: Bools

    @classmethod
    def of(cls, proposals: Proposals, kept: Bools) -> Choices:
        """Of one image."""
        appearance = proposals.objects.appearance
        points = np.concatenate(
            [appearance[:, COLOUR[:3]] / COLOUR_REACH, appearance[:, FORM] / FORM_REACH], axis=1
        )
        return cls(points, proposals.quality, kept)

    @classmethod
    def together(cls, several: Sequence[Choices]) -> Choices:
        """Of several images."""
        tables = zip(*((one.points, one.quality, one.kept) for one in several), strict=True)
        return cls(*(np.concatenate(columns) for columns in tables))

    def share_kept(self, points: Floats) -> Floats:
        """Share of the proposals similar to ``points`` ``(m, 6)`` that was kept, ``(m,)``."""
        return self._share(points, slice(None))

    def support(self, points: Floats) -> Floats:
        """That share, or the one of proposals of similar form where that is larger, ``(m,)``.

        Things of one kind may differ in colour, and the shots show few of their colours.
        """
        return np.maximum(self.share_kept(points), self._share(points, OF_FORM))

    def _share(self, points: Floats, columns: slice) -> Floats:
        from scipy.spatial.distance import cdist

        if not len(self.points):
            return np.full(len(points), 0.5)
        squared = cdist(points[:, columns], self.points[:, columns], "sqeuclidean")
        similar = np.exp(-0.5 * squared) * self.quality
        return np.asarray((similar @ self.kept + DOUBT / 2) / (similar.sum(1) + DOUBT), np.float64)


def consensus(images: Sequence[Proposals]) -> list[Bools]:
    """Which proposals of each image are kept; a single image keeps its proposer's choice."""
    kept = [proposals.preferred for proposals in images]
    if len(images) == 1:
        return kept
    for _ in range(ROUNDS):
        choices = [Choices.of(one, rows) for one, rows in zip(images, kept, strict=True)]
        changed = [
            select(proposals, Choices.together(choices[:index] + choices[index + 1 :]), kept[index])
            for index, proposals in enumerate(images)
        ]
        if all((new == old).all() for new, old in zip(changed, kept, strict=True)):
            break
        kept = changed
    return kept


def select(proposals: Proposals, choices: Choices, start: Bools | None = None) -> Bools:
    """Which proposals of an image are kept, ``(n,)``, by the choices of other images."""
    kept = (proposals.preferred if start is None else start).copy()
    share_kept = choices.share_kept(Choices.of(proposals, kept).points)
    # Area counts so that a whole and its pieces compare; squared quality as in the proposer.
    value = proposals.areas * proposals.quality**2 * np.exp(TRUST * (2 * share_kept - 1))
    rivals = excluding(proposals)
    within = inside(proposals)
    for _ in range(ROUNDS):
        before = kept.copy()
        for row in np.argsort(-value, kind="stable"):
            if kept[row]:
                continue
            against = rivals[row] & kept
            if against.any():
                better = value[row] > MARGIN * value[against].sum()
            else:
                better = bool(share_kept[row] > LIKELY)
            if better:
                kept[against] = False
                kept[row] = True
        for row in np.flatnonzero(kept):
            pieces = _pieces(int(row), rivals, within[row], kept, value)
            if len(pieces) > 1 and value[pieces].sum() > MARGIN * value[row]:
                kept[row] = False
                kept[pieces] = True
        if (kept == before).all():
            break
    return kept


def excluding(proposals: Proposals) -> Bools:
    """Which proposals exclude each other, ``(n, n)``."""
    own = np.maximum(np.diag(proposals.shared), 1)
    smaller = np.minimum.outer(proposals.areas, proposals.areas)
    larger = np.maximum.outer(proposals.areas, proposals.areas)
    holder = (larger > ROOMY) & (smaller < CONTENT * larger)
    result = (proposals.shared > SHARED * np.minimum.outer(own, own)) & ~holder
    np.fill_diagonal(result, False)
    return np.asarray(result)


def inside(proposals: Proposals) -> Bools:
    """Which proposals lie inside which, ``(n, n)``: ``[whole, piece]``."""
    sizes = np.maximum(np.diag(proposals.shared), 1)
    return np.asarray(proposals.shared / sizes[None] > INSIDE)


def _pieces(row: int, rivals: Bools, within: Bools, kept: Bools, value: Floats) -> list[int]:
    """Proposals inside one that can replace it together, the most valuable first."""
    others = kept.copy()
    others[row] = False
    free = rivals[row] & within & ~kept & ~(rivals & others).any(1)
    chosen: list[int] = []
    for piece in sorted(np.flatnonzero(free), key=lambda index: -value[index]):
        if not rivals[piece][chosen].any():
            chosen.append(int(piece))
    return chosen
