"""Options of PSAD's segmenter, each with its source.

"Paper" is PSAD (Kim et al., AAAI 2024), "code" its released code, "ours" what was measured or
decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from fmlad.methods.options import CHECKED, preset_with

Preset = Literal["paper", "code", "cpu"]
Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


def _of_sixteen(side: int) -> int:
    if side % 16:
        raise ValueError("should be a multiple of 16")
    return side


@dataclass(frozen=True, config=CHECKED)
class SegmenterConfig:
    """Numbers of the training; the defaults are those of the preset ``"paper"``.

    Attributes:
        side: Longer side that images are brought to, in pixels; they are padded with black to a
            square (paper 512; the code says 512 in its folders and 448 in a script).
        frozen: Whether the encoder stays as it was pretrained (ours; paper and code train it). Its
            maps are then computed once and kept.
        hidden: Channels between the classifier's convolutions; None: half of what comes in (code).
        standardise: Whether the classifier's inputs are brought to mean 0 and deviation 1 by the
            unlabelled images; only with ``frozen`` (ours).
        coordinate_scale: Factor of the coordinates, which are in 0..1 (code 1).
        harmonics: Number of sines and cosines of each coordinate joined to it (ours; code 0).
        context: Channels of the convolutions that see what surrounds a pixel (ours); 0: a pixel
            classifier alone (paper, code).
        losses_at: Where the losses are: at every pixel of the ``"input"`` (paper, code), or of the
            encoder's finest ``"grid"``, a sixteenth of them (ours).
        unit: What ``supervised`` and ``joint`` count: passes over the unlabelled images (paper), or
            steps (ours: the time then does not grow with the number of images).
        supervised: How long labelled images train alone (paper 50 epochs).
        joint: How long all losses train after that (paper 50 epochs).
        second: How long a second classifier is then trained, by cross-entropy and Dice, on what the
            first one predicts for the unlabelled images (code 300 epochs, with a network of its
            own; not in the paper); 0: not at all.
        batch: Images of each sort in a step (paper 5).
        rate: Learning rate of AdamW (paper 0.001).
        weight_decay: Of AdamW (code: PyTorch's default).
        cross_entropy: Weight (paper 10).
        dice: Weight (paper 1).
        entropy: Weight, unlabelled images (paper 10).
        histogram: Weight of the histogram matching (paper 10; code 1, on a sum).
        histogram_over: ``"mean"`` over images and all classes (paper, Eq. 2); ``"sum"`` over images
            and classes but the background (code).
        types: Which labelled image an unlabelled one is compared with: the nearest to the
            pretrained ``"encoder"`` (paper), or the one whose class ``"areas"`` come nearest to
            those predicted when the second stage begins (ours: small encoders do not tell the
            types).
        degrees: Largest rotation of labelled images either way (code: 20 where the product lies
            still, 180 for the screw bag and the breakfast box).
        shift: Largest shift of labelled images along each side, as a share of it, beneath
            coordinates that stay (ours; code 0).
        recolour: Probability of each of seven changes of colour (code 0.2).
        laid: Most further pieces that are laid on an altered image where parts lie anywhere (ours,
            ``loose.py``); 0: none (code).
        copies: Altered copies of each labelled image that are drawn beforehand, beside itself, so
            that a frozen encoder sees each once (ours); fewer, but one, where there are many
            labelled images. 0: altered anew in every step (code).
    """

    side: Annotated[int, Field(ge=32), AfterValidator(_of_sixteen)] = 512
    frozen: bool = False
    hidden: Positive | None = None
    standardise: bool = False
    coordinate_scale: Annotated[float, Field(gt=0)] = 1.0
    harmonics: Annotated[int, Field(ge=0)] = 0
    context: Annotated[int, Field(ge=0, multiple_of=8)] = 0
    losses_at: Literal["input", "grid"] = "input"
    unit: Literal["epochs", "steps"] = "epochs"
    supervised: Annotated[int, Field(ge=0)] = 50
    joint: Annotated[int, Field(ge=0)] = 50
    second: Annotated[int, Field(ge=0)] = 0
    batch: Positive = 5
    rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Weight = 0.01
    cross_entropy: Weight = 10.0
    dice: Weight = 1.0
    entropy: Weight = 10.0
    histogram: Weight = 10.0
    histogram_over: Literal["mean", "sum"] = "mean"
    types: Literal["encoder", "areas"] = "encoder"
    degrees: Annotated[float, Field(ge=0, le=180)] = 20.0
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    recolour: Annotated[float, Field(ge=0, le=1)] = 0.2
    laid: Annotated[int, Field(ge=0)] = 0
    copies: Annotated[int, Field(ge=0)] = 0


PRESETS: Mapping[str, SegmenterConfig] = MappingProxyType(
    {
        "paper": SegmenterConfig(),
        "code": SegmenterConfig(histogram=1.0, histogram_over="sum", second=300),
        "cpu": SegmenterConfig(
            side=384, frozen=True, hidden=128, standardise=True, harmonics=8, context=32,
            rate=0.005, losses_at="grid", unit="steps", supervised=400, joint=100, histogram=1.0,
            histogram_over="sum", types="areas", shift=0.03, laid=6, copies=47, recolour=0.05,
        ),
    }
)  # fmt: skip


def segmenter_config(preset: str = "paper", **changes: Any) -> SegmenterConfig:
    """A preset with changes; see :func:`fmlad.methods.options.preset_with`."""
    return preset_with(PRESETS, preset, changes, "the segmenter")
