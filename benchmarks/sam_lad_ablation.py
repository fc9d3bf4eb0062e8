"""SAM-LAD's additions to its paper, one switched off at a time.

    python -m benchmarks.sam_lad ablation

Image AUROC of normal against anomalous images, by data set, with the default options and with each
of ``SWITCHES`` off. A draw is a seed with own shots and test images; on scenes it is a category. In
DeepPCB the template of each scan is the only shot, and the template moved by 3 px and turned by 1
degree is the normal image; all scores together make one AUROC.

What stays was chosen with ``--tuning`` on scenes of world 1 and digits of seeds 100 and up; what is
reported is of world 0 and seeds from 0 on. Dice and DeepPCB had no say.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import dice as dice_photographs
from benchmarks import pcb
from benchmarks.common import auroc, scene_counts
from benchmarks.scenes import GROUPS, open_all
from fmlad import pipeline
from fmlad.datasets import DIGIT_ANOMALIES, SCENE_CATEGORIES, render_digits
from fmlad.io.images import load_image
from fmlad.methods.protocol import FitContext
from fmlad.methods.registry import create_method
from fmlad.views import BackboneSet, ImageView

SWITCHES = ("pooled", "rematching", "match_statistics", "confirmation")
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    **{f"without {name}": {name: False} for name in SWITCHES},
}
SHOTS, DRAWS = 4, 2
SCENE_IMAGES = 6  # of each group
PAGES, PAGES_EACH = 16, 6  # normal digit pages, and pages of each anomaly
DICE = 12  # photographs with six dice, and as many with another number
PAIRS = 5
SETS = ("digits", "dice", "deeppcb", "scenes")

Images = list[tuple[ImageView, bool]]
Draw = tuple[str, list[ImageView], Images]
"""Name, shots, and test images with whether each is anomalous."""


def draws(what: str, through: BackboneSet, root: Path, world: int) -> Iterator[Draw]:
    """All draws of one data set."""
    if what == "digits":
        for seed in range(100 * world, 100 * world + DRAWS):
            yield f"seed {seed}", *_digits(through, seed)
    elif what == "scenes":
        counts = scene_counts(SHOTS, SCENE_IMAGES)
        for category in SCENE_CATEGORIES:
            train, tests, _ = open_all(category, root, counts, world)
            images = [(v, group != "good") for group in GROUPS for v in tests[group]]
            yield category, train, images
    elif what == "dice":
        dice = dice_photographs.photographs()
        for seed in range(100 * world, 100 * world + DRAWS):
            rng = np.random.default_rng(seed)
            shuffled = [str(name) for name in rng.permutation(list(dice))]
            six = [name for name in shuffled if dice[name] == dice_photographs.NORMAL]
            other = [name for name in shuffled if dice[name] != dice_photographs.NORMAL]
            names = [*six[: SHOTS + DICE], *other[:DICE]]
            views = dice_photographs.open_views(names)
            images = [(views[n], dice[n] != dice_photographs.NORMAL) for n in names[SHOTS:]]
            yield f"seed {seed}", [views[n] for n in names[:SHOTS]], images


def _digits(through: BackboneSet, seed: int) -> tuple[list[ImageView], Images]:
    shots = [through.view(render_digits(seed, "train", i).image, str(i)) for i in range(SHOTS)]
    which = [(None, i) for i in range(PAGES)]
    which += [(kind, i) for kind in DIGIT_ANOMALIES for i in range(PAGES_EACH)]
    pages = [(render_digits(seed, "test", i, kind).image, kind is not None) for kind, i in which]
    return shots, [(through.view(page), odd) for page, odd in pages]


def judged(shots: list[ImageView], images: Images, options: dict[str, Any]) -> float:
    """AUROC of one detector over some images."""
    fitted = pipeline.fit(create_method("sam-lad", options), shots, FitContext())
    scores = [(pipeline.judge(view, fitted).score, odd) for view, odd in images]
    return auroc([s for s, odd in scores if not odd], [s for s, odd in scores if odd])


def boards(through: BackboneSet, world: int, options: dict[str, Any]) -> float:
    """AUROC of DeepPCB's scans against moved templates, each judged by its own template."""
    good, bad = list[float](), list[float]()
    for template, scan, _ in pcb.pairs(slice(30 * world, 30 * world + PAIRS)):
        pixels = load_image(template)
        normal = np.stack([pcb.moved(pixels[..., i], 1, "nearest") for i in range(3)], axis=-1)
        method = create_method("sam-lad", options)
        fitted = pipeline.fit(method, [through.view(pixels)], FitContext())
        bad.append(pipeline.judge(through.view(load_image(scan)), fitted).score)
        good.append(pipeline.judge(through.view(normal), fitted).score)
    return auroc(good, bad)


def ablation(
    through: BackboneSet, root: Path, world: int, known: dict[str, Any], keep: Any
) -> dict[str, Any]:
    """AUROC by data set, variant and draw; mean and worst draw of each.

    ``known`` are figures of a run that was stopped; ``keep`` gets all figures after each draw.
    """
    figures = dict(known)
    for what in SETS:
        if what == "deeppcb":
            for variant, options in VARIANTS.items():
                key = f"{what}: {variant}: {PAIRS} pairs"
                if key not in figures:
                    figures[key] = round(boards(through, world, options), 4)
        else:
            for name, shots, images in draws(what, through, root, world):
                for variant, options in VARIANTS.items():
                    key = f"{what}: {variant}: {name}"
                    if key not in figures:
                        figures[key] = round(judged(shots, images, options), 4)
                        print(key, figures[key], flush=True)
                keep(figures)
        for variant in VARIANTS:
            start = f"{what}: {variant}: "
            cells = [value for key, value in figures.items() if key.startswith(start)]
            figures[f"mean, {what}: {variant}"] = round(float(np.mean(cells)), 3)
            figures[f"worst, {what}: {variant}"] = round(float(np.min(cells)), 3)
        keep(figures)
    return figures
