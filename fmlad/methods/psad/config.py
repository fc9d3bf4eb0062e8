"""Options of ``psad``, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from fmlad.methods.options import CHECKED, SEVERAL
from fmlad.methods.psad.segmenter_config import Preset, SegmenterConfig, segmenter_config

Bank = Literal["histogram", "composition", "patch"]
BANKS: tuple[Bank, ...] = get_args(Bank)
Scaling = Literal["max", "std", "none"]

SIDE = 512  # px of the longer side of labels that features are averaged over (paper)
# Least spreads of the preset "cpu" (ours): of an area, this share of the image and this share of
# the class's mean area (a few rows of its outline); of a feature, this share of its spread over
# all classes and images. So a class that no training image has is odd, but not beyond measure.
LEAST_AREA, LEAST_OF_AREA, LEAST_OF_FEATURE = 1e-4, 0.02, 0.2


@dataclass(frozen=True, config=CHECKED)
class PsadConfig:
    """Options of the method.

    Attributes:
        preset: ``"paper"``: as published. ``"code"``: as its authors' code has it, where that is
            another: patch scores are reweighted, and maps resized with aligned corners. ``"cpu"``:
            a segmenter that trains on a CPU, spreads with a least value, which a training image
            that is left out has no say in, and compositions with colours, in which stray pixels
            weigh little (ours).
        banks: Memory banks to use, out of ``"histogram"``, ``"composition"`` and ``"patch"``.
        scaling: What each bank's score is divided by before they are added: the largest left-out
            score of the training images (``"max"``, the paper's adaptive scaling), their standard
            deviation (``"std"``, the code's other choice, without the mean, which moves all scores
            alike), or nothing (``"none"``).
        patch_cells: Cells of the longer side of the grid of patches; the extractor's own grid where
            that is coarser. 32 is the code's: 256 px at a stride of 8.
        coreset: Share of the patches of each training image that queries are compared with, those
            farthest from one another, in (0, 1]. None: 0.1 with the preset ``"cpu"`` (the share of
            PatchCore; ours image by image), else 1 (paper and code).
        segmenter: What is unlike the preset in the training of the segmenter, such as
            ``{"degrees": 180}`` for products that lie in any direction; names and sources are in
            ``segmenter_config.py``.
    """

    preset: Preset = "cpu"
    banks: Annotated[tuple[Bank, ...], SEVERAL, Field(min_length=1)] = BANKS
    scaling: Scaling = "max"
    patch_cells: Annotated[int, Field(ge=1, le=128)] = 32
    coreset: Annotated[float, Field(gt=0, le=1)] | None = None
    segmenter: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steady(self) -> bool:
        """Whether small and rare classes are kept from outweighing the rest (preset ``"cpu"``)."""
        return self.preset == "cpu"

    @property
    def share(self) -> float:
        """Of the patches, as ``coreset`` or the preset says."""
        if self.coreset is not None:
            return self.coreset
        return 0.1 if self.preset == "cpu" else 1.0

    @property
    def training(self) -> SegmenterConfig:
        """Numbers of the segmenter's training.

        Raises:
            UnknownNameError: ``segmenter`` names an option that there is not.
            OptionError: A value does not fit.
        """
        return segmenter_config(self.preset, **self.segmenter)
