"""Mask proposers that know scenes: the true masks, and what SAM's generator would make of them.

``"truth"`` is the upper bound: one proposal for each visible object, its holes filled (what lies on
an object belongs to its outline), all preferred.

``"sam-like"`` turns the truth into what SAM's automatic generator returns (Kirillov et al. 2023,
section 7 and appendix D): wholes, parts and sub-parts, each with an outline of its own, near
duplicates, neighbours taken together, regions of the background; some objects are missed, and
nothing is preferred. An image's proposals hang on its pixels alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from torch import Tensor

from fmlad.backbones.roles import Masks
from fmlad.datasets.scenes import Scene
from fmlad.errors import DatasetError
from fmlad.views import pixels_key

Source = Literal["proposed", "truth", "sam-like"]
SOURCES: tuple[Source, ...] = get_args(Source)

Bools = npt.NDArray[np.bool_]
Proposal = tuple[Bools, float]
"""A mask and its score."""

TRUE_SCORE = 0.99
# Rates of the generator, an object or a part each (ours: weights of SAM were not at hand).
MISSED = 0.01  # objects without a proposal of the whole
SEEN_AS_VISIBLE = 0.5  # objects with holes that are proposed without what lies in them as well
DUPLICATED = 0.3  # wholes that come once more, with another outline
TOGETHER = 0.1  # pairs of neighbours that are proposed as one
CUT, CUT_AGAIN = 0.6, 0.3  # wholes of which parts are proposed, and parts of which sub-parts are
MOST_PIECES = 8  # parts of a whole, the largest ones
BACKGROUND = 0.7  # regions of the background that are proposed
BACKGROUND_COLOURS = 4
LEAST = 60  # pixels of a proposal (the generator drops specks)
LEAST_BACKGROUND = 0.004  # share of the image
OUTLINE, OUTLINE_AGAIN = 1.2, 3.0  # pixels by which outlines wander, and those of duplicates
WANDER = 12.0  # pixels over which an outline wanders
DISTINCT = 0.95  # IoU from which of two proposals the better one stays
WHOLE_SCORES, PART_SCORES, OTHER_SCORES = (0.94, 1.0), (0.9, 0.99), (0.88, 0.97)


class SceneMasks:
    """A ``MaskProposer`` for scenes that were shown to it with their truth."""

    expensive = False

    def __init__(self, source: Literal["truth", "sam-like"]) -> None:
        self._source = source
        self._known: dict[str, Masks] = {}
        self.name = self.fingerprint = f"scenes:{source}@1"

    def show(self, scene: Scene) -> None:
        """Remembers the proposals of a scene."""
        make = true_masks if self._source == "truth" else sam_like
        self._known[pixels_key(scene.image)] = make(scene)

    def propose(self, image: Tensor) -> Masks:
        """Its proposals, best first, of ``uint8 (1, 3, H, W)``.

        Raises:
            DatasetError: It was never shown.
        """
        found = self._known.get(pixels_key(image[0].permute(1, 2, 0).cpu().numpy()))
        if found is None:
            raise DatasetError(
                "This image is no scene whose truth is known; changed copies have none. "
                "Use --masks proposed, or more than one shot."
            )
        return found

    def prompt(
        self,
        image: Tensor,
        boxes: npt.NDArray[np.float32] | None = None,
        points: npt.NDArray[np.float32] | None = None,
    ) -> Masks:
        """Not offered: nothing here asks for it."""
        raise DatasetError("The masks of scenes are proposed, not prompted.")


def true_objects(scene: Scene) -> Bools:
    """Masks ``(n, H, W)`` of the visible objects, holes filled."""
    masks = [ndimage.binary_fill_holes(scene.instances == item.id) for item in scene.objects]
    return np.array(masks, bool).reshape(-1, *scene.instances.shape)


def true_masks(scene: Scene) -> Masks:
    """One preferred proposal for each object."""
    masks = true_objects(scene)
    return as_masks([(mask, TRUE_SCORE) for mask in masks], preferred=True)


def sam_like(scene: Scene) -> Masks:
    """What SAM's automatic generator might return."""
    key = int(pixels_key(scene.image)[:12], 16)
    proposer = _Generator(scene, np.random.default_rng(key))
    found = [one for one in proposer.all() if one[0].sum() >= LEAST]
    found.sort(key=lambda one: -one[1])
    overlap = ious(np.array([mask for mask, _ in found]))
    kept: list[int] = []
    for row in range(len(found)):
        if (overlap[row, kept] < DISTINCT).all():
            kept.append(row)
    return as_masks([found[row] for row in kept])


