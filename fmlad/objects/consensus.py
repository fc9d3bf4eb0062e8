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

import numpy as np

from fmlad.objects.appearance import Proposals
from fmlad.objects.arrays import Bools, Floats
from fmlad.objects.choices import OF_FORM, Choices, similarity
from fmlad.objects.counterparts import form_and_place
from fmlad.objects.nesting import excluding, excluding_but_contents, inside, pieces_of

TRUST = 1.0  # natural log of what a proposal gains where all similar ones were kept, or loses
MARGIN = 1.2  # factor by which a change must gain: the proposer's choice is the default
ROUNDS = 4
RECURS = 0.3  # similarity to the nearest of another image, from which the start may hold one
STEADY = 0.65  # share of its count that the others have on average, or it of theirs
DROPPED = 0.55  # share kept up to which a query does not start with one, without such a choice
UNHEARD = 0.45  # but it may where nothing like it was left out, and much of its form was kept
CERTAIN = 0.75  # votes from which it does, where the proposer makes no choice
LIKELY = 0.6  # share kept from which a proposal that excludes no other is kept as well


def consensus(images: Sequence[Proposals]) -> list[Bools]:
    """Which proposals of each image are kept; a single image keeps its proposer's choice."""
    if len(images) == 1:
        return [images[0].preferred]
    kept = _start(images)
    for _ in range(ROUNDS):
        choices = [Choices.distinct(one, rows) for one, rows in zip(images, kept, strict=True)]
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
    points = Choices.of(proposals, proposals.preferred).points
    share_kept = choices.share_kept(points)
    value = _value(proposals, share_kept)
    if proposals.chosen:
        rivals = excluding(proposals)
    else:
        support = choices.support(points)
        rivals = excluding_but_contents(proposals, support > CERTAIN)
        if start is None:
            known = (share_kept > DROPPED) | ((share_kept > UNHEARD) & (support > CERTAIN))
            start = _best(value, rivals, known)
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
            pieces = pieces_of(int(row), rivals, within[row], kept, value)
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
    places = [form_and_place(one.objects) for one in images]
    found = []
    for number, one in enumerate(images):
        others = [other for other in range(len(images)) if other != number]
        nearest = [
            np.maximum(
                similarity(points[number], points[other]).max(1, initial=0.0),
                similarity(places[number], places[other]).max(1, initial=0.0),
            )
            for other in others
        ]
        votes: Floats = np.mean(nearest, axis=0)
        rivals = excluding_but_contents(one, votes > CERTAIN)
        best = _best(_value(one, votes), rivals, votes > RECURS)
        found.append(one.preferred if one.chosen else best)
    return [
        one.preferred if one.chosen else rows & (_steady(number, found, points, places) > STEADY)
        for number, (one, rows) in enumerate(zip(images, found, strict=True))
    ]


def _steady(
    number: int, found: Sequence[Bools], points: Sequence[Floats], places: Sequence[Floats]
) -> Floats:
    """Share of its count that the others have of each proposal of one image, ``(n,)``.

    Of what looks alike, or is of the same form; or of what has its form and place there.
    """
    others = [other for other in range(len(found)) if other != number]
    here = [similarity(places[number], places[o][found[o]]).max(1, initial=0.0) for o in others]
    steady: Floats = np.mean(here, axis=0)
    for columns in (slice(None), OF_FORM):
        own = points[number][:, columns]
        counts = [
            similarity(own, there[known][:, columns]).sum(1)
            for there, known in zip(points, found, strict=True)
        ]
        mine, theirs = counts[number], np.stack([counts[o] for o in others])
        shares = np.minimum(mine, theirs) / np.maximum(np.maximum(mine, theirs), 1e-9)
        steady = np.maximum(steady, shares.mean(0))
    return steady


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
