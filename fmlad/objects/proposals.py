"""Object proposals of a view: automatic masks, masks grounded by phrases, or both.

Grounded: words for the image, from the user or from a tagger that saw the shots, become boxes, and
boxes become masks (the chain of CSAD, section 3.1: tags, grounding, segmentation).
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BeforeValidator

from fmlad.backbones.roles import Masks
from fmlad.errors import OptionError, PromptError
from fmlad.objects.appearance import Proposals, describe_proposals
from fmlad.objects.instances import resized
from fmlad.progress import Progress, silent
from fmlad.prompts import PromptSet
from fmlad.views import ImageView

_log = logging.getLogger(__name__)

PROPOSER, GROUNDER, TAGGER = "mask_proposer", "grounder", "tagger"
How = Literal["automatic", "grounded", "both"]

NAME_THEM = (
    "Name the things yourself: phrases='screw, nut' (--option phrases='screw, nut'), or use "
    "proposals='automatic'."
)
PROMPT_SET = "prompts:"  # prefix of a phrase that stands for the words of a prompt set
MOST_PHRASES = 32  # tags of the shots that are grounded, at most (ours)
RECURS = 0.5  # share of the shots that a tag must be of (ours)
WHOLE = 0.9  # share of the image from which what a box holds is its background, no object (ours)
SAME = 0.8  # overlap from which two masks are of one object (ours)


def expanded(phrases: Any) -> Any:
    """Phrases without repetition, ``"prompts:NAME"`` replaced by the words of that prompt set.

    Raises:
        PromptError: There is no such set.
    """
    if isinstance(phrases, str):
        phrases = phrases.split(",")
    if not isinstance(phrases, list | tuple) or not all(isinstance(p, str) for p in phrases):
        return phrases
    found: list[str] = []
    for phrase in phrases:
        name = phrase.strip()
        if name.startswith(PROMPT_SET):
            found += PromptSet.load(name.removeprefix(PROMPT_SET)).words
        else:
            found.append(name)
    return tuple(dict.fromkeys(found))


def _some(phrases: tuple[str, ...]) -> tuple[str, ...]:
    if "" in phrases:
        raise ValueError("should have no empty phrase")
    return phrases


Phrases = Annotated[tuple[str, ...], BeforeValidator(expanded), AfterValidator(_some)]
"""For the option ``phrases`` of methods: a list, ``"a, b"``, or ``"prompts:NAME"``."""


@dataclass(frozen=True)
class ProposalSource:
    """Where the object proposals of a view come from.

    Attributes:
        how: ``"automatic"``: the mask proposer's own; ``"grounded"``: one mask a box that answers
            one of the phrases; ``"both"``: grounded ones and what they leave of the others.
        phrases: What is grounded; empty before :meth:`learned`.
    """

    how: How = "automatic"
    phrases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """OptionError: phrases that would be ignored."""
        if self.how == "automatic" and self.phrases:
            raise OptionError(
                f"phrases={', '.join(self.phrases)!r} would be ignored with automatic masks; add "
                f"proposals='grounded' or 'both', or leave them out."
            )

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles that it asks for."""
        if self.how == "automatic":
            return (PROPOSER,)
        return (PROPOSER, GROUNDER) if self.phrases else (PROPOSER, GROUNDER, TAGGER)

    def learned(self, views: Sequence[ImageView], progress: Progress = silent) -> ProposalSource:
        """With phrases from the shots' tags, if it has none, and all shots' masks made.

        What expensive backbones say is kept in the disk cache, image by image, so that an
        interrupted fit goes on where it was.

        Raises:
            OptionError: No tag recurs over the shots, the grounder reads none of them, or no shot
                shows anything that answers a phrase and there are no automatic masks.
            PromptError: The grounder cannot read a phrase of the user's.
        """
        source = self
        if self.how != "automatic" and not self.phrases:
            source = replace(self, phrases=_recurring(views, progress))
        found = set[int]()
        for done, view in enumerate(views, start=1):
            try:
                phrases = source.masks(view).phrases
            except PromptError as error:
                if self.phrases:
                    raise
                raise OptionError(
                    f"The grounder cannot read what the tagger says ({', '.join(source.phrases)}): "
                    f"{error} {NAME_THEM}"
                ) from error
            found.update([] if phrases is None else phrases.tolist())
            progress(done, len(views), "finding objects in the shots")
        source._check_found(found)
        return source

    def _check_found(self, found: set[int]) -> None:
        """Says which phrases no shot answers; OptionError where that is all of them."""
        missing = [phrase for number, phrase in enumerate(self.phrases) if number not in found]
        if not missing:
            return
        named = ", ".join(map(repr, missing))
        if len(missing) == len(self.phrases) and self.how == "grounded":
            raise OptionError(
                f"None of the shots shows anything that answers {named}, so there are no objects; "
                f"see what the grounder finds with `fmlad look IMAGE --words ...`, use other "
                f"phrases, or proposals='both'."
            )
        _log.warning("no shot shows anything that answers %s", named)

    def masks(self, view: ImageView) -> Masks:
        """The proposals of a view, best first; grounded ones say which phrase they answer."""
        if self.how == "automatic":
            return view.masks(PROPOSER)
        backbones = view.backbone_set.backbones
        asked = " ".join(backbones[role].fingerprint for role in (PROPOSER, GROUNDER))
        return view.derived_masks(f"{self!r} {asked}", lambda: self._grounded(view))

    def proposals(self, view: ImageView) -> Proposals:
        """Them, described once by the appearance of the view."""
        key = f"proposals {self!r}"
        if key not in view.memo:
            cells = view.pyramid().cells
            view.memo[key] = describe_proposals(view.pixels, self.masks(view), cells)
        proposals: Proposals = view.memo[key]
        return proposals

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: ``{"phrases": [...]}``, nothing where proposals are automatic."""
        return {} if self.how == "automatic" else {"phrases": list(self.phrases)}

    def restored(self, data: Mapping[str, Any]) -> ProposalSource:
        """As it was learned, from what :meth:`to_dict` is a part of.

        Raises:
            KeyError, ValueError: It is no such description.
        """
        if self.how == "automatic":
            return self
        phrases = tuple(data["phrases"])
        if not phrases or not all(isinstance(one, str) for one in phrases):
            raise ValueError(f"phrases are {phrases!r}")
        return replace(self, phrases=phrases)

    def _grounded(self, view: ImageView) -> Masks:
        # What the mask proposer is asked for one image comes together: it encodes the image once.
        boxes = view.boxes(self.phrases)
        automatic = view.masks(PROPOSER) if self.how == "both" else None
        masks = replace(view.prompted(boxes.boxes), phrases=boxes.phrases)
        shares = masks.masks.mean(axis=(1, 2))
        masks = masks.rows((shares > 0) & (shares < WHOLE))
        # Of two phrases for one thing the surer one names it.
        masks = masks.rows(_distinct(masks.masks))
        if automatic is None:
            order = np.argsort(-masks.scores, kind="stable")
            return masks.rows(order)
        return _joined(masks, automatic)


AUTOMATIC = ProposalSource()


def _recurring(views: Sequence[ImageView], progress: Progress) -> tuple[str, ...]:
    """Tags that many of the shots have, the most frequent first."""
    number, score = Counter[str](), defaultdict[str, float](float)
    for done, view in enumerate(views, start=1):
        for word, sureness in view.tags():
            number[word] += 1
            score[word] += sureness
        progress(done, len(views), "naming what the shots show")
    found = [word for word, count in number.items() if count >= RECURS * len(views)]
    if not found:
        raise OptionError(
            "The tagger found no word that half of the shots have in common, so there is nothing "
            f"to ground. {NAME_THEM}"
        )
    found.sort(key=lambda word: (-number[word], -score[word], word))
    return tuple(found[:MOST_PHRASES])


def _distinct(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Masks ``(n, h, w)`` that are not the same as one before them."""
    overlap = overlaps(masks, masks)
    kept = np.ones(len(masks), bool)
    for row in range(len(masks)):
        kept[row] = not (overlap[row, :row][kept[:row]] >= SAME).any()
    return kept


