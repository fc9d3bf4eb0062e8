"""The embedded grounder: object proposals, each called by the phrase that describes it best.

The preferred proposals of ``builtin:objects@3`` are compared with the phrases by
``builtin:lexicon@1``. So a phrase is found by its words for colour, size, shape and texture alone,
and sizes are relative to the proposals of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from fmlad.backbones import phrases as phrase_list
from fmlad.backbones.embedded.learned_objects import LearnedProposer
from fmlad.backbones.embedded.lexicon import LexiconAligner
from fmlad.backbones.roles import Boxes
from fmlad.errors import OptionError

# Of a degree to which a phrase holds, in [0, 1], above which it does: the middle of every ramp of
# the lexicon, so that a phrase holds rather than not.
CUT = 0.5


def proposer_of(name: str) -> str:
    """Name of the proposer that a grounder of this kind works on."""
    return LearnedProposer.name


class LexiconBoxes:
    """``builtin:lexicon-boxes@1``: :class:`~fmlad.backbones.roles.Grounder` without a download."""

    name = "builtin:lexicon-boxes@1"
    expensive = True

    def __init__(
        self, name: str = name, device: str = "cpu", proposer: LearnedProposer | None = None
    ) -> None:
        """Takes a proposer, so that it sees an image once for both, or loads one.

        Raises:
            WeightsUnavailableError: Weights are missing or damaged.
        """
        self._proposer = proposer or LearnedProposer(device=device)
        self._aligner = LexiconAligner(device=device)

    @property
    def fingerprint(self) -> str:
        """Name, and the fingerprints of proposer and lexicon."""
        return f"{self.name} {self._proposer.fingerprint} {self._aligner.fingerprint}"

    def find(self, image: Tensor, phrases: Sequence[str]) -> Boxes:
        """Objects in ``uint8 (1, 3, H, W)`` that one of the phrases describes.

        Each object answers the phrase that holds best, the first of equals, if it holds to more
        than 0.5; that degree is its score. Boxes do not overlap but where one object holds another.

        Raises:
            PromptError: There is no phrase, or one without any word that the lexicon can see: it
                knows words for what something looks like, and is told which was meant.
            OptionError: There are several images.
        """
        phrase_list.check(phrases)
        if image.ndim != 4 or len(image) != 1:
            raise OptionError(f"find() takes one image (1, 3, H, W), got {tuple(image.shape)}.")
        found = self._proposer.propose(image).best()
        pyramid = self._aligner.encode(image)
        degrees = self._aligner.ground(pyramid, phrases, found.masks).cpu().numpy()
        owners, scores = degrees.argmax(axis=0), degrees.max(axis=0)
        order = np.argsort(-scores, kind="stable")
        kept = order[scores[order] > CUT]
        return Boxes(found.boxes[kept], owners[kept].astype(np.int64), scores[kept])
