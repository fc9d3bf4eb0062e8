"""SAM-LAD with its parts exchanged, on the scenes: the paper's tables 6 and 7, as far as offline.

    python -m benchmarks.sam_lad_exchange backbones
    python -m benchmarks.sam_lad_exchange factors

``backbones``: the embedded features at two strides, and three stages of SqueezeNet 1.0 with its
real ImageNet weights, beside the embedded mask proposer. True DINOv2 weights are not to be had
offline, and random ones would say nothing.

``factors``: embedded features on 20 cells of the longer side, as coarse as DINOv2's 16, sharpened
x1 to x16 by the joint bilateral; with the seconds and operations of the upsampler a picture. What
FeatUp costs a factor is in `python -m benchmarks.upsampling`.

4 shots drawn from 16, AUROC over the categories; scenes of world 0, nothing was chosen by them.
Finished cells are kept in the results file, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import keep, scene_counts, seconds, unfinished
from benchmarks.sam_lad import scene
from benchmarks.scenes import open_all
from benchmarks.upsampling import operations
from fmlad.backbones.cnn.cnn import load
from fmlad.backbones.embedded.bilateral import JointBilateral
from fmlad.backbones.embedded.builtin import HandmadeFeatures
from fmlad.backbones.embedded.objects import ObjectProposer
from fmlad.backbones.roles import Backbone, Pyramid
from fmlad.backbones.upsampling import FACTORS
from fmlad.datasets import SCENE_CATEGORIES
from fmlad.views import BackboneSet, ImageView

Opened = tuple[list[ImageView], dict[str, list[ImageView]], Path]


class Handmade(HandmadeFeatures):
    """One level of the embedded features, averaged to a coarser stride where asked for."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self._stride = stride
        self.name = self.fingerprint = f"benchmark:handmade-{stride}"

    def encode(self, images: Tensor) -> Pyramid:
        """``uint8 (B, 3, H, W)`` -> one level ``(B, 25, h, w)``."""
        found = super().encode(images)
        near = max(stride for stride in found.levels if stride <= self._stride)
        level = found.levels[near]
        if near < self._stride:
            level = F.avg_pool2d(level, self._stride // near)
        return Pyramid({self._stride: level}, found.pooled)


BACKBONES: dict[str, Callable[[], Backbone]] = {
    "embedded, stride 8": lambda: Handmade(8),
    "embedded, stride 16": lambda: Handmade(16),
    "SqueezeNet, stride 4": lambda: load("builtin:squeezenet@1#levels=1,side=320"),
    "SqueezeNet, stride 8": lambda: load("builtin:squeezenet@1#levels=2,side=320"),
    "SqueezeNet, stride 16": lambda: load("builtin:squeezenet@1#levels=3,side=320"),
}


class Shared:
    """A mask proposer that looks at each picture once, whatever the features are."""

    name = fingerprint = "benchmark:regions"
    expensive = False

    def __init__(self) -> None:
        self._proposer = ObjectProposer()
        self._known: dict[bytes, Any] = {}

    def propose(self, image: Tensor) -> Any:
        """See :class:`~fmlad.backbones.roles.MaskProposer`."""
        key = image.numpy().tobytes()[::97]
        if key not in self._known:
            self._known[key] = self._proposer.propose(image)
        return self._known[key]

    def prompt(self, image: Tensor, boxes: Any = None, points: Any = None) -> Any:
        """Never asked for here."""
        raise NotImplementedError


def through(opened: Opened, features: Backbone, proposer: Shared) -> Opened:
    """The same pictures through other backbones."""
    backbone_set = BackboneSet(
        {"feature_extractor": features, "mask_proposer": proposer, "upsampler": JointBilateral()}
    )
    train, tests, truths = opened
    again = {
        group: [backbone_set.view(v.pixels, v.name) for v in views]
        for group, views in tests.items()
    }
    return [backbone_set.view(v.pixels, v.name) for v in train], again, truths


def upsampling(view: ImageView, features: Handmade, factor: int) -> dict[str, float]:
    """Seconds and operations of the upsampler for one picture."""
    level = next(iter(features.encode(view.tensor).levels.values()))
    joint = JointBilateral()
    times = [seconds(lambda: joint(level, view.tensor, factor)) for _ in range(5)]
    cells = level.shape[-2] * level.shape[-1]
    found = operations("joint bilateral", factor, level.shape[1], cells)
    return {"s": round(float(np.median(times)), 4), "GFLOP": round(found / 1e9, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("backbones", "factors"))
    parser.add_argument("--images", type=int, default=6, help="test images per group")
    parser.add_argument("--root", type=Path, default=Path("scenes"), help="where scenes are made")
    parser.add_argument("--category", nargs="+", default=list(SCENE_CATEGORIES))
    parser.add_argument("--name", default=None, help="of the file in benchmarks/results")
    a = parser.parse_args()
    name = a.name or f"sam-lad-{a.what}"
    protocol = f"scenes-v1, seed 0, 4 shots, 1 draw, {a.images} images a group"
    figures = unfinished(name, protocol)
    ways: dict[str, tuple[Callable[[], Backbone], int]]
    if a.what == "backbones":
        ways = {label: (make, 1) for label, make in BACKBONES.items()}
    else:
        ways = {f"x{factor}": (lambda: Handmade(32), factor) for factor in FACTORS}
    for category in a.category:
        if all(f"{category}: {label}" in figures for label in ways):
            continue
        opened, proposer = open_all(category, a.root, scene_counts(16, a.images), 0), Shared()
        for label, (make, factor) in ways.items():
            if f"{category}: {label}" in figures:
                continue
            features = make()
            start = time.perf_counter()
            row: dict[str, Any] = scene(
                through(opened, features, proposer), 1, "sam-lad", {"upsample": factor}
            )
            row = {key: value for key, value in row.items() if key.startswith("fused")}
            row["s of all"] = round(time.perf_counter() - start, 1)
            if isinstance(features, Handmade) and a.what == "factors":
                row |= upsampling(opened[0][0], features, factor)
            figures[f"{category}: {label}"] = row
            keep(name, protocol, figures, finished=False)
    for label in ways:
        rows = [figures[f"{category}: {label}"] for category in a.category]
        figures[f"mean: {label}"] = {
            key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]
        }
    keep(name, protocol, figures)


if __name__ == "__main__":
    main()
