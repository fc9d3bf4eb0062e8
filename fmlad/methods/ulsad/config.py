"""Options of ``ulsad``, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from fmlad.methods.options import CHECKED, SEVERAL, Side
from fmlad.methods.ulsad.training_config import TrainingConfig, training_config

Preset = Literal["paper", "code", "cpu"]
Branch = Literal["local", "global"]
BRANCHES: tuple[Branch, ...] = get_args(Branch)


@dataclass(frozen=True, config=CHECKED)
class UlsadConfig:
    """Options of the method.

    Attributes:
        preset: ``"paper"``: as published. ``"code"``: as its authors' code has it, where that is
            another. ``"cpu"``: what trains on a CPU: small networks, the encoder's maps kept, and
            a global autoencoder over the deepest of them (ours).
        branches: ``"local"``, ``"global"``, or both (the paper's Table 3).
        side: Pixels of both sides that an image is squashed to, a multiple of 64 (paper 256).
        training: What is unlike the preset in networks, losses, training and maps, such as
            ``{"steps": 2000}``; names and sources are in ``training_config.py``.
    """

    preset: Preset = "cpu"
    branches: Annotated[tuple[Branch, ...], SEVERAL, Field(min_length=1)] = BRANCHES
    side: Side = 256
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def numbers(self) -> TrainingConfig:
        """Numbers of networks, training and maps.

        Raises:
            UnknownNameError: ``training`` names an option that there is not.
            OptionError: A value does not fit.
        """
        return training_config(self.preset, **self.training)
