"""The network that describes components: a feature extractor of its own, or the encoder."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from fmlad.backbones.roles import FeatureExtractor
from fmlad.methods.csad.components import Describe
from fmlad.methods.shared_encoder import SharedEncoder
from fmlad.views import BackboneSet

ROLE = "feature_extractor"


def describer(backbones: BackboneSet, encoder: SharedEncoder) -> tuple[Describe, str]:
    """How components are described, and its fingerprint.

    By the pooled features of the role ``feature_extractor`` where the method has it (the paper: the
    fourth stage of a Wide ResNet-50), else by the mean of the encoder's deepest level.
    """
    extractor = backbones.backbones.get(ROLE)
    if extractor is not None:
        own = cast(FeatureExtractor, extractor)

        def pooled(pictures: Tensor) -> Tensor:
            return own.encode(pictures.round().clamp(0, 255).byte()).pooled

        return pooled, own.fingerprint
    return (lambda pictures: encoder.encode(pictures)[-1].mean((2, 3))), encoder.fingerprint
