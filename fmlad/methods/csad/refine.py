"""From the masks of one image to its components (CSAD, section 3.1, up to "Mask Refinement")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from fmlad.backbones.roles import MaskProposer, Masks
from fmlad.methods.csad import masks as filters
from fmlad.methods.csad.pseudo_config import PseudoConfig
from fmlad.views import ImageView

Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]

PROPOSER, GROUNDER = "mask_proposer", "grounder"
INSET = 10  # px of the inner points that prompt the background (released code)

Fate = Literal["kept", "small", "not grounded", "background", "combination", "not preferred"]
FATES: tuple[Fate, ...] = (
    "kept", "small", "not grounded", "background", "combination", "not preferred",
)  # fmt: skip


@dataclass(frozen=True)
class Refinement:
    """The masks of one image, and what became of each.

    Attributes:
        masks: bool ``(n, h, w)`` on the proposer's grid.
        fates: ``(n,)``: ``"kept"``, or the filter that took the mask away.
        grounding: int32 ``(h, w)``, ids of grounded masks, or None where nothing was grounded.
        background: bool ``(h, w)``: of the image and of background tags; empty where unknown.
    """

    masks: Bools
    fates: tuple[Fate, ...]
    grounding: Labels | None
    background: Bools

    @property
    def kept(self) -> Bools:
        """Masks of the components, ``(m, h, w)``."""
        return self.masks[[fate == "kept" for fate in self.fates]]


def tags_of(config: PseudoConfig, view: ImageView) -> tuple[str, ...]:
    """What is grounded: nothing without tags, or without a grounder."""
    return config.tags if view.has(GROUNDER) else ()


def refine(view: ImageView, config: PseudoConfig) -> Refinement:
    """Components of one image, and why the other masks are none.

    Raises:
        PromptError: The grounder cannot read one of the tags.
    """
    automatic = view.masks(PROPOSER)
    # What the mask proposer is asked for one image comes together: it encodes the image once.
    tags = tags_of(config, view)
    grounded = _grounded(view, tags, config) if tags else None
    mode = config.mode
    if mode == "auto" and automatic.preferred is None:
        mode = "coarse" if tags else "fine"
    if mode == "coarse" and grounded is not None:
        return _coarse(*grounded)
    if mode == "auto":
        return _preferred(automatic, grounded)
    return _fine(view, automatic, grounded, config)


def _preferred(automatic: Masks, grounded: tuple[Masks, Bools] | None) -> Refinement:
    """The proposer's own choice; what lies on an object is painted over it later."""
    best = automatic.best().masks
    split = filters.pieces(best)
    fates = _small(split)
    size = best.shape[1:]
    background = np.zeros(size, bool) if grounded is None else _at(grounded[1], size)
    _taken(fates, filters.filter_by_background(split, background), "background")
    others = automatic.masks[~_preferred_rows(automatic)]
    rest: list[Fate] = ["not preferred"] * len(others)
    return Refinement(
        np.concatenate([split, others]),
        (*fates, *rest),
        None if grounded is None else filters.painted(_all_at(grounded[0].masks, size)),
        background,
    )


def _fine(
    view: ImageView, automatic: Masks, grounded: tuple[Masks, Bools] | None, config: PseudoConfig
) -> Refinement:
    size = automatic.masks.shape[1:]
    split = filters.pieces(automatic.masks)
    fates = _small(split)
    background, grounding = _corners(view, size), None
    if grounded is not None:
        found = _all_at(grounded[0].masks, size)
        grounding = filters.painted(found)
        if config.filter_by_grounding:
            _taken(fates, filters.filter_by_grounding(split, grounding > 0), "not grounded")
    _taken(fates, filters.filter_by_background(split, background), "background")
    if grounded is not None:
        behind = _at(grounded[1], size)
        _taken(fates, filters.filter_by_background(split, behind), "background")
        background = background | behind
    left = np.flatnonzero([fate == "kept" for fate in fates])
    kept = np.zeros(len(split), bool)
    kept[left] = filters.filter_by_combine(split[left])
    _taken(fates, kept, "combination")
    return Refinement(split, tuple(fates), grounding, background)


def _coarse(grounded: Masks, background: Bools) -> Refinement:
    """What was grounded, as painted: of two masks in one place the smaller one counts."""
    masks = grounded.masks
    fates = _small(masks)
    grounding = filters.painted(masks[[fate == "kept" for fate in fates]])
    return Refinement(masks, tuple(fates), grounding, background)


def _grounded(view: ImageView, tags: tuple[str, ...], config: PseudoConfig) -> tuple[Masks, Bools]:
    """A mask for each box that answers a tag; those of background tags apart, as one."""
    boxes = view.boxes(tags)
    boxes = boxes.rows(boxes.scores >= config.box_threshold)
    masks = view.prompted(boxes.boxes)
    said = [tags[number] for number in boxes.phrases]
    behind = np.array([any(word in tag for word in config.background) for tag in said], bool)
    background = (
        masks.masks[behind].any(0) if behind.any() else np.zeros(masks.masks.shape[1:], bool)
    )
    return masks.rows(~behind), background


def _corners(view: ImageView, size: tuple[int, ...]) -> Bools:
    """What the proposer takes for the image's background: prompted at and near its corners."""
    height, width = view.size
    ends = [(x, y) for x in (0, width - 1) for y in (0, height - 1)]
    near = [(abs(x - INSET), abs(y - INSET)) for x, y in ends]
    points = np.array([[*near, *ends]], np.float32)
    backbone = cast(MaskProposer, view.backbone_set.backbones[PROPOSER])
    found = view.derived_masks(
        f"csad background {backbone.fingerprint}",
        lambda: backbone.prompt(view.tensor, points=points),
    )
    return _at(found.masks[0], size)


def _preferred_rows(automatic: Masks) -> Bools:
    if automatic.preferred is None:
        return np.ones(len(automatic), bool)
    return automatic.preferred


def _small(masks: Bools) -> list[Fate]:
    large = filters.large_enough(masks)
    return ["kept" if one else "small" for one in large]


def _taken(fates: list[Fate], kept: Bools, why: Fate) -> None:
    """Notes what a filter took away of what was left."""
    for row, stays in enumerate(kept):
        if fates[row] == "kept" and not stays:
            fates[row] = why


def _at(mask: Bools, size: tuple[int, ...]) -> Bools:
    """A mask on another grid, by nearest neighbour."""
    return np.asarray(_all_at(mask[None], size)[0])


def _all_at(masks: Bools, size: tuple[int, ...]) -> Bools:
    if masks.shape[1:] == tuple(size):
        return masks
    rows, columns = (
        (np.arange(new) * old) // new for new, old in zip(size, masks.shape[1:], strict=True)
    )
    return np.asarray(masks[:, rows[:, None], columns])
