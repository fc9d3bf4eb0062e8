"""Roles: what a backbone can do, in shapes.

A method asks for roles and never for a network, so it runs on ``builtin`` without a download and on
``foundation`` with one through the same code. A backbone may fill several roles.

Pixels enter as ``uint8 (B, 3, H, W)`` RGB at the image's own size; resizing and normalising is the
backbone's own affair and part of its fingerprint. Everything that comes out spans the whole image:
cell ``(r, c)`` of an ``(h, w)`` grid covers rows ``[r / h, (r + 1) / h)`` of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn


@dataclass(frozen=True)
class Pyramid:
    """Dense features of a batch of images.

    Attributes:
        levels: Stride in the backbone's own input pixels -> float32 ``(B, C, h, w)``.
        pooled: One vector an image, float32 ``(B, C)``.
        stages: Outputs of intermediate blocks, shallow to deep, float32 ``(B, C, h, w)`` each, on
            one grid; empty where a backbone has none.
        appearance: Plain differences of colour and edge, float32 ``(B, C, h, w)``: compared where
            images are aligned, and averaged over regions. None: the levels are compared, and the
            finest is averaged.
    """

    levels: Mapping[int, Tensor]
    pooled: Tensor
    stages: tuple[Tensor, ...] = ()
    appearance: Tensor | None = None

    @property
    def cells(self) -> Tensor:
        """The appearance, or the finest level where there is none, ``(B, C, h, w)``."""
        return self.levels[min(self.levels)] if self.appearance is None else self.appearance

    def __getitem__(self, index: int) -> Pyramid:
        """The pyramid of one image of the batch (batch size 1, memory not shared)."""
        return self._each(lambda maps: maps[index : index + 1].clone())

    def to(self, device: str) -> Pyramid:
        """The same features on a device; nothing is copied that lies there already."""
        return self._each(lambda maps: maps.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Pyramid:
        levels = {stride: change(level) for stride, level in self.levels.items()}
        appearance = None if self.appearance is None else change(self.appearance)
        return Pyramid(levels, change(self.pooled), tuple(map(change, self.stages)), appearance)


@dataclass(frozen=True)
class Masks:
    """Object proposals of one image.

    Attributes:
        masks: bool ``(n, h, w)`` on the proposer's grid, which spans the image.
        boxes: float32 ``(n, 4)``, ``xyxy`` in input pixels.
        scores: float32 ``(n,)``, quality in [0, 1], higher is better.
        preferred: bool ``(n,)``: of proposals that exclude each other (a whole and its pieces),
            those that the proposer would keep itself; None where it offers no such choice.
        phrases: int64 ``(n,)``: index of the phrase that a mask answers, -1: of none; None where
            nothing was asked for.
    """

    masks: npt.NDArray[np.bool_]
    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    preferred: npt.NDArray[np.bool_] | None = None
    phrases: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.masks)

    def rows(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Masks:
        """Some of them, or all in another order: bool ``(n,)`` or numbers."""
        preferred = None if self.preferred is None else self.preferred[which]
        phrases = None if self.phrases is None else self.phrases[which]
        return Masks(self.masks[which], self.boxes[which], self.scores[which], preferred, phrases)

    def best(self) -> Masks:
        """The preferred proposals alone."""
        return self if self.preferred is None else self.rows(self.preferred)


@dataclass(frozen=True)
class Boxes:
    """Boxes of one image that answer phrases.

    Attributes:
        boxes: float32 ``(n, 4)``, ``xyxy`` in input pixels.
        phrases: int64 ``(n,)``, the index of the phrase that each box answers.
        scores: float32 ``(n,)``, confidence in [0, 1], best first.
    """

    boxes: npt.NDArray[np.float32]
    phrases: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)

    def rows(self, which: npt.NDArray[np.bool_]) -> Boxes:
        """Some of them: bool ``(n,)``."""
        return Boxes(self.boxes[which], self.phrases[which], self.scores[which])


class Tag(NamedTuple):
    """A word for an image with its confidence in [0, 1]."""

    word: str
    score: float


@runtime_checkable
class Backbone(Protocol):
    """What every backbone tells about itself.

    Attributes:
        name: As users write it, with a revision: ``"builtin:handmade@1"``.
        fingerprint: Changes whenever the output for the same pixels could change: weights,
            preprocessing, settings. Part of cache keys and of saved detectors.
        expensive: Whether reading a stored result beats computing it again (disk cache).

    One may have a ``note`` as well: a sentence for the detector's notes, where what runs depends on
    what is installed.
    """

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def expensive(self) -> bool: ...


@runtime_checkable
class FeatureExtractor(Backbone, Protocol):
    """Dense and pooled features."""

    def encode(self, images: Tensor) -> Pyramid:
        """``uint8 (B, 3, H, W)`` -> :class:`Pyramid`; deterministic, no gradients."""


@runtime_checkable
class TextAligner(FeatureExtractor, Protocol):
    """Features that words can be compared with."""

    def ground(
        self,
        pyramid: Pyramid,
        words: Sequence[str],
        regions: npt.NDArray[np.bool_] | None = None,
        templates: Sequence[str] = (),
    ) -> Tensor:
        """Similarity of every place, or of every region, to every word.

        Args:
            pyramid: Of one image, from this backbone.
            words: Phrases.
            regions: bool ``(R, h, w)``, or None for dense similarities.
            templates: Sentences with ``{}`` for the word; empty for the backbone's own. A backbone
                that does not read takes no notice of them.

        Returns:
            float32 ``(n_words, h, w)``, or ``(n_words, R)`` with regions.
        """


@runtime_checkable
class MaskProposer(Backbone, Protocol):
    """Object masks without being told what to look for, or prompted by boxes or points."""

    def propose(self, image: Tensor) -> Masks:
        """All objects of ``uint8 (1, 3, H, W)``, best quality first."""

    def prompt(
        self,
        image: Tensor,
        boxes: npt.NDArray[np.float32] | None = None,
        points: npt.NDArray[np.float32] | None = None,
        labels: npt.NDArray[np.int64] | None = None,
    ) -> Masks:
        """One mask per box or per set of points, boxes first.

        Args:
            image: ``uint8 (1, 3, H, W)``.
            boxes: ``(n, 4) xyxy`` in input pixels.
            points: ``(n, 2) xy`` in input pixels, a mask each, or ``(n, p, 2)``, p points for each
                of n masks.
            labels: Of points ``(n, p)``: 1 on the object, 0 beside it, -1 no point at all (sets of
                unlike sizes); None: all are on it. Every set has a 1.

        Returns:
            A mask for each, empty where nothing answers.

        Raises:
            OptionError: Shapes or labels do not fit.
        """


@runtime_checkable
class Grounder(Backbone, Protocol):
    """Boxes for phrases."""

    def find(self, image: Tensor, phrases: Sequence[str]) -> Boxes:
        """Places in ``uint8 (1, 3, H, W)`` that answer one of the phrases."""


@runtime_checkable
class Tagger(Backbone, Protocol):
    """Words for a whole image."""

    def tags(self, image: Tensor) -> list[Tag]:
        """Words for ``uint8 (1, 3, H, W)``, most certain first."""


@runtime_checkable
class Upsampler(Backbone, Protocol):
    """Sharper feature maps, guided by the image."""

    def __call__(self, features: Tensor, guidance: Tensor, factor: int) -> Tensor:
        """``(B, C, h, w)`` and ``uint8 (B, 3, H, W)`` -> ``(B, C, factor * h, factor * w)``."""


@runtime_checkable
class Encoder(Backbone, Protocol):
    """A trainable network for the methods that learn."""

    def build(self) -> nn.Module:
        """A fresh pretrained module, trainable and in training mode.

        Its forward takes RGB in 0..255, uint8 or float ``(B, 3, H, W)`` of any size, resizes and
        normalises by itself, and gives float32 maps ``(B, C, h, w)`` at strides 4, 8 and 16, finest
        first; ``strides`` and ``channels`` are their strides and numbers of channels.
        """


# Any, because mypy takes a protocol class for an abstract one here.
ROLES: Mapping[str, Any] = {
    "feature_extractor": FeatureExtractor,
    "text_aligner": TextAligner,
    "mask_proposer": MaskProposer,
    "grounder": Grounder,
    "tagger": Tagger,
    "upsampler": Upsampler,
    "encoder": Encoder,
}
