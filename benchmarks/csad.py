"""CSAD on scenes: its paper's ablations, and what a query costs.

    python -m benchmarks.csad tables --rows 'table 4' 'table 6' 'table 7' true
    python -m benchmarks.csad tables --worlds 1 2 --rows 'table 7'
    python -m benchmarks.csad cost

`scenes-v1`, five categories, 60 training images without labels, of which the pipeline sets 12 aside
to scale branches and threshold. 20 test images a group; AUROC of the logical and of the structural
anomalies against the normal test images, by category over the worlds, with the mean and the worst
of all draws; mean IoU of the segmenter's classes with the true parts, the best pairing of both, on
the normal images that were set aside.

- Table 3: the segmenter trained with logical synthetic anomalies, CutPaste, or neither; patch
  histograms alone.
- Table 4: grids of the patch histograms, and each class in those it keeps to ("spread"); their
  distances summed up in their scales, or as a norm.
- Table 5: ends of the local student, alone and with histograms.
- Table 6: sPRO (limit 0.05) of the students' map, and of both branches' together.
- Table 7: each branch alone, and both; beside them both with the true part maps as labels of the
  segmenter ("true labels").
- Figure 10: bandwidths of the clustering, with the number of classes that came out.

Segmenter and students are trained apart (a *cell* each, for each world and category), and their
raw scores and maps lie in files of their own, so that a run that was stopped goes on. Options are
chosen on worlds 1 and 2 alone, and the reported worlds are 0 and 3.
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
from PIL import Image

import fmlad
from benchmarks.common import auroc, code_name, json_options, keep, scene_counts, seconds
from benchmarks.csad_labels import best_iou
from benchmarks.csad_rows import (
    PARTS,
    ROWS,
    SETTINGS,
    SPREAD,
    SPRO_ROWS,
    STUDENTS,
    Row,
    setting_name,
)
from benchmarks.scenes import GROUPS, TUNING
from fmlad import pipeline, profiles
from fmlad.datasets import SCENE_CATEGORIES, make_scenes
from fmlad.io.images import load_image
from fmlad.methods.csad.config import CANDIDATES, CsadConfig
from fmlad.methods.csad.localisation import Compared
from fmlad.methods.csad.method import Csad
from fmlad.methods.csad.patch_histogram import (
    chosen_grids,
    fitted_models,
    joint_distance,
    patch_histogram,
)
from fmlad.methods.protocol import FitContext
from fmlad.objects.instances import resized
from fmlad.scoring.trimmed import TrimmedZ
from fmlad.views import BackboneSet, ImageView

TRAIN, IMAGES = 60, 20
ROUNDS = 7
NORMAL = "held out"  # the images that were set aside, as a group of their own
LIMIT = 0.05  # of the false positive rate, for sPRO (MVTec LOCO)
Raw = dict[str, list[Any]]


@dataclass(frozen=True)
class Opened:
    """One category of one world.

    Attributes:
        home: Its folder.
        train: Training images.
        labels: Their true part maps, int32 ``(H, W)``; names of the parts with the background.
        names: Of the parts, the background's first.
        tests: Test images by group.
    """

    home: Path
    train: list[ImageView]
    labels: list[Any]
    names: tuple[str, ...]
    tests: Mapping[str, list[ImageView]]


def scene_folder(category: str, world: int, counts: dict[str, int]) -> str:
    """A folder for each world, in it one named as the category, as data sets are laid out."""
    return f"csad-{world}-{counts['train']}-{counts['test_good']}/{category}"


def backbones(profile: str) -> BackboneSet:
    """CSAD's backbones of a profile, nothing cached on disk."""
    chosen = profiles.resolve(Csad().needs, profile, Csad.declared.get(profile))
    return BackboneSet(profiles.load_backbones(chosen, "cpu"))


def part_maps(home: Path, paths: Sequence[Path]) -> tuple[tuple[str, ...], list[Any]]:
    """Parts of images, wherever they lie: the scenes' slots, all of one part as one class."""
    slots = json.loads((home / "scenes.json").read_text())["slots"]
    names = [part for part, _ in slots]
    maps = [np.asarray(Image.open(path)) for path in paths]
    seen = sorted({int(label) for labels in maps for label in np.unique(labels)})
    known = list(dict.fromkeys(names[label] for label in seen))
    table = np.array([known.index(one) if one in known else 0 for one in names], np.int32)
    return tuple(known), [table[labels] for labels in maps]


