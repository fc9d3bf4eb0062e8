"""Which proposals of an image count as objects, decided by several images together (ours).

A pin may be proposed whole in one image and as head and point in the next, because a threshold fell
differently. Each image keeps or rejects a proposal by the share of similar proposals that the other
images keep; all images are decided again until no decision changes. A query is decided by the
shots. That a part must recur across images is CSAD's rule (section 3.1).

It starts from the proposer's choice. Where the proposer makes none (SAM), the images vote for a
start: what recurs in the others, and as often there as here, a whole before its pieces. A query of
such a proposer starts with what resembles things that the shots kept.
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
RECURS = 0.3  # similarity to the nearest of another image, from which the start may hold one
STEADY = 0.65  # share of its count that the others have on average, or it of theirs
DROPPED = 0.55  # share kept up to which a query does not start with one, without such a choice
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
        if not len(self.points):
            return np.full(len(points), 0.5)
        similar = _similar(points[:, columns], self.points[:, columns]) * self.quality
        return np.asarray((similar @ self.kept + DOUBT / 2) / (similar.sum(1) + DOUBT), np.float64)


def consensus(images: Sequence[Proposals]) -> list[Bools]:
    """Which proposals of each image are kept; a single image keeps its proposer's choice."""
    if len(images) == 1:
        return [images[0].preferred]
    kept = _start(images)
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
    share_kept = choices.share_kept(Choices.of(proposals, proposals.preferred).points)
    value = _value(proposals, share_kept)
    rivals = excluding(proposals)
    if start is None and not proposals.chosen:
        start = _best(value, rivals, share_kept > DROPPED)
    kept = (proposals.preferred if start is None else start).copy()
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


def _start(images: Sequence[Proposals]) -> list[Bools]:
    """The proposers' choices; where one makes none, what recurs as often in the other images."""
    if all(one.chosen for one in images):
        return [one.preferred for one in images]
    points = [Choices.of(one, one.preferred).points for one in images]
    found = []
    for number, (one, here) in enumerate(zip(images, points, strict=True)):
        others = points[:number] + points[number + 1 :]
        nearest = [_similar(here, there).max(1, initial=0.0) for there in others]
        votes: Floats = np.mean(nearest, axis=0)
        best = _best(_value(one, votes), excluding(one), votes > RECURS)
        found.append(one.preferred if one.chosen else best)
    kept = []
    for number, (one, rows) in enumerate(zip(images, found, strict=True)):
        steady = np.zeros(len(rows))
        for columns in (slice(None), OF_FORM):
            counts = np.stack(
                [
                    _similar(points[number][:, columns], there[known][:, columns]).sum(1)
                    for there, known in zip(points, found, strict=True)
                ]
            )
            own, elsewhere = counts[number], np.delete(counts, number, 0)
            shares = np.minimum(own, elsewhere) / np.maximum(np.maximum(own, elsewhere), 1e-9)
            steady = np.maximum(steady, shares.mean(0))
        kept.append(one.preferred if one.chosen else rows & (steady > STEADY))
    return kept


def _similar(points: Floats, others: Floats) -> Floats:
    """Similarity in [0, 1] of points ``(n, d)`` to others, ``(n, m)``."""
    from scipy.spatial.distance import cdist

    return np.asarray(np.exp(-0.5 * cdist(points, others, "sqeuclidean")), np.float64)


def _value(proposals: Proposals, votes: Floats) -> Floats:
    """What each proposal is worth, ``(n,)``, by votes in [0, 1].

    Area counts so that a whole and its pieces compare; squared quality as in the proposer.
    """
    return np.asarray(proposals.areas * proposals.quality**2 * np.exp(TRUST * (2 * votes - 1)))


def _best(value: Floats, rivals: Bools, eligible: Bools) -> Bools:
    """The most valuable proposals, ``(n,)``, that do not exclude each other."""
    kept = np.zeros(len(value), bool)
    for row in np.argsort(-value, kind="stable"):
        kept[row] = eligible[row] and not (rivals[row] & kept).any()
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
