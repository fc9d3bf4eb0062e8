"""Upsampling: time and operations per factor, and how well edges of objects are found.

    python -m benchmarks.upsampling [--checkpoint FILE]

Time and operations: features of 384 channels on a 16 x 16 grid (DINOv2 ViT-S/14 at 224 px), FeatUp
with random weights, medians, beside one pass of a true-size DINOv2 ViT-S/14 with random weights.
Operations are counted by hand: multiplications and additions of the kernels, the sums over the
neighbourhood and the last projection. (PyTorch's counter knows products of matrices alone, and most
of this is none.)

Edges: on scenes with known objects, each object's share of the cells of a grid of 32 is upsampled
by 8. "Wrong" is the share of fine places whose largest share is another object's than in truth;
"off" is half the mean absolute difference of the shares.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import dinov2_small, keep, seconds
from fmlad.backbones import featup
from fmlad.backbones.embedded.bilateral import JointBilateral
from fmlad.backbones.upsampling import FACTORS
from fmlad.datasets import SCENE_CATEGORIES, render_scene

CHANNELS, GRID = 384, 16
ROUNDS = 5
SEEDS = range(100, 105)  # of the scenes; the widths of the joint bilateral were chosen on 11 and 12


def random_stack() -> featup.FeatUp:
    """FeatUp's stack with random weights, which do not change the time."""
    torch.manual_seed(0)
    state = {
        f"{featup.PREFIX}up{number}.{name}": tensor
        for number in range(1, featup.STAGES + 1)
        for name, tensor in featup.Stage().state_dict().items()
    }
    last = torch.nn.Conv2d(CHANNELS, CHANNELS, 1).state_dict()
    state |= {f"{featup.PREFIX}fixup_proj.1.{name}": tensor for name, tensor in last.items()}
    return featup.FeatUp("featup:random", state, "none")


def operations(
    upsampler: str, factor: int, channels: int = CHANNELS, cells: int = GRID * GRID
) -> int:
    """Multiplications and additions for one picture; ``cells`` before upsampling."""
    if factor == 1:
        return 0
    fine = cells * factor**2
    if upsampler == "joint bilateral":  # nine cells: a difference of colours, and the sum
        return fine * 9 * 2 * (3 + channels)
    total, now = 0, cells
    while now < fine:
        now *= 4
        kernel = (3 * 32 + 32 * 32) + 49 * 32 + (52 * 49 + 49 * 49)
        total += now * 2 * (kernel + (16 + 49) * channels)  # 16: bicubic
    return total + fine * 2 * channels**2


def costs() -> dict[str, object]:
    torch.manual_seed(0)
    network = dinov2_small()
    picture = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    features = torch.randn(1, CHANNELS, GRID, GRID)
    upsamplers = {"featup": random_stack(), "joint bilateral": JointBilateral()}
    rows: dict[str, object] = {}
    with torch.inference_mode():
        look = lambda: network(pixel_values=picture.float() / 255)  # noqa: E731
        look()
        rows["DINOv2-S pass, s"] = base = round(
            statistics.median(seconds(look) for _ in range(ROUNDS)), 3
        )
    for name, upsampler in upsamplers.items():
        for factor in FACTORS:
            work = lambda u=upsampler, f=factor: u(features, picture, f)  # noqa: E731
            work()
            took = statistics.median(seconds(work) for _ in range(ROUNDS))
            rows[f"{name} x{factor}"] = {
                "s": round(took, 4),
                "GFLOP": round(operations(name, factor) / 1e9, 3),
                "over a DINOv2-S pass": round(took / base, 2),
            }
    return rows


def edges(upsample: Callable[[Tensor, Tensor], Tensor]) -> dict[str, float]:
    """Percent wrong and off over the scenes."""
    wrong, off = [], []
    for category in SCENE_CATEGORIES:
        for seed in SEEDS:
            scene = render_scene(category, seed=seed)
            owners = torch.from_numpy(scene.instances.astype("int64"))
            shares = F.one_hot(owners).permute(2, 0, 1)[None].float()
            height, width = (round(s * 32 / max(owners.shape)) for s in owners.shape)
            coarse = F.adaptive_avg_pool2d(shares, (height, width))
            truth = F.adaptive_avg_pool2d(shares, (8 * height, 8 * width))
            image = torch.from_numpy(scene.image.copy()).permute(2, 0, 1)[None]
            found = upsample(coarse, image)
            wrong.append(float((found.argmax(1) != truth.argmax(1)).float().mean()))
            off.append(float((found - truth).abs().sum(1).mean() / 2))
    return {
        "wrong, %": round(100 * statistics.mean(wrong), 2),
        "off, %": round(100 * statistics.mean(off), 2),
    }


def gain(stack: featup.FeatUp, factor: int) -> float:
    """What a map of ones comes back as, mean over a scene of each category."""
    found = []
    for category in SCENE_CATEGORIES:
        scene = render_scene(category, seed=SEEDS.start)
        image = torch.from_numpy(scene.image.copy()).permute(2, 0, 1)[None]
        found.append(float(stack(torch.ones(1, 1, GRID, GRID), image, factor).mean()))
    return statistics.mean(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", help="one of FeatUp's, to measure its edges too")
    checkpoint = parser.parse_args().checkpoint
    figures = costs()
    joint = JointBilateral()
    figures["edges, bilinear"] = edges(
        lambda maps, image: F.interpolate(maps, scale_factor=8, mode="bilinear")
    )
    figures["edges, joint bilateral"] = edges(lambda maps, image: joint(maps, image, 8))
    if checkpoint:
        stack = featup.load(f"featup:{checkpoint}#fixup=off")
        name = Path(checkpoint).stem
        figures[f"edges, {name}"] = edges(lambda maps, image: stack(maps, image, 8))
        figures[f"gain of a constant map, {name}"] = {
            f"x{factor}": round(gain(stack, factor), 3) for factor in FACTORS
        }
    figures["threads"] = torch.get_num_threads()
    keep("upsampling", f"scenes, seeds {SEEDS.start} to {SEEDS.stop - 1}; x8 from 32", figures)


if __name__ == "__main__":
    main()
