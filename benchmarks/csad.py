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
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does
os.environ["FMLAD_CACHE_LIMIT_MB"] = "0"  # a cached answer would cost nothing

import fmlad
from benchmarks.common import auroc, code_name, json_options, keep, scene_counts, seconds
from benchmarks.csad_cells import parts_cell, students_cell
from benchmarks.csad_rows import PARTS, ROWS, SPRO_ROWS, Row
from benchmarks.scenes import GROUPS, TUNING
from benchmarks.trained_scenes import (
    LIMIT,
    NORMAL,
    cached,
    fitted,
    listed,
    opened,
    scene_folder,
    truths,
)
from fmlad import pipeline
from fmlad.datasets import SCENE_CATEGORIES
from fmlad.methods.csad.config import CsadConfig
from fmlad.methods.csad.method import Csad
from fmlad.objects.instances import resized
from fmlad.scoring.trimmed import TrimmedZ

TRAIN, IMAGES = 60, 20
ROUNDS = 7


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
    found = {}
    for kind, group in zip(("logical", "structural"), GROUPS[1:], strict=True):
        maps, regions, saturations = [], [], []
        for part in (GROUPS[0], group):
            for number, truth in enumerate(truths(home, part)):
                own = {b: cells[n]["maps"][part][number] for b, n in names.items() if n}
                maps.append(resized(fusion.fused_map(own), truth.size))
                regions.append(truth.regions)
                saturations.append(truth.saturations)
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
                    of = of or opened(category, world, root, counts, Csad(), profile)
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
    return listed(found)


def cost(root: Path, profile: str, options: Mapping[str, Any]) -> dict[str, float]:
    """Times of a query: the bare encoder pass, each branch's evidence, both, and a verdict."""
    of = opened("pushpins", 1, root, scene_counts(10, ROUNDS), Csad(), profile)
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
