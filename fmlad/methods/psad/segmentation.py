"""What the banks ask of a part segmenter, and the one that is trained for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fmlad.backbones.roles import Encoder
from fmlad.methods.psad.config import PsadConfig
from fmlad.methods.psad.fitted_segmenter import FittedSegmenter
from fmlad.methods.psad.segmenter import fit_segmenter
from fmlad.progress import Progress

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.integer]


class PartSegmentation(Protocol):
    """A fitted segmenter."""

    def predict(self, pixels: Pixels) -> Labels:
        """Classes of uint8 ``(H, W, 3)``: whole numbers ``(h, w)`` over it, 0: the background."""

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors, on the CPU."""

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts that are not tensors."""


class SegmenterSource(Protocol):
    """Where segmenters come from: training, or a saved detector."""

    def fit(
        self,
        labelled: Sequence[tuple[Pixels, Labels]],
        unlabeled: Sequence[Pixels],
        classes: int,
        encoder: Encoder,
        config: PsadConfig,
        *,
        seed: int,
        device: str,
        progress: Progress,
        checkpoint: Path | None,
        resume: bool,
        settings: Mapping[str, Any],
    ) -> PartSegmentation:
        """Learns from a few labelled images and many others.

        Args:
            labelled: Images with labels ``(H, W)`` in 0..classes - 1.
            unlabeled: Images without.
            classes: K, the background among them.
            encoder: Whose network is trained.
            config: Of the method.
            seed, device, progress, resume, settings: As of ``FitContext``.
            checkpoint: File, or None.
        """

    def restore(
        self,
        tensors: Mapping[str, Tensor],
        meta: Mapping[str, Any],
        device: str,
        encoder: Encoder,
    ) -> PartSegmentation:
        """Inverse of ``PartSegmentation.tensors`` and ``meta``.

        Raises:
            CorruptDetectorError: Something is missing, too much, or of another shape or dtype.
        """


class TrainedSegmenters:
    """PSAD's own: trained as the preset says, with the user's changes."""

    def fit(
        self,
        labelled: Sequence[tuple[Pixels, Labels]],
        unlabeled: Sequence[Pixels],
        classes: int,
        encoder: Encoder,
        config: PsadConfig,
        *,
        seed: int,
        device: str,
        progress: Progress,
        checkpoint: Path | None,
        resume: bool,
        settings: Mapping[str, Any],
    ) -> FittedSegmenter:
        """As :class:`SegmenterSource` says."""
        return fit_segmenter(
            labelled, unlabeled, classes, encoder, config.training, seed=seed, device=device,
            progress=progress, checkpoint=checkpoint, resume=resume, settings=settings,
        )  # fmt: skip

    def restore(
        self,
        tensors: Mapping[str, Tensor],
        meta: Mapping[str, Any],
        device: str,
        encoder: Encoder,
    ) -> FittedSegmenter:
        """As :class:`SegmenterSource` says."""
        return FittedSegmenter.restore(tensors, meta, device, encoder)
