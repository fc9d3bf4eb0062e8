"""What a fitted ``ulsad`` detector remembers, and how it is saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fmlad.errors import CorruptDetectorError
from fmlad.methods.shared_encoder import SharedEncoder
from fmlad.methods.ulsad.reconstruction import FittedReconstruction


@dataclass(frozen=True)
class UlsadState:
    """State of a fitted detector.

    Attributes:
        encoder: Frozen.
        shots: Number of normal images that the networks were trained on.
        reconstruction: The trained networks.
    """

    encoder: SharedEncoder
    shots: int
    reconstruction: FittedReconstruction

    def tensors(self) -> dict[str, Tensor]:
        """The networks, on the CPU; not the encoder."""
        return self.reconstruction.tensors()

    def meta(self) -> dict[str, Any]:
        """JSON-ready facts about it."""
        return {"shots": self.shots, **self.reconstruction.meta()}


def restored(
    tensors: Mapping[str, Tensor], meta: Mapping[str, Any], device: str, encoder: SharedEncoder
) -> UlsadState:
    """Inverse of :meth:`UlsadState.tensors` and :meth:`UlsadState.meta`.

    Raises:
        CorruptDetectorError: Something is missing, too much, or of another shape or dtype.
    """
    shots = meta.get("shots")
    if not isinstance(shots, int) or shots < 1:
        raise CorruptDetectorError(
            f"The saved detector was trained on {shots!r} images; expected a number, 1 or more."
        )
    own = FittedReconstruction.restore(tensors, meta, device, encoder)
    return UlsadState(encoder, shots, own)
