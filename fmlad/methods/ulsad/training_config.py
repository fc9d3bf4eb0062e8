"""Numbers of ULSAD's networks, losses and maps, each with its source.

"Paper" is ULSAD (Patra and Ben Taieb, TMLR 2024), "code" its released code, "ours" what was decided
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from fmlad.methods.options import CHECKED, preset_with
from fmlad.networks.reconstruction import Final
from fmlad.scoring.map_quantiles import HIGH, LOW

Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


def _even(width: int) -> int:
    if width % 2:
        raise ValueError("should be even")
    return width


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError("should be odd")
    return kernel


@dataclass(frozen=True, config=CHECKED)
class TrainingConfig:
    """Numbers of networks, training and maps; the defaults are those of the preset ``"paper"``.

    Attributes:
        source: What the global autoencoder is given: ``"pixels"`` (paper, code), or the encoder's
            deepest ``"levels"`` (ours).
        channels: Of what is reconstructed, at most: c* (code 384: groups of channels are averaged);
            None: all channels of both levels (ours).
        width: Of the reconstruction network's first layer; the next two have twice as many
            (paper, code 768), even.
        kernel: Side of its last kernel in cells, odd (paper, code 5).
        final: What follows its last layer: ``"relu"`` (paper, code; what is reconstructed is then
            never negative) or ``"linear"``: nothing (ours).
        bottleneck: Width of the global autoencoder (paper, code 64), even.
        cached: Whether the encoder's maps of the training images are computed once and kept, in
            half precision (ours), or in each step anew (paper, code).
        consistency: Loss of the global autoencoder: ``"attention"`` (L_pg), or ``"features"``, the
            maps themselves (L_pg^d); Table 3.
        attended: Cells on a side of the maps that attention compares; None: those of the maps
            (paper, code).
        local_global: Whether the reconstruction network imitates the global autoencoder, and the
            global map tells them apart (L_lg; Table 3). Without it the global map tells the
            autoencoder from the encoder's features.
        lambda_l: Weight of the direction in the local loss and map (paper 0.5).
        lambda_g: The same in both other losses and the global map (paper 0.5).
        epochs: How often each training image is seen (paper, code 200).
        steps: Steps of training, in place of epochs; None: by epochs.
        batch: Images in a step, 2 or more: the autoencoder's normalisation needs two (paper, code
            8).
        rate: Learning rate of Adam (paper, code 2e-4).
        weight_decay: Of Adam (paper, code 2e-5).
        late_drop: Whether the last twentieth of the steps has a tenth of the rate (ours; paper and
            code keep it).
        blur: Standard deviation in pixels of the Gaussian that smooths the maps, which are then as
            large as the input (code 4); 0: none, the maps stay on their cells (paper).
        low: Quantile of normal values that becomes 0; alpha in the paper (0.9).
        high: Quantile of normal values that becomes 0.1; beta in the paper (0.995).
    """

    source: Literal["pixels", "levels"] = "pixels"
    channels: Positive | None = 384
    width: Annotated[int, Field(ge=2), AfterValidator(_even)] = 768
    kernel: Annotated[int, Field(ge=1), AfterValidator(_odd)] = 5
    final: Final = "relu"
    bottleneck: Annotated[int, Field(ge=2), AfterValidator(_even)] = 64
    cached: bool = False
    consistency: Literal["attention", "features"] = "attention"
    attended: Positive | None = None
    local_global: bool = True
    lambda_l: Weight = 0.5
    lambda_g: Weight = 0.5
    epochs: Positive = 200
    steps: Positive | None = None
    batch: Annotated[int, Field(ge=2)] = 8
    rate: Annotated[float, Field(gt=0)] = 2e-4
    weight_decay: Weight = 2e-5
    late_drop: bool = False
    blur: Weight = 0.0
    low: Annotated[float, Field(ge=0, lt=1)] = LOW
    high: Annotated[float, Field(gt=0, le=1)] = HIGH

    @model_validator(mode="after")
    def _rising(self) -> TrainingConfig:
        if self.low >= self.high:
            raise ValueError(f"should have low={self.low:g} below high={self.high:g}")
        return self


PRESETS: Mapping[str, TrainingConfig] = MappingProxyType(
    {
        "paper": TrainingConfig(),
        "code": TrainingConfig(blur=4.0),
        "cpu": TrainingConfig(
            source="levels", width=96, kernel=3, final="linear", cached=True, attended=16,
            steps=500, rate=3e-3, late_drop=True, blur=4.0,
        ),
    }
)  # fmt: skip


def training_config(preset: str = "paper", **changes: Any) -> TrainingConfig:
    """A preset with changes; see :func:`fmlad.methods.options.preset_with`."""
    return preset_with(PRESETS, preset, changes, "the training")
