"""How well the classifier of the embedded network grounds its nouns in regions.

    python -m benchmarks.nouns

True regions of the first training images of each category of `scenes-v1`, seeds 1 and 2. "Class
activation": the classifier applied to each cell of its input of 512 px before pooling (Zhou et al.,
CVPR 2016), averaged over the region; "crop": the square around the region, enlarged by a fifth,
brought to 224 px. A region's score is the log probability of the noun. AUROC of the regions that
the noun names against all other regions, and against those of the same category; median rank of the
noun among the 1,000.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import auroc
from fmlad.backbones.embedded.networks import efficientnet_lite, folded, lite_pixels
from fmlad.backbones.embedded.nouns import SIDE, nouns
from fmlad.backbones.pooling import region_means
from fmlad.datasets import SCENE_CATEGORIES, render_scene
from fmlad.datasets.scenes import Scene

WORLDS = (1, 2)
LONGEST, STRIDE = 512, 32  # px of the longer side for class activation; of a cell
LARGER = 1.2  # side of a crop over the longer side of its box
LEAST = 30  # px of a region
PINS = tuple(f"{colour} pushpin" for colour in ("red", "yellow", "blue"))
# A noun, and the kinds of objects that it names or resembles most of the nouns.
NAMED = (
    ("orange", ("tangerine",)),
    ("orange", ("orange icon",)),
    ("banana", ("banana icon",)),
    ("banana", ("banana chips",)),
    ("screw", ("long screw", "short screw")),
    ("nail", ("long screw", "short screw")),
    ("nail", PINS),
    ("pop bottle", ("bottle",)),
    ("tray", ("tray", "box")),
    ("plastic bag", ("bag",)),
    ("pomegranate", ("nectarine",)),
    ("acorn", ("almonds",)),
)
Row = tuple[str, str, dict[str, Tensor]]  # category, kind, log probabilities (1000,) by way


class Classifier:
    """EfficientNet-Lite0, at single places and on crops."""

    def __init__(self) -> None:
        self._network: Any = folded(efficientnet_lite(0))

    def activation(self, pixels: Tensor) -> Tensor:
        """Logits of each cell, ``(1, 1000, h, w)``."""
        scale = LONGEST / max(pixels.shape[-2:])
        height, width = (round(side * scale / STRIDE) * STRIDE for side in pixels.shape[-2:])
        maps = self._network.forward_features(lite_pixels(_resized(pixels, (height, width))))
        head = self._network.classifier
        logits: Tensor = torch.einsum("kc,bchw->bkhw", head.weight, maps)
        return logits + torch.as_tensor(head.bias)[:, None, None]

    def crops(self, pixels: Tensor, boxes: list[tuple[int, int, int, int]]) -> Tensor:
        """Logits of the square around each box ``xyxy``, ``(n, 1000)``."""
        found = []
        for left, top, right, bottom in boxes:
            half = max(right - left, bottom - top) * LARGER / 2
            x, y = (left + right) / 2, (top + bottom) / 2
            rows = slice(max(int(y - half), 0), int(y + half) + 1)
            columns = slice(max(int(x - half), 0), int(x + half) + 1)
            found.append(_resized(pixels[..., rows, columns], (SIDE, SIDE)))
        return torch.as_tensor(self._network(lite_pixels(torch.cat(found))))


def _resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(pixels.float(), size, mode="bicubic", antialias=True).clamp(0, 255)


def rows(classifier: Classifier, scene: Scene) -> Iterator[Row]:
    """Every region of a scene."""
    pixels = torch.from_numpy(scene.image.transpose(2, 0, 1).copy())[None]
    objects = [o for o in scene.objects if (scene.instances == o.id).sum() > LEAST]
    regions = np.stack([scene.instances == o.id for o in objects])
    ways = {
        "class activation": region_means(classifier.activation(pixels)[0], regions),
        "crop": classifier.crops(pixels, [o.box for o in objects]),
    }
    for index, one in enumerate(objects):
        yield scene.spec.name, one.kind, {w: s[index].log_softmax(0) for w, s in ways.items()}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=6, help="of each category and seed")
    arguments = parser.parse_args()
    classifier = Classifier()
    found = [
        row
        for world in WORLDS
        for category in SCENE_CATEGORIES
        for index in range(arguments.images)
        for row in rows(classifier, render_scene(category, world, "train", "good", index))
    ]
    for noun, kinds in NAMED:
        number = nouns().index(noun)
        own = {category for category, kind, _ in found if kind in kinds}
        for way in ("class activation", "crop"):
            hits = [logs[way] for _, kind, logs in found if kind in kinds]
            scores = [float(logs[number]) for logs in hits]
            others = [(c, float(logs[way][number])) for c, kind, logs in found if kind not in kinds]
            ranks = [int((logs > logs[number]).sum()) + 1 for logs in hits]
            print(
                f"{noun} ({', '.join(kinds)}; n={len(hits)}), {way}: "
                f"all {auroc([s for _, s in others], scores):.2f}, "
                f"own category {auroc([s for c, s in others if c in own], scores):.2f}, "
                f"rank {np.median(ranks):.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
