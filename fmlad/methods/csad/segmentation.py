"""What CSAD asks of a part segmenter, and the frozen encoder that it shares with the teacher.

The encoder runs once per image: :meth:`SharedEncoder.levels` of a view are kept, and segmenter and
teacher both start from them (CSAD, section 3.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.roles import Encoder
from fmlad.progress import Progress
from fmlad.views import ImageView

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]
Levels = tuple[Tensor, ...]


class SegmenterOptions(Protocol):
    """Options of the method that concern pseudo-labels and segmenter.

    Attributes:
        preset: ``"paper"``, ``"code"`` or ``"cpu"``.
        side: Pixels of both sides of the network's input, a multiple of 16.
        segmenter: What is unlike the preset in the training of the segmenter, by name.
        pseudo_labels: What is unlike the preset, or the prompt set, in the making of pseudo-labels.
    """

    @property
    def preset(self) -> Literal["paper", "code", "cpu"]: ...

    @property
    def side(self) -> int: ...

    @property
    def segmenter(self) -> Mapping[str, Any]: ...

    @property
    def pseudo_labels(self) -> Mapping[str, Any]: ...


class SharedEncoder:
    """One frozen network for segmenter and teacher.

    Attributes:
        fingerprint: Of the backbone.
        channels: Of each level, finest first.
        strides: Of each level: 4, 8, 16.
        side: Pixels of both sides of its input.
        device: Where it lies.
    """

    def __init__(self, encoder: Encoder, side: int, device: str = "cpu") -> None:
        """Builds the backbone in the role ``encoder`` and freezes it."""
        module = encoder.build().to(device).eval().requires_grad_(False)
        self._module = cast(Any, module)
        self.fingerprint, self.side, self.device = encoder.fingerprint, side, device
        self.channels = tuple(int(count) for count in self._module.channels)
        self.strides = tuple(int(stride) for stride in self._module.strides)

    def square(self, pixels: Pixels) -> Tensor:
        """uint8 ``(H, W, 3)`` squashed to the input: uint8 ``(3, side, side)``, on the CPU."""
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
        size = (self.side, self.side)
        if tuple(image.shape[-2:]) == size:
            return image[0]
        return F.interpolate(image, size, mode="bilinear", antialias=True)[0]

    @torch.no_grad()
    def encode(self, squares: Tensor) -> Levels:
        """uint8 or float ``(B, 3, side, side)`` in 0..255 -> float32 ``(B, C, h, w)`` a level."""
        return tuple(self._module(squares.to(self.device)))

    def levels(self, view: ImageView) -> Levels:
        """Levels of one image, ``(1, C, h, w)`` each; computed once for a view and then kept."""
        key = f"csad encoder {self.fingerprint} {self.side}"
        if key not in view.memo:
            view.memo[key] = self.encode(self.square(view.pixels)[None])
        return tuple(view.memo[key])


class Segmenter(Protocol):
    """A fitted segmenter.

    Attributes:
        classes: K, the background (0) among them.
        names: Of the classes but the background, ``K - 1`` of them.
        notes: What a user must know about the labels that it learned from, in plain sentences.
    """

    @property
    def classes(self) -> int: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def predict(self, pixels: Pixels) -> Labels:
        """The likeliest class of each pixel of uint8 ``(H, W, 3)``, squashed: int32 ``(S, S)``."""

    def predict_maps(self, levels: Sequence[Tensor]) -> Labels:
        """The same of the encoder's levels ``(1, C, h, w)`` of an image."""

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors, on the CPU; without the encoder, which is never trained."""

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts that are not tensors."""


class SegmenterSource(Protocol):
    """Where segmenters come from: training, or a saved detector."""

    def fit(
        self,
        views: Sequence[ImageView],
        labels: Sequence[Labels | None] | None,
        encoder: SharedEncoder,
        config: SegmenterOptions,
        *,
        names: tuple[str, ...] = (),
        prompts: Any = None,
        seed: int,
        device: str,
        progress: Progress,
        checkpoint: Path | None,
        resume: bool,
        settings: Mapping[str, Any],
    ) -> Segmenter:
        """Learns from images, most or all of them without labels.

        Args:
            views: Training images.
            labels: Part labels ``(H, W)``, 0 the background, of all of them or of some (None for
                the rest); pseudo-labels are then not made. None: they are made.
            encoder: Frozen; its levels may be kept.
            config: Of the method.
            names: Of the classes of ``labels`` but the background; empty: none are known.
            prompts: Prompt set with words and settings for pseudo-labels, or None.
            seed, device, progress, resume, settings: As of ``FitContext``.
            checkpoint: Folder of its own for checkpoints of all its stages, or None.
        """

    def restore(
        self,
        tensors: Mapping[str, Tensor],
        meta: Mapping[str, Any],
        device: str,
        encoder: SharedEncoder,
    ) -> Segmenter:
        """Inverse of ``Segmenter.tensors`` and ``meta``.

        Raises:
            CorruptDetectorError: Something is missing, too much, or of another shape or dtype.
        """
