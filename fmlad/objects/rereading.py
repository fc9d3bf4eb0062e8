"""Another reading of an image's proposals, where that agrees with what the others show (ours).

A die that touches its neighbour is one proposal with it in one shot of four: its counts then refute
the law of the other three. Among the proposals of such an image are other readings, a whole for its
pieces or pieces for a whole. One is taken where it disagrees less with the laws of the other images
and where the proposer's own qualities do not speak against it; what the laws gain, in nats, must
exceed what the qualities lose. Where the others agree on nothing there are no laws, and no reading
is better than another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fmlad.objects.appearance import Proposals
from fmlad.objects.arrays import Bools, Floats
from fmlad.objects.choices import Choices
from fmlad.objects.nesting import excluding, inside

SUPPORT = 0.6  # share of similar proposals kept by the others, from which one may be taken
PRICE = 0.25  # nats that another reading costs, however good its proposals are
MOST_CHANGES = 8  # of one image
TRIED = 24  # other readings a round, best supported first

Disagreement = Callable[[Bools], float]


def reread(
    proposals: Proposals, kept: Bools, choices: Choices, disagreement: Disagreement
) -> Bools:
    """The reading that agrees best with the others, ``(n,)``; ``kept`` where none is better.

    Args:
        proposals: Of an image.
        kept: Its present reading, no two of which exclude each other.
        choices: Of the other images.
        disagreement: Of a reading with the others, in nats, 0 or more.
    """
    share_kept = choices.support(Choices.of(proposals, kept).points)
    supported = np.asarray(share_kept > SUPPORT)
    now = disagreement(kept)
    for _ in range(MOST_CHANGES):
        best, least = None, now
        for reading in _others(proposals, kept, supported, share_kept):
            price = PRICE + _loss(proposals, kept, reading)
            if price < now and (found := disagreement(reading) + price) < least:
                best, least = reading, found
        if best is None:
            break
        kept, now = best, disagreement(best)
    return kept


def _others(
    proposals: Proposals, kept: Bools, supported: Bools, share_kept: Floats
) -> Iterator[Bools]:
    """Readings that take one more supported proposal, without those that it excludes."""
    rivals, within = excluding(proposals), inside(proposals)
    value = proposals.areas * proposals.quality**2
    candidates = np.flatnonzero(supported & ~kept)
    for row in candidates[np.lexsort((-value[candidates], -share_kept[candidates]))][:TRIED]:
        gone = rivals[row] & kept
        reading = kept & ~gone
        reading[row] = True
        # The rest of a whole that is given up.
        rest = within[gone].any(0) & supported & ~kept
        rest[row] = False
        for piece in sorted(np.flatnonzero(rest), key=lambda index: -value[index]):
            if not (rivals[piece] & reading).any():
                reading[piece] = True
        yield reading


def _loss(proposals: Proposals, kept: Bools, reading: Bools) -> float:
    """Nats by which the proposer's qualities speak against a change of reading, 0 or more.

    Not by area as in a consensus: a die with its shadow is larger than the die.
    """
    added, gone = reading & ~kept, kept & ~reading
    # What excludes nothing was left out by the proposer: a perfect one would not have been.
    before = proposals.quality[gone].mean() if gone.any() else 1.0
    return max(0.0, 2 * float(np.log(before / proposals.quality[added].mean())))