def _joined(grounded: Masks, automatic: Masks) -> Masks:
    """Grounded masks and the automatic ones that are of other things, best first."""
    answered = grounded.phrases
    if answered is None or not len(grounded):
        return replace(automatic, phrases=np.full(len(automatic), -1))
    height, width = automatic.masks.shape[1:]
    masks = np.array([resized(mask, (height, width)) for mask in grounded.masks])
    same = overlaps(automatic.masks, masks) >= SAME
    others = automatic.rows(np.flatnonzero(~same.any(axis=1)))
    preferred = others.preferred
    if preferred is not None:
        preferred = np.concatenate([np.ones(len(masks), bool), preferred])
    found = Masks(
        np.concatenate([masks, others.masks]),
        np.concatenate([grounded.boxes, others.boxes]),
        np.concatenate([grounded.scores, others.scores]),
        preferred,
        np.concatenate([answered, np.full(len(others), -1)]),
    )
    return found.rows(np.argsort(-found.scores, kind="stable"))


def overlaps(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Intersection over union of masks ``(n, h, w)`` and ``(m, h, w)``, ``(n, m)``."""
    one, other = (
        masks.reshape(len(masks), masks.shape[1] * masks.shape[2]).astype(np.float32)
        for masks in (first, second)
    )
    shared = one @ other.T
    union = one.sum(1)[:, None] + other.sum(1) - shared
    return np.asarray(shared / np.maximum(union, 1), np.float64)