def as_masks(found: Sequence[Proposal], preferred: bool = False) -> Masks:
    """``Masks`` of some masks ``(H, W)`` with scores, in that order."""
    masks = np.array([mask for mask, _ in found])
    boxes = np.zeros((len(found), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    scores = np.array([score for _, score in found], np.float32)
    return Masks(masks, boxes, scores, np.ones(len(found), bool) if preferred else None)


def ious(masks: Bools, others: Bools | None = None) -> npt.NDArray[np.float32]:
    """Intersection over union of masks ``(n, H, W)`` with each other or others, ``(n, m)``."""
    pixels = masks.shape[1] * masks.shape[2]
    one = masks.reshape(len(masks), pixels).astype(np.float32)
    other = one if others is None else others.reshape(len(others), pixels).astype(np.float32)
    both = one @ other.T
    return np.asarray(both / np.maximum(one.sum(1)[:, None] + other.sum(1) - both, 1))


def _smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Noise ``shape`` of unit spread that changes over ``WANDER`` pixels."""
    coarse = rng.standard_normal([int(side / WANDER) + 2 for side in shape])
    zoom = [side / (size - 1) for side, size in zip(shape, coarse.shape, strict=True)]
    fine = ndimage.zoom(coarse, zoom, order=1)[tuple(slice(side) for side in shape)]
    return np.pad(fine, [(0, s - f) for s, f in zip(shape, fine.shape, strict=True)], mode="edge")


class _Generator:
    """The proposals of one scene, drawn one after the other."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self._scene, self._rng = scene, rng
        self._blurred = ndimage.gaussian_filter(scene.image.astype(float), (1.5, 1.5, 0))

    def all(self) -> Iterator[Proposal]:
        """Proposals of objects, then of the background."""
        wholes = true_objects(self._scene)
        for item, whole in zip(self._scene.objects, wholes, strict=True):
            if self._happens(MISSED):
                continue
            yield self._proposal(self._redrawn(whole, OUTLINE), WHOLE_SCORES)
            visible = self._scene.instances == item.id
            if visible.sum() < DISTINCT * whole.sum() and self._happens(SEEN_AS_VISIBLE):
                yield self._proposal(self._redrawn(visible, OUTLINE), PART_SCORES)
            if self._happens(DUPLICATED):
                yield self._proposal(self._redrawn(whole, OUTLINE_AGAIN), OTHER_SCORES)
            if self._happens(CUT):
                yield from self._pieces(visible)
        yield from self._neighbours(wholes)
        yield from self._background(wholes)

    def _pieces(self, mask: Bools, again: bool = True) -> Iterator[Proposal]:
        """Parts of one colour each, and parts of those."""
        for piece in self._regions(mask, 2)[:MOST_PIECES]:
            if piece.sum() >= LEAST:
                yield self._proposal(self._redrawn(piece, OUTLINE), PART_SCORES)
                if again and self._happens(CUT_AGAIN):
                    yield from self._pieces(piece, again=False)

    def _neighbours(self, wholes: Bools) -> Iterator[Proposal]:
        """Objects that touch and do not hold each other, taken together."""
        grown = [ndimage.binary_dilation(whole, iterations=3) for whole in wholes]
        for index, one in enumerate(wholes):
            for beside, other in zip(grown[index + 1 :], wholes[index + 1 :], strict=True):
                touching = (one & beside).any()
                nested = (one & other).sum() > 0.5 * min(one.sum(), other.sum())
                if touching and not nested and self._happens(TOGETHER):
                    yield self._proposal(self._redrawn(one | other, OUTLINE), OTHER_SCORES)

    def _background(self, wholes: Bools) -> Iterator[Proposal]:
        """Connected regions of one colour outside all objects."""
        for region in self._regions(np.asarray(~wholes.any(0)), BACKGROUND_COLOURS):
            if region.mean() >= LEAST_BACKGROUND and self._happens(BACKGROUND):
                yield self._proposal(self._redrawn(region, OUTLINE), OTHER_SCORES)

    def _regions(self, mask: Bools, colours: int) -> list[Bools]:
        """Connected pieces of one of some colours within a mask, the largest first."""
        from scipy.cluster.vq import kmeans2

        if mask.sum() < 2 * LEAST:
            return []
        inside = self._blurred[mask]
        _, label = kmeans2(inside, colours, minit="++", seed=self._rng, missing="warn")
        found: list[Bools] = []
        for colour in range(colours):
            own = np.zeros_like(mask)
            own[mask] = label == colour
            pieces, count = ndimage.label(ndimage.binary_opening(own))
            found += [pieces == number for number in range(1, count + 1)]
        return sorted(found, key=lambda piece: -int(piece.sum()))

    def _redrawn(self, mask: Bools, pixels: float) -> Bools:
        """A mask whose outline wanders by about some pixels."""
        margin = int(4 * pixels) + 1
        place = tuple(
            slice(max(one.start - margin, 0), one.stop + margin)
            for one in ndimage.find_objects(mask.view(np.uint8))[0]
        )
        inside = mask[place]
        distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
        noise = _smooth(self._rng, inside.shape)
        result = np.zeros_like(mask)
        result[place] = distance + pixels * noise > 0
        return result

    def _proposal(self, mask: Bools, scores: tuple[float, float]) -> Proposal:
        return mask, float(self._rng.uniform(*scores))

    def _happens(self, rate: float) -> bool:
        return bool(self._rng.uniform() < rate)
