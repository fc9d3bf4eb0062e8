"""What several images kept of their proposals, and how much that speaks for another one (ours)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fmlad.objects.appearance import COLOUR, FORM, Proposals
from fmlad.objects.arrays import Bools, Floats

FORM_REACH, COLOUR_REACH = 0.75, 2.0  # units of appearance within which two proposals are similar
CUT_OFF = 2.0  # reaches between what touches the image's border and what does not
OF_FORM = slice(3, 7)  # columns of ``Choices.points``
DOUBT = 1.0  # prior: as many similar proposals, of which half were kept
SAME = 0.6  # intersection over union from which two are one thing


@dataclass(frozen=True)
class Choices:
    """The proposals of some images and which of them were kept.

    Attributes:
        points: float64 ``(n, 7)``: colour, form and border, in reaches.
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
        points = np.column_stack(
            [
                appearance[:, COLOUR[:3]] / COLOUR_REACH,
                appearance[:, FORM] / FORM_REACH,
                CUT_OFF * proposals.border,
            ]
        )
        return cls(points, proposals.quality, kept)

    @classmethod
    def distinct(cls, proposals: Proposals, kept: Bools) -> Choices:
        """Of one image, without what was left out for another outline of the same thing."""
        own = np.diag(proposals.shared)
        union = own[:, None] + own[None] - proposals.shared
        same = proposals.shared > SAME * np.maximum(union, 1)
        return cls.of(proposals, kept).rows(kept | ~(same & kept).any(1))

    def rows(self, which: Bools) -> Choices:
        """Some of them: bool ``(n,)``."""
        return Choices(self.points[which], self.quality[which], self.kept[which])

    @classmethod
    def together(cls, several: Sequence[Choices]) -> Choices:
        """Of several images."""
        tables = zip(*((one.points, one.quality, one.kept) for one in several), strict=True)
        return cls(*(np.concatenate(columns) for columns in tables))

    def share_kept(self, points: Floats) -> Floats:
        """Share of the proposals similar to ``points`` ``(m, 7)`` that was kept, ``(m,)``."""
        return self._share(points, slice(None))

    def support(self, points: Floats) -> Floats:
        """That share, or the one of proposals of similar form where that is larger, ``(m,)``.

        Things of one kind may differ in colour, and the shots show few of their colours.
        """
        return np.maximum(self.share_kept(points), self._share(points, OF_FORM))

    def _share(self, points: Floats, columns: slice) -> Floats:
        if not len(self.points):
            return np.full(len(points), 0.5)
        similar = similarity(points[:, columns], self.points[:, columns]) * self.quality
        return np.asarray((similar @ self.kept + DOUBT / 2) / (similar.sum(1) + DOUBT), np.float64)


def similarity(points: Floats, others: Floats) -> Floats:
    """Similarity in [0, 1] of points ``(n, d)`` to others, ``(n, m)``."""
    from scipy.spatial.distance import cdist

    return np.asarray(np.exp(-0.5 * cdist(points, others, "sqeuclidean")), np.float64)
