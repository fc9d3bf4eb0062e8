"""The embedded tagger: the 1,000 ImageNet nouns of EfficientNet-Lite0's own classifier.

The names are those that timm carries with the classes (WordNet synsets, first synonym), so nothing
is downloaded. The network was trained on photographs of one thing each (Deng et al., CVPR 2009;
Tan and Le, ICML 2019): of a picture with several things it names one, and what it does not know it
takes for the nearest it knows. The cut on confidence leaves out the rest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.embedded.networks import (
    FAMILY,
    LITE_WEIGHTS,
    efficientnet_lite,
    folded,
    lite_pixels,
)
from fmlad.backbones.hub import file_hash, locate
from fmlad.backbones.roles import Tag

SIDE = 224  # px of the shorter side, on which the network was trained
LEAST = 0.1  # probability below which a noun is no tag (ours)


class NounTagger:
    """``builtin:nouns@1``: :class:`~fmlad.backbones.roles.Tagger` without a download."""

    name = "builtin:nouns@1"
    expensive = False

    def __init__(self, name: str = name, device: str = "cpu") -> None:
        """Loads the network.

        Raises:
            WeightsUnavailableError: The package with the weights is not installed, or damaged.
        """
        self._device = device
        self._network: Any = folded(efficientnet_lite(0)).to(device)

    @property
    def fingerprint(self) -> str:
        """Name and hash of the weights."""
        return f"{self.name} sha256={file_hash(locate(LITE_WEIGHTS, FAMILY))}"

    def tags(self, image: Tensor) -> list[Tag]:
        """Nouns of ``uint8 (1, 3, H, W)`` with a probability of 0.1 at least, most certain first.

        There may be none.
        """
        chances, order = self.probabilities(image)[0].sort(descending=True)
        found: dict[str, float] = {}
        for index, chance in zip(order.tolist(), chances.tolist(), strict=True):
            if chance >= LEAST:
                # Two names stand for two classes each (a crane is a bird and a machine).
                found.setdefault(nouns()[index], chance)
        return [Tag(word, score) for word, score in found.items()]

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """``uint8 (B, 3, H, W)`` -> float32 ``(B, 1000)`` in the order of :func:`nouns`, sum 1."""
        height, width = images.shape[-2:]
        scale = SIDE / min(height, width)
        size = (round(height * scale), round(width * scale))
        pixels = images.to(self._device).float()
        pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 255)
        found: Tensor = self._network(lite_pixels(pixels)).softmax(1)
        return found


@lru_cache(maxsize=1)
def nouns() -> tuple[str, ...]:
    """Names of the 1,000 classes in the classifier's order: the first synonym of each synset."""
    from timm.data.imagenet_info import ImageNetInfo

    described = ImageNetInfo("imagenet-1k").label_descriptions()
    return tuple(synonyms.partition(",")[0] for synonyms in described)
