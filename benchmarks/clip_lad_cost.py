"""What CLIP-LAD costs at true size: ViT-L-14 at 448 px with random weights, on this machine's CPU.

    python -m benchmarks.clip_lad_cost

Weights do not change the time, so random ones do. The whole `predict` over the bare forward pass of
the image tower, measured alternately in one process (times swing with the machine, the ratio
holds), and the peak memory of a process that fits two shots and predicts. The disk cache is off;
one template instead of 80: texts are encoded once, at fit time, whatever the number.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["FMLAD_CACHE_LIMIT_MB"] = "0"  # a cached answer would cost nothing

import fmlad
from fmlad.backbones.clip import clip, clip_open
from fmlad.datasets import render_scene
from fmlad.pipeline import open_view
from fmlad.profiles import PROFILES

WORDS = """
coarse: {background: [background, plastic bag], foreground: [screw, nut, washer]}
templates: ['a photo of a {}.']
fine:
  screw: {words: [long screw, bolt], expect: 0..99}
  nut: [hex nut]
  washer: {words: [washer], decide: region}
"""
SHOTS = 2


def true_size() -> clip.CLIP:
    """The `foundation` profile's text aligner, with random weights."""
    import open_clip
    import torch

    torch.manual_seed(0)
    name = PROFILES["foundation"]["text_aligner"].removeprefix("clip:").partition("@")[0]
    model = open_clip.create_model(name, pretrained=None)
    colours = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    opened = clip_open.OpenModel(model, open_clip.get_tokenizer(name), *colours, "random")
    return clip.CLIP("clip:random", clip_open.towers(opened, name, "cpu"))


def measure(rounds: int) -> dict[str, float]:
    """Ratio, times and peak memory."""
    pictures = [render_scene("screw_bag", index=i).image for i in range(SHOTS + rounds)]
    aligner = true_size()
    detector = fmlad.Detector.from_shots(
        pictures[:SHOTS],
        prompts=fmlad.PromptSet.from_text(WORDS),
        profile="foundation",
        backbones={"text_aligner": aligner},
        device="cpu",
        clusters=8,
    )
    whole, bare = [], []
    for picture in pictures[SHOTS:]:
        tensor = open_view(picture, detector._backbones).tensor
        start = time.perf_counter()
        aligner.encode(tensor)
        bare.append(time.perf_counter() - start)
        start = time.perf_counter()
        detector.predict(picture)
        whole.append(time.perf_counter() - start)
    ratios = [one / other for one, other in zip(whole, bare, strict=True)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
    return {
        "ViT-L-14 forward, s": round(statistics.median(bare), 2),
        "predict over bare forward": round(statistics.median(ratios), 3),
        "peak memory, MB": round(peak),
    }


def main() -> None:
    from benchmarks.common import keep

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-keep", action="store_true", help="print only")
    arguments = parser.parse_args()
    figures = measure(arguments.rounds)
    if arguments.no_keep:
        for key, value in figures.items():
            print(f"{key}: {value}")
        return
    keep("clip-lad-cost", f"ViT-L-14, 448 px, {SHOTS} shots, {arguments.rounds} rounds", figures)


if __name__ == "__main__":
    main()