def opened(category: str, world: int, root: Path, counts: dict[str, int], profile: str) -> Opened:
    """Renders and opens a category."""
    home = root / scene_folder(category, world, counts)
    make_scenes(home, category, seed=world, counts=counts)
    through = backbones(profile)

    def views(split: str, group: str) -> list[ImageView]:
        paths = sorted((home / split / group).glob("*.png"))
        return [through.view(load_image(path), path.stem) for path in paths]

    names, labels = part_maps(home, sorted((home / "slots" / "train" / "good").glob("*.png")))
    tests = {group: views("test", group) for group in GROUPS}
    return Opened(home, views("train", "good"), labels, names, tests)


def fitted(of: Opened, method: Csad, true: bool = False) -> tuple[Any, list[ImageView]]:
    """A fitted method, and the training images that were set aside."""
    encoder: Any = of.train[0].backbone_set.backbones["encoder"]
    context = FitContext(
        labels=of.labels if true else None, label_names=of.names if true else (), encoder=encoder
    )
    whole = pipeline.fit(method, of.train, context)
    aside = [v for v, s in zip(of.train, whole.shot_scores, strict=True) if s is not None]
    for view in of.train:
        view.release()
    return whole, aside


def parts_cell(of: Opened, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of every setting of the histograms by group, and maps of the method's own."""
    unlike, true = PARTS[name]
    changes = {group: {**dict(options.get(group, {})), **o} for group, o in unlike.items()}
    config = CsadConfig(**{**options, **changes, "branches": ("histogram",)})
    whole, aside = fitted(of, Csad(config), true)
    own: Any = whole.state.histograms
    classes = own.segmenter.classes

    def labels(views: Sequence[ImageView]) -> list[Any]:
        found = []
        for view in views:
            found.append(own.segmenter.predict_maps(whole.state.encoder.levels(view)))
            view.release()
        return found

    apart = {id(view) for view in aside}
    train = labels([view for view in of.train if id(view) not in apart])
    maps = {NORMAL: labels(aside), **{group: labels(views) for group, views in of.tests.items()}}
    spread = chosen_grids(train, classes, CANDIDATES)
    scores: dict[str, Raw] = {group: {} for group in maps}
    for grids, joined in SETTINGS:
        cells: Any = spread if grids == SPREAD else dict.fromkeys(grids)
        models = fitted_models(train, maps[NORMAL], classes, cells, config.inverse, joined)
        for group, found in maps.items():
            scores[group][setting_name(grids, joined)] = [
                joint_distance(models, one, classes, joined) for one in found
            ]
    painted = {
        group: [_painted(one, own, config) for one in found] for group, found in maps.items()
    }
    true_aside = [of.labels[row] for row, view in enumerate(of.train) if id(view) in apart]
    sized = [resized(one, maps[NORMAL][0].shape) for one in true_aside]
    return {
        "classes": classes,
        "grids": {str(grid): int(counted.sum()) for grid, counted in spread.items()},
        "IoU": best_iou(maps[NORMAL], sized),
        "scores": scores,
        "maps": painted,
    }


def _painted(labels: Any, own: Any, config: CsadConfig) -> Any:
    """Map of the branch, as the method makes it."""
    classes = own.segmenter.classes
    nearest = own.nearest(patch_histogram(labels, classes, 1))
    score = joint_distance(own.models, labels, classes, config.joint)
    small = resized(labels, nearest.shape)
    return Compared.of(small, nearest, score, own.models, classes).painted().astype(np.float16)


def students_cell(of: Opened, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Scores and maps of the students, by group."""
    students = {**dict(options.get("students", {})), **STUDENTS[name]}
    config = CsadConfig(**{**options, "branches": ("students",), "students": students})
    whole, aside = fitted(of, Csad(config))
    scores: dict[str, Raw] = {}
    maps: dict[str, list[Any]] = {}
    for group, views in {NORMAL: aside, **of.tests}.items():
        found = [whole.method.evidence(view, whole.state) for view in views]
        scores[group] = {"students": [one.scores["students"] for one in found]}
        maps[group] = [_halved(one.maps["students"]) for one in found]
        for view in views:
            view.release()
    return {"scores": scores, "maps": maps}


def _halved(whole: Any, side: int = 128) -> Any:
    small = torch.from_numpy(whole)[None, None]
    return torch.nn.functional.interpolate(small, (side, side), mode="area")[0, 0].half().numpy()


def cached(kept: Path, key: Sequence[Any], make: Any) -> dict[str, Any]:
    """A cell from its file, or made now."""
    stem = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    file, arrays = kept / f"{stem}.json", kept / f"{stem}.npz"
    if not file.exists():
        found = make()
        maps = found.pop("maps")
        stacked: Any = {group: np.stack(own) for group, own in maps.items()}
        np.savez_compressed(arrays, **stacked)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(found))
        partial.replace(file)
    found = json.loads(file.read_text())
    with np.load(arrays) as stored:
        found["maps"] = {group: stored[group].astype(np.float32) for group in stored.files}
    return dict(found)


def branch_scores(row: Row, cells: Mapping[str, Any], group: str) -> list[dict[str, float]]:
    """Raw scores of the row's branches for each image of a group."""
    columns: dict[str, list[float]] = {}
    if row.parts is not None:
        columns["histogram"] = cells[row.parts]["scores"][group][row.setting]
    if row.students is not None:
        columns["students"] = cells[row.students]["scores"][group]["students"]
    return [dict(zip(columns, one, strict=True)) for one in zip(*columns.values(), strict=True)]


def row_aurocs(row: Row, cells: Mapping[str, Any]) -> dict[str, float]:
    """AUROC of the logical and of the structural anomalies."""
    fusion = TrimmedZ.fit(branch_scores(row, cells, NORMAL))
    scores = {g: [fusion.sum(one) for one in branch_scores(row, cells, g)] for g in GROUPS}
    return {
        kind: auroc(scores[GROUPS[0]], scores[group])
        for kind, group in zip(("logical", "structural"), GROUPS[1:], strict=True)
    }


def row_spros(row: Row, cells: Mapping[str, Any], home: Path) -> dict[str, float]:
    """SPRO at a limit of 0.05 over normal and anomalous images together."""
    fusion = TrimmedZ.fit(branch_scores(row, cells, NORMAL))
    names = {"histogram": row.parts, "students": row.students}
    loaded = fmlad.datasets.load("scenes", home.parent, home.name)
    found = {}
    for kind, group in zip(("logical", "structural"), GROUPS[1:], strict=True):
        maps, regions, saturations = [], [], []
        for part in (GROUPS[0], group):
            samples = [one for one in loaded.test if one.path.parent.name == part]
            for number, sample in enumerate(sorted(samples, key=lambda one: one.path)):
                own = {b: cells[n]["maps"][part][number] for b, n in names.items() if n}
                size = load_image(sample.path).shape[:2]
                annotation = sample.annotation()
                none = np.zeros((0, *size), bool)
                maps.append(resized(fusion.fused_map(own), size))
                regions.append(none if annotation is None else annotation.regions)
                saturations.append(() if annotation is None else annotation.saturations)
        found[kind] = fmlad.metrics.spro(maps, regions, saturations, fpr_limit=LIMIT)
    return found


def tables(
    worlds: Sequence[int], categories: Sequence[str], counts: dict[str, int], root: Path,
    profile: str, options: Mapping[str, Any], only: Sequence[str],
) -> dict[str, float]:  # fmt: skip
    """Figures of every row that begins with one of ``only``: by category, mean and worst."""
    rows = {name: row for name, row in ROWS.items() if name.startswith(tuple(only))}
    spros = {n: ROWS[of] for n, of in SPRO_ROWS.items() if n.startswith(tuple(only))}
    names = dict.fromkeys(
        n for row in (*rows.values(), *spros.values()) for n in (row.parts, row.students) if n
    )
    kept = root / "csad-cells" / code_name()
    kept.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, list[float]]] = {}
    for category in categories:
        for world in worlds:
            cells, of = {}, None
            for name in names:
                key = [world, category, name, counts, profile, dict(options)]

                def make(name: str = name, category: str = category, world: int = world) -> Any:
                    nonlocal of
                    of = of or opened(category, world, root, counts, profile)
                    work = parts_cell if name in PARTS else students_cell
                    return work(of, name, options)

                cells[name] = cached(kept, key, make)
                print(f"world {world}, {category}, {name}: done", flush=True)
            home = root / scene_folder(category, world, counts)
            figures = {name: row_aurocs(row, cells) for name, row in rows.items()}
            figures |= {name: row_spros(row, cells, home) for name, row in spros.items()}
            for name, row in rows.items():
                if name.startswith("figure 10") and row.parts:
                    figures[name]["classes"] = cells[row.parts]["classes"] - 1
            for name in names:
                if name in PARTS:
                    figures[f"segmenter, {name}"] = {"IoU": cells[name]["IoU"]}
            for name, kinds in figures.items():
                for kind, value in kinds.items():
                    by_category = found.setdefault(f"{name}: {{}}: {kind}", {})
                    by_category.setdefault(category, []).append(value)
    table: dict[str, float] = {}
    for form, by_category in found.items():
        means = {category: float(np.mean(values)) for category, values in by_category.items()}
        worst = min(value for values in by_category.values() for value in values)
        means |= {"mean": float(np.mean([*means.values()])), "worst": worst}
        table |= {form.format(name): round(value, 3) for name, value in means.items()}
    return table


