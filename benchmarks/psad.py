"""PSAD on scenes: its paper's ablations, and what a query costs.

    python -m benchmarks.psad tables
    python -m benchmarks.psad tables --worlds 1 2
    python -m benchmarks.psad cost
    python -m benchmarks.psad pictures --root DIR --to docs/images/psad-segments.png

`scenes-v1`, five categories. Of 60 training images the first five (three where the product comes in
types) are labelled with the scenes' slots, as the paper labels 5 and 3; all are unlabeled ones. 20
test images a group; AUROC of the logical and of the structural anomalies against the normal test
images, by category over the worlds, with the mean and the worst of all draws; mean IoU of the
segmenter on the normal test images, background left out. `pictures` draws those on which it is best
and worst.

- Truth: every image in its true parts, as if the segmenter made no mistake.
- Table 2: which losses train the segmenter. The whole detector.
- Table 3: each bank alone, all added as they are, all scaled.
- Table 4: a half, a quarter, an eighth of the training images. Histogram and composition, scaled.
- `auto`: labels found by another method, not given.

One detector is fitted for each world, category and training (a *cell*); its raw scores lie in a
file of their own, so that a run that was stopped goes on. Options are chosen on worlds 1 and 2
alone, and the reported worlds are 0 and 3.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does
os.environ["FMLAD_CACHE_LIMIT_MB"] = "0"  # a cached answer would cost nothing

import numpy as np
import torch

from benchmarks.common import auroc, code_name, json_options, keep, scene_counts, seconds
from benchmarks.psad_pictures import drawn
from benchmarks.psad_scenes import AUTO, TRUTH, Labels, Opened, cell, opened
from benchmarks.scenes import GROUPS, TUNING
from fmlad import pipeline
from fmlad.datasets import SCENE_CATEGORIES
from fmlad.methods.protocol import FitContext
from fmlad.methods.psad.config import BANKS, PsadConfig
from fmlad.methods.psad.method import Psad

TRAIN, IMAGES = 60, 20
ROUNDS = 7
LOSSES: dict[str, dict[str, float]] = {
    "supervised": {"entropy": 0.0, "histogram": 0.0},
    "supervised + entropy": {"histogram": 0.0},
    "supervised + entropy + histogram": {},
}
FULL = "supervised + entropy + histogram"
SHARES = {"50 %": 0.5, "25 %": 0.25, "12.5 %": 0.125}
CELLS = (*LOSSES, *SHARES, AUTO, TRUTH)
OF_PARTS = ("histogram", "composition")
# Row -> cell, banks, and whether they are scaled.
ROWS: dict[str, tuple[str, Sequence[str], bool]] = {
    **{f"table 2, {name}": (name, BANKS, True) for name in LOSSES},
    **{f"table 3, {bank} alone": (FULL, (bank,), True) for bank in BANKS},
    "table 3, all unscaled": (FULL, BANKS, False),
    "table 3, all scaled": (FULL, BANKS, True),
    "table 4, 100 %": (FULL, OF_PARTS, True),
    **{f"table 4, {name}": (name, OF_PARTS, True) for name in SHARES},
    "labels found by another method": (AUTO, BANKS, True),
    "true parts of every image": (TRUTH, BANKS, True),
}

KINDS = {"logical": GROUPS[1], "structural": GROUPS[2]}


@dataclass(frozen=True)
class Cells:
    """Files of fitted cells, below a folder.

    Attributes:
        root: Where scenes and cells are kept.
        counts: Images of each split.
        profile: Whose backbones.
        options: Of the method.
    """

    root: Path
    counts: dict[str, int]
    profile: str
    options: Mapping[str, Any]

    def file(self, world: int, category: str, name: str) -> Path:
        """Of scores; its segments are beside it, in an ``.npz``."""
        stem = json.dumps([world, category, name, self.counts, self.profile, dict(self.options)])
        folder = self.root / "psad-cells" / code_name()
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{hashlib.sha256(stem.encode()).hexdigest()[:16]}.json"

    def open(self, world: int, category: str) -> Opened:
        """The images."""
        return opened(category, world, self.root, self.counts, self.profile)

    def of(
        self, world: int, category: str, names: Sequence[str]
    ) -> dict[tuple[int, str, str], dict[str, Any]]:
        """Scores of some cells, fitted where they are not kept."""
        images: Opened | None = None
        found = {}
        for name in names:
            file = self.file(world, category, name)
            if not file.exists():
                images = images or self.open(world, category)
                scores, segments = cell(
                    images, category, LOSSES.get(name, {}), self.options, SHARES.get(name, 1.0),
                    name if name in (AUTO, TRUTH) else "",
                )  # fmt: skip
                np.savez_compressed(file.with_suffix(".npz"), np.stack(segments).astype(np.uint8))
                partial = file.with_suffix(".partial")
                partial.write_text(json.dumps(scores))
                partial.replace(file)
            found[world, category, name] = json.loads(file.read_text())
            print(f"world {world}, {category}, {name}: done", flush=True)
        return found

    def segments(self, world: int, category: str) -> Labels:
        """Of the normal test images, ``(n, H, W)``."""
        file = self.file(world, category, FULL).with_suffix(".npz")
        with np.load(file) as kept:
            return np.asarray(kept["arr_0"], dtype=np.int32)


def fused(found: Mapping[str, Any], group: str, banks: Sequence[str], scaled: bool) -> list[float]:
    """Scores of a group: the sum of some banks, scaled or not."""
    parts = [
        np.array(found["scores"][group][bank]) / (found["scales"][bank] if scaled else 1.0)
        for bank in banks
    ]
    return [float(value) for value in np.sum(parts, axis=0)]


def tables(
    cells: Cells, worlds: Sequence[int], categories: Sequence[str], only: Sequence[str]
) -> dict[str, float]:
    """AUROC of every row whose cell is among ``only``: by category, mean and worst draw."""
    found = {
        key: one
        for world in worlds
        for category in categories
        for key, one in cells.of(world, category, only).items()
    }
    figures: dict[str, float] = {}

    def told(row: str, kind: str, of: Mapping[tuple[int, str], float]) -> None:
        for category in categories:
            figures[f"{row}: {category}: {kind}"] = float(
                np.mean([of[world, category] for world in worlds])
            )
        figures[f"{row}: mean: {kind}"] = float(np.mean(list(of.values())))
        figures[f"{row}: worst: {kind}"] = min(of.values())

    for name in only:
        if name not in (AUTO, TRUTH):
            ious = {(w, c): found[w, c, name]["iou"] for w in worlds for c in categories}
            told(f"segmenter, {name}", "IoU", ious)
    for row, (name, banks, scaled) in ROWS.items():
        for kind, group in KINDS.items() if name in only else ():
            values = {
                (world, category): auroc(
                    fused(found[world, category, name], GROUPS[0], banks, scaled),
                    fused(found[world, category, name], group, banks, scaled),
                )
                for world in worlds
                for category in categories
            }
            told(row, kind, values)
    return {name: round(value, 3) for name, value in figures.items()}


def cost(cells: Cells) -> dict[str, float]:
    """Seconds of a verdict, and of its two encoder passes; the rest over the passes."""
    of = cells.open(1, "pushpins")
    quick = {"supervised": 5, "joint": 5, "copies": 1}
    method = Psad(PsadConfig(**{**cells.options, "segmenter": quick}))
    encoder: Any = of.train[0].backbone_set.backbones["encoder"]
    shots, others = of.train[: of.labelled], of.train[of.labelled :]
    labels = [of.labels[view.name] for view in shots]
    context = FitContext(labels=labels, unlabeled=others, encoder=encoder)
    fitted = pipeline.fit(method, shots, context)
    module, side = encoder.build().eval(), method.config.training.side
    square = torch.zeros(1, 3, side, side)
    passes, whole = [], []
    with torch.inference_mode():
        for view in of.tests["good"]:
            first, second = view.again(view.pixels, "once"), view.again(view.pixels, "again")
            passes.append(seconds(lambda: module(square)) + seconds(first.pyramid))
            whole.append(seconds(lambda second=second: pipeline.judge(second, fitted)))
    rest = [max(0.0, w - p) / p for w, p in zip(whole, passes, strict=True)]
    return {
        "encoder passes a query": 2,
        "training images": cells.counts["train"],
        "milliseconds of the passes": round(1000 * statistics.median(passes), 1),
        "milliseconds of a verdict": round(1000 * statistics.median(whole), 1),
        "rest over passes": round(statistics.median(rest), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("tables", "cost", "pictures"))
    parser.add_argument("--worlds", type=int, nargs="+", default=[0, 3])
    parser.add_argument("--category", nargs="+", default=list(SCENE_CATEGORIES))
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--train", type=int, default=TRAIN, help="training images")
    parser.add_argument("--images", type=int, default=IMAGES, help="test images per group")
    parser.add_argument("--root", type=Path, default=Path("scenes"), help="where scenes are made")
    parser.add_argument("--profile", default="builtin")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--name", default="psad", help="of the file in benchmarks/results")
    parser.add_argument("--to", type=Path, default=Path("psad-segments.png"), help="the picture")
    given = parser.parse_args()
    options = json_options(given.option)
    said = f"profile {given.profile}, options {options}"
    images = ROUNDS if given.what == "cost" else given.images
    cells = Cells(given.root, scene_counts(given.train, images), given.profile, options)
    if given.what == "cost":
        keep("psad-cost", f"scenes-v1, pushpins, seed 1, {said}", cost(cells))
    elif given.what == "pictures":
        world, rows = given.worlds[0], []
        for category in given.category:
            cells.of(world, category, [FULL])
            rows.append((cells.open(world, category), cells.segments(world, category)))
        drawn(rows).quantize(256).save(given.to, optimize=True)  # a third of the bytes
    else:
        figures = tables(cells, given.worlds, given.category, given.cells)
        if set(given.worlds) & set(TUNING):
            print(json.dumps(figures, indent=1))
            return
        worlds = " ".join(map(str, given.worlds))
        what = f"{given.train} training images, {given.images} test images a group"
        keep(given.name, f"scenes-v1, seed {worlds}, {what}, {said}", figures)


if __name__ == "__main__":
    main()
