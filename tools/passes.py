"""How many images go through each network, counted where the networks themselves are called."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# Network -> places whose first argument, or ``pixel_values``, holds the images. Of SAM it is the
# image encoder: prompts are answered from what it said. CLIP's last block for NACLIP is a part of
# its pass.
PLACES: dict[str, tuple[str, ...]] = {
    "CLIP": ("fmlad.backbones.clip.clip_open_vision:PlainVision.encode",),
    "DINOv2": ("transformers:Dinov2Model.forward",),
    "FeatUp": ("fmlad.backbones.featup:FeatUp.__call__",),
    "Grounding DINO": ("transformers:GroundingDinoForObjectDetection.forward",),
    "RAM++": ("fmlad.networks.ram_plus:RamPlus.forward",),
    "SAM": (
        "transformers:SamModel.get_image_embeddings",
        "transformers:SamHQModel.get_image_embeddings",
    ),
}


@contextmanager
def counted(networks: Sequence[str] = tuple(PLACES)) -> Iterator[Counter[str]]:
    """Counts images per network within the block: two images in one batch are two."""
    passes: Counter[str] = Counter()
    replaced: list[tuple[type, str, Any]] = []
    try:
        for network in networks:
            for place in PLACES[network]:
                module, _, path = place.partition(":")
                owner, _, name = path.partition(".")
                kind = getattr(importlib.import_module(module), owner)
                original = getattr(kind, name)
                replaced.append((kind, name, original))
                setattr(kind, name, _counting(original, network, passes))
        yield passes
    finally:
        for kind, name, original in replaced:
            setattr(kind, name, original)


def _counting(
    original: Callable[..., Any], network: str, passes: Counter[str]
) -> Callable[..., Any]:
    def counting(self: object, *given: Any, **named: Any) -> Any:
        images = given[0] if given else named["pixel_values"]
        passes[network] += len(images)
        return original(self, *given, **named)

    return counting
