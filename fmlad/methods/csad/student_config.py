"""Options of CSAD's local-global student-teacher branch (LGST), each with its source.

"Paper" is CSAD (Hsieh and Lai, BMVC 2024), which trains it "as EfficientAD" (Batzner et al., WACV
2024, Algorithm 1); "code" is its released code, "ours" what was measured or decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from fmlad.methods.options import CHECKED, preset_with
from fmlad.networks.student_teacher import Heads

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=CHECKED)
class StudentConfig:
    """Numbers of networks and training; the defaults are those of the preset ``"paper"``.

    Attributes:
        source: What the students see: ``"pixels"`` (paper, code); or, the global one, the encoder's
            deepest level, and the local one its finest (``"levels"``, ours) or the teacher's map
            around each cell without the cell itself (``"around"``, ours).
        taught: Levels of the teacher: the ``"deep"`` ones of strides 8 and 16 (paper), or the
            ``"fine"`` ones of strides 4 and 8 (ours).
        averaged: Cells on a side that the teacher's levels are averaged over, odd (code 3).
        grid: Cells on a side of all maps (paper 56, code 64).
        channels: Of the teacher's map, mixed by fixed random weights (paper, code 512); None:
            nothing is mixed (ours).
        width: Of the local student (paper, code 512).
        bottleneck: Width of the global student over levels (ours); that over pixels has 64.
        ends: What the local student ends in, of Table 5: two ``"heads"`` (paper), ``"double"``
            channels (EfficientAD), or the ``"same"`` map for both.
        hard: Quantile of the squared differences from which on they count (EfficientAD 0.999).
        steps: Steps of training (EfficientAD 70,000; code 60,000).
        batch: Images in a step (EfficientAD 1; code 2).
        rate: Learning rate of Adam, a tenth of it in the last twentieth (EfficientAD 1e-4; code
            2e-4).
        weight_decay: Of Adam (EfficientAD 1e-5; code 1e-4).
        jitter: Largest change of one of brightness, contrast and saturation of the images that the
            global student learns on (EfficientAD 0.2).
        copies: So altered copies of each training image that are drawn beforehand, whose levels
            are kept (ours, without ``source="pixels"``).
        grey: Share of penalty images without colour (EfficientAD 0.3).
        penalties: Penalty images whose levels are kept, at most (ours, without
            ``source="pixels"``).
    """

    source: Literal["pixels", "levels", "around"] = "pixels"
    taught: Literal["deep", "fine"] = "deep"
    averaged: Literal[1, 3] = 3
    grid: Annotated[int, Field(ge=4, le=256)] = 56
    channels: Positive | None = 512
    width: Annotated[int, Field(ge=2)] = 512
    bottleneck: Positive = 64
    ends: Heads = "heads"
    hard: Share = 0.999
    steps: Positive = 70_000
    batch: Positive = 1
    rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    jitter: Share = 0.2
    copies: Positive = 2
    grey: Share = 0.3
    penalties: Positive = 256


PRESETS: Mapping[str, StudentConfig] = MappingProxyType(
    {
        "paper": StudentConfig(),
        "code": StudentConfig(grid=64, steps=60_000, batch=2, rate=2e-4, weight_decay=1e-4),
        "cpu": StudentConfig(
            source="levels", grid=32, channels=None, width=48, bottleneck=64, steps=600, batch=8,
            rate=2e-3, weight_decay=1e-5,
        ),
    }
)  # fmt: skip


def student_config(preset: str = "paper", **changes: Any) -> StudentConfig:
    """A preset with changes; see :func:`fmlad.methods.options.preset_with`."""
    return preset_with(PRESETS, preset, changes, "the students")
