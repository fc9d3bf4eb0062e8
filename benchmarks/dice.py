"""Logical anomalies on real photographs: the rule is "exactly six dice", and nobody says so.

    python -m benchmarks.dice
    python -m benchmarks.dice --draws 20 --name dice-draws

Photographs of dice on a tray, without those of `trays.txt`. Shots are drawn at random from the
photographs with six dice; the remaining ones with six are normal, those with 3, 4, 5, 7, 8, 9 and
10 are anomalous. AUROC over all of them, mean and standard deviation over the seeds 0 to 4. The
dice differ in colour and size from photograph to photograph; nothing in the code knows about dice.

"Exact" is the share of the normal photographs in which every die is one object and one only: each
labelled box holds the centre of exactly one object; "exact, held out" that of the 26 photographs
with six dice that tuned nothing. "As in the shots" is the share in which the count of the most
lawful part (its counts over the shots decide) is the expected one.

With `--draws N` there are N draws (seeds 0 to N - 1) at 4 shots, and of each figure the worst draw
as well: the mean hides one draw in twenty that is useless.

Each photograph is decoded, encoded and proposed once and then kept in memory. Priors and limits
were chosen on the seeds 100 and up, and on every other photograph only.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import fmlad
from benchmarks.common import builtin_backbones, json_options, keep, shared
from fmlad import pipeline
from fmlad.io.images import load_image
from fmlad.methods.banks.config import BANKS
from fmlad.methods.protocol import FitContext
from fmlad.methods.registry import create_method
from fmlad.views import ImageView

NORMAL, ODD = 6, (3, 4, 5, 7, 8, 9, 10)
SHOTS = (1, 2, 4, 8, 16)
SEEDS = range(5)


def photographs(every_other: bool = False) -> dict[str, int]:
    """Name and number of dice of each photograph that is used."""
    root = shared("data", "dice")
    trays = set((root / "trays.txt").read_text().split())
    found = {}
    for path in sorted((root / "images").glob("*.jpg")):
        labels = (root / "boxes" / f"{path.stem}.txt").read_text().splitlines()
        dice = sum(bool(line.strip()) for line in labels)
        if path.name not in trays and dice in (NORMAL, *ODD):
            found[path.name] = dice
    return {name: n for i, (name, n) in enumerate(found.items()) if not every_other or i % 2 == 0}


def open_views(names: list[str]) -> dict[str, ImageView]:
    """A view of each photograph, all through the same backbones."""
    backbone_set = builtin_backbones()
    root = shared("data", "dice", "images")
    return {name: backbone_set.view(load_image(root / name), name) for name in names}


def cell(
    views: dict[str, ImageView], dice: dict[str, int], k: int, seed: int, options: dict[str, Any]
) -> dict[str, float]:
    """AUROC of the fused score and of each branch, and the share of exact counts."""
    tuned = photographs(every_other=True)
    six = [name for name in dice if dice[name] == NORMAL]
    rng = np.random.default_rng(seed)
    shots = [six[i] for i in rng.choice(len(six), k, replace=False)]
    fitted = pipeline.fit(
        create_method("banks", options), [views[s] for s in shots], FitContext(seed=seed)
    )
    state: Any = fitted.state
    truth, exact, agrees, decided = list[int](), list[bool](), list[bool](), list[bool]()
    held_out: list[bool] = []
    scores: dict[str, list[float]] = {"fused": []}
    for name, number in dice.items():
        if name in shots:
            continue
        prediction = pipeline.judge(views[name], fitted)
        truth.append(int(number != NORMAL))
        scores["fused"].append(prediction.score)
        for branch, score in prediction.branch_scores.items():
            scores.setdefault(branch, []).append(score)
        decided.append(bool(prediction.is_anomalous) == (number != NORMAL))
        if number == NORMAL and state.objects is not None:
            single, lawful = counted(views[name], fitted)
            exact.append(single)
            held_out += [] if name in tuned else [single]
            agrees.append(lawful)
    result = {branch: fmlad.metrics.auroc(truth, values) for branch, values in scores.items()}
    return result | {
        "exact": float(np.mean(exact)),
        **({"exact, held out": float(np.mean(held_out))} if held_out else {}),
        "as in the shots": float(np.mean(agrees)),
        "right verdicts": float(np.mean(decided)),
    }


def counted(view: ImageView, fitted: pipeline.Fitted) -> tuple[bool, bool]:
    """Whether every die is one object, and whether the most lawful part has its expected count."""
    method: Any = fitted.method
    state: Any = fitted.state
    scene = method._scene(view, state.objects, frozenset())
    model, objects = scene.framed.model, scene.seen.objects
    height, width = view.size
    sure = objects.objectness >= 0.5
    centres = (objects.boxes[sure, :2] + objects.boxes[sure, 2:]) / 2 / [width, height]
    label = shared("data", "dice", "boxes") / f"{view.name.rpartition('.')[0]}.txt"
    boxes = np.array([[float(v) for v in ln.split()[1:]] for ln in label.read_text().splitlines()])
    inside = np.abs(centres[None] - boxes[:, None, :2]) <= boxes[:, None, 2:] / 2
    single = bool((inside.all(-1).sum(1) == 1).all())
    worth = [
        law.lawful * group.counts.mean()
        for law, group in zip(model.laws, model.parts.groups, strict=True)
    ]
    if not worth:
        return single, False
    best = int(np.argmax(worth))
    rows = model.parts.assign(objects)[model.parts.groups[best].level] == best
    count = float(objects.objectness[rows].sum())
    return single, abs(count - model.laws[best].expected) < 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tuning", action="store_true", help="other seeds; writes no result")
    parser.add_argument("--shots", type=int, nargs="+", default=list(SHOTS))
    parser.add_argument("--draws", type=int, help="many draws at 4 shots, the worst one printed")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--name", default="dice", help="of the file in benchmarks/results")
    arguments = parser.parse_args()
    options = {"banks": BANKS, **json_options(arguments.option)}
    seeds = range(arguments.draws) if arguments.draws else SEEDS
    dice = photographs(arguments.tuning)
    views = open_views(list(dice))
    figures: dict[str, str] = {}
    for k in [4] if arguments.draws else arguments.shots:
        cells = [cell(views, dice, k, seed + 100 * arguments.tuning, options) for seed in seeds]
        for key in cells[0]:
            values = [c[key] for c in cells]
            figures[f"{k} shots, {key}"] = f"{np.mean(values):.3f} +- {np.std(values):.3f}"
            if arguments.draws:
                figures[f"{k} shots, {key}"] += f", worst {np.min(values):.3f}"
            print(k, key, figures[f"{k} shots, {key}"], flush=True)
    if not arguments.tuning:
        protocol = f"six dice, builtin profile, {len(seeds)} seeds, options {options}"
        keep(arguments.name, protocol, figures, seeds=seeds)


if __name__ == "__main__":
    main()