def cost(root: Path, profile: str, options: Mapping[str, Any]) -> dict[str, float]:
    """Times of a query: the bare encoder pass, each branch's evidence, both, and a verdict."""
    of = opened("pushpins", 1, root, scene_counts(10, ROUNDS), profile)
    quick = {
        "segmenter": {"supervised": 2, "joint": 0, "copies": 4},
        "students": {"steps": 2, "copies": 1},
    }
    times: dict[str, list[float]] = {}
    through = of.train[0].backbone_set
    for name in ("histogram", "students", "both"):
        branches = ("histogram", "students") if name == "both" else (name,)
        method = Csad(CsadConfig(**{**options, **quick, "branches": branches}))
        whole, _ = fitted(of, method, true="histogram" in branches)
        encoder = whole.state.encoder
        for view in of.tests["good"]:
            pixels = view.pixels

            def bare(pixels: Any = pixels, encoder: Any = encoder) -> None:
                encoder.encode(encoder.square(pixels)[None])

            one, two = (through.view(pixels, "query") for _ in range(2))
            times.setdefault("encoder", []).append(seconds(bare))
            evidence = lambda v=one, w=whole: w.fusion.fused(w.method.evidence(v, w.state).scores)  # noqa: E731
            times.setdefault(name, []).append(seconds(evidence))
            if name == "both":
                times.setdefault("verdict", []).append(
                    seconds(lambda v=two, w=whole: pipeline.judge(v, w))
                )
    middle = {name: statistics.median(own[1:]) for name, own in times.items()}
    return {
        "encoder passes a query": 1,
        "milliseconds of the pass": round(1000 * middle["encoder"], 1),
        **{
            f"{name} over the pass": round(middle[name] / middle["encoder"], 2)
            for name in ("histogram", "students", "both", "verdict")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("tables", "cost"))
    parser.add_argument("--worlds", type=int, nargs="+", default=[0, 3])
    parser.add_argument("--category", nargs="+", default=list(SCENE_CATEGORIES))
    parser.add_argument("--rows", nargs="+", default=[""], help="beginnings of rows' names")
    parser.add_argument("--train", type=int, default=TRAIN, help="training images")
    parser.add_argument("--images", type=int, default=IMAGES, help="test images per group")
    parser.add_argument("--root", type=Path, default=Path("scenes"), help="where scenes are made")
    parser.add_argument("--profile", default="builtin")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--name", help="of the file in benchmarks/results")
    given = parser.parse_args()
    options = json_options(given.option)
    said = f"profile {given.profile}, options {options}"
    if given.what == "cost":
        figures = cost(given.root, given.profile, options)
        keep(given.name or "csad-cost", f"scenes-v1, pushpins, seed 1, {said}", figures)
        return
    counts = scene_counts(given.train, given.images)
    figures = tables(
        given.worlds, given.category, counts, given.root, given.profile, options, given.rows
    )
    some = given.category != list(SCENE_CATEGORIES)
    if set(given.worlds) & set(TUNING) or (some and not given.name):
        print(json.dumps(figures, indent=1))
        return
    worlds = " ".join(map(str, given.worlds))
    what = f"{given.train} training images, {given.images} test images a group"
    where = f"scenes-v1{', ' + ' and '.join(given.category) if some else ''}, seed {worlds}"
    keep(given.name or "csad", f"{where}, {what}, {said}", figures)


if __name__ == "__main__":
    main()
