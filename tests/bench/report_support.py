"""Results made by hand, for tables and reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fmlad.bench.model import Cell, CellResult, Entry, FailedCell, ImageRecord, Task
from fmlad.bench.plan import Plan
from fmlad.bench.runner import image_figures, latency
from fmlad.bench.store import Store
from fmlad.datasets.model import Kind

BAD_NAME = "<script>alert('x')</script> & | *co*"
LOCO = ("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors")
KINDS: tuple[Kind, ...] = ("good", "logical", "structural")
PIXEL = ("pixel_auroc", "aupro", "spro_mean@0.05", "spro@0.05")


def entry(label: str, **changes: object) -> Entry:
    given: dict[str, object] = {"method": "banks", "profile": "builtin", **changes}
    return Entry(label, **given)  # type: ignore[arg-type]


def result(cell: Cell, skill: float, images: int = 12, **changes: object) -> CellResult:
    """A cell whose anomalies score ``skill`` higher than its normal images, on the average."""
    rng = np.random.default_rng([cell.seed, cell.shots, *cell.task.title.encode()])
    rows = tuple(
        ImageRecord(
            f"{kind}/{index:03d}",
            kind,
            None if kind == "good" else "bent",
            float(rng.normal(1 + skill * (kind != "good"))),
            2.0,
            0.1 + index / 100,
            index < 5,
        )
        for kind in KINDS
        for index in range(images)
    )
    rate = np.linspace(0, 1, 101)
    figures = {**image_figures(rows), **{name: 1 - math.exp(-skill) for name in PIXEL}}
    given: dict[str, object] = {
        "figures": figures,
        "curve": {"fpr": rate.tolist(), "spro": (rate ** (1 / (1 + 5 * skill))).tolist()},
        "cost": {"fit_seconds": 1.5, "peak_mb": 800.0, "weights_mb": 0.25, **latency(rows)},
        "notes": (f"noted by {BAD_NAME}",),
        "environment": {"fmlad": "0.1", "python": "3.11", "commit": "0123abc", "threads": "1"},
        **changes,
    }
    return CellResult(cell, ("train/000",) * cell.shots, rows, **given)  # type: ignore[arg-type]


def write_results(
    folder: Path,
    entries: Sequence[Entry] = (),
    *,
    dataset: str = "mvtec_loco",
    categories: Sequence[str] = LOCO,
    shots: Sequence[int] = (1, 4),
    seeds: Sequence[int] = (0, 1, 2),
    failing: bool = True,
) -> list[CellResult]:
    """A results folder: of three entries, one told words and short of two tasks, one failed."""
    entries = entries or (
        entry("banks"),
        entry(BAD_NAME, options={"banks": ["patch"]}),
        entry("clip-lad, category prompts", method="clip-lad", prompts="category", validation=True),
    )
    tasks = [Task(dataset, "/nowhere", category) for category in categories]
    # A validated plan makes an entry of its own of each.
    plan = Plan(tuple(entries), tuple(tasks), tuple(shots), tuple(seeds), name=f"trial {BAD_NAME}")
    cells = [
        Cell(who, task, k, seed)
        for task in tasks
        for number, who in enumerate(plan.entries)
        for k in shots
        for seed in seeds
        if number != 2 or task.category in ("pushpins", "screw_bag", "juice_bottle")
    ]
    store = Store(folder)
    store.begin(plan, cells)
    made = []
    for cell in cells:
        number = plan.entries.index(cell.entry)
        if failing and number == 1 and cell.task.category == "screw_bag" and cell.seed == seeds[-1]:
            failure = FailedCell(cell, "WeightsUnavailableError", f"No weights <b>{BAD_NAME}</b>.")
            store.keep_failure(failure)
            continue
        beyond = {"normals_beyond_k": 7.0} if cell.entry.validation else {}
        one = result(cell, 0.4 + 0.5 * number + 0.1 * cell.shots)
        one.cost.update(beyond)  # type: ignore[attr-defined]
        store.keep(one)
        made.append(one)
    return made
