"""Options of CSAD's segmenter, each with its source.

"Paper" is CSAD (Hsieh and Lai, BMVC 2024), "code" its released code, "ours" what was measured or
decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from fmlad.methods.csad.lsa import Paste
from fmlad.methods.options import CHECKED, SEVERAL, preset_with

Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, config=CHECKED)
class SegmenterConfig:
    """Numbers of the training; the defaults are those of the preset ``"paper"``.

    Attributes:
        width: Channels of the decoder (code 256).
        shallow: Channels kept of the finest level (code 48).
        rates: Dilations (code 6, 12, 18; half of them, ours, for a map of 16 x 16 cells).
        losses_at: Where the losses are: at every pixel of the ``"input"`` (code), or of the
            encoder's finest ``"grid"``, a sixteenth of them (ours).
        unit: What ``supervised`` and ``joint`` count: passes over the labelled images (code), or
            steps (ours: the time then does not grow with the number of images).
        supervised: How long labelled images train alone (paper 50 epochs).
        joint: How long all losses train after that (paper 70 epochs).
        batch: Images of each sort in a step (code 4).
        rate: Learning rate of Adam (code 0.01).
        weight_decay: Of Adam (code 0.00001).
        cross_entropy: Weight (paper 0.5).
        twice: Whether the cross-entropy takes the softmax of probabilities (code, which applies it
            twice; its gradient is weak).
        dice: Weight (paper 10; code 1).
        dice_by_area: Whether a class weighs one over its area in it (code).
        focal: Weight (paper 1; code 10).
        histogram: Weight of the histogram matching (paper 10).
        histogram_over: ``"mean"`` over the classes (paper, Eq. 2), or ``"sum"`` (code).
        histogram_of: Labels that areas are compared with: those of a ``"random"`` labelled image
            (paper), or of the one that comes ``"nearest"`` (ours: products come in types).
        entropy: Weight (paper 1).
        entropy_of_labelled: Whether predictions on labelled images are made certain too (code).
        paste: ``"lsa"`` (paper), ``"cutpaste"`` or ``"none"`` (its Table 3).
        paste_from: The image that parts are taken from: ``"another"``, a random labelled one
            (paper), or the ``"same"`` (code).
        distance: Of a pasted part from its old place, as a share of the side (paper 0.1; code 0.2
            and 0.1 for the screw bag).
        largest: Share of the image that a pasted part may cover (ours; no limit in the code).
        copies: Altered copies of the labelled images, all together, that are drawn beforehand, so
            that the encoder sees each once (ours); 0: altered anew in every step (code).
    """

    width: Positive = 256
    shallow: Positive = 48
    rates: Annotated[tuple[Positive, ...], SEVERAL, Field(min_length=1)] = (6, 12, 18)
    losses_at: Literal["input", "grid"] = "input"
    unit: Literal["epochs", "steps"] = "epochs"
    supervised: Count = 50
    joint: Count = 70
    batch: Annotated[int, Field(ge=2)] = 4
    rate: Annotated[float, Field(gt=0)] = 0.01
    weight_decay: Weight = 1e-5
    cross_entropy: Weight = 0.5
    twice: bool = False
    dice: Weight = 10.0
    dice_by_area: bool = False
    focal: Weight = 1.0
    histogram: Weight = 10.0
    histogram_over: Literal["mean", "sum"] = "mean"
    histogram_of: Literal["random", "nearest"] = "random"
    entropy: Weight = 1.0
    entropy_of_labelled: bool = False
    paste: Paste = "lsa"
    paste_from: Literal["another", "same"] = "another"
    distance: Annotated[float, Field(ge=0, lt=1)] = 0.1
    largest: Annotated[float, Field(gt=0, le=1)] = 1.0
    copies: Count = 0


PRESETS: Mapping[str, SegmenterConfig] = MappingProxyType(
    {
        "paper": SegmenterConfig(),
        "code": SegmenterConfig(
            twice=True, dice=1.0, dice_by_area=True, focal=10.0, histogram_over="sum",
            entropy_of_labelled=True, paste_from="same", distance=0.2,
        ),
        "cpu": SegmenterConfig(
            width=48, shallow=24, rates=(1, 3, 6), losses_at="grid", unit="steps", supervised=120,
            joint=60, rate=0.005, cross_entropy=5.0, dice=5.0, histogram=1.0,
            histogram_of="nearest", distance=0.1, largest=0.15, copies=160,
        ),
    }
)  # fmt: skip


def segmenter_config(preset: str = "paper", **changes: Any) -> SegmenterConfig:
    """A preset with changes; see :func:`fmlad.methods.options.preset_with`."""
    return preset_with(PRESETS, preset, changes, "the segmenter")
