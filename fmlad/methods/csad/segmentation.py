"""What CSAD asks of a part segmenter.

It shares the frozen encoder with the teacher (CSAD, section 3.4): the levels of a view are kept,
and both start from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fmlad.methods.shared_encoder import Pixels, SharedEncoder
from fmlad.progress import Progress
from fmlad.views import ImageView

Labels = npt.NDArray[np.int32]


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
