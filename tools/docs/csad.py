"""The tables of docs/csad.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.docs.categories import COLUMNS, measured, pairs, values
from tools.docs.markdown import content, table

# Row -> mean of the five categories of MVTec LOCO as CSAD prints it (Tables 7, 4, 3 and 5), %.
BRANCHES = {
    "table 7, histograms": "91.4 / 75.4",
    "table 7, students": "87.7 / 93.1",
    "table 7, both": "96.7 / 94.0",
    "true labels, histograms": "",
    "true labels, both": "",
}
GRIDS = {
    "1": "89.9 / 73.7",
    "1+2": "91.4 / 75.4",
    "1+2+3": "91.6 / 76.0",
    "1+2+4": "90.8 / 75.2",
    "1+2+3+4": "91.1 / 75.7",
    "spread": "",
}
SPRO = {"table 6, students": "87.8 / 88.8", "table 6, both": "89.1 / 89.4"}
ABLATED = {
    "table 3, none": "89.2 / 71.0",
    "table 3, CutPaste": "89.0 / 70.1",
    "table 3, LSA": "89.9 / 73.7",
    "table 5, same": "72.5 / 63.5",
    "table 5, double": "88.0 / 92.8",
    "table 5, heads": "87.7 / 93.1",
    "table 5, around": "",
    "table 5, heads + 1, no LSA": "96.5 / 92.4",
    "table 5, heads + 1": "96.7 / 93.8",
    "table 5, heads + 1 + 2": "96.7 / 94.0",
}
BANDWIDTHS = ("bandwidth 0.3", "bandwidth 0.5", "bandwidth 0.7", "pseudo-labels")
# Each category's own AUROC in the paper (its Table 1), %.
PAPER = ("94.4 / 91.1", "94.9 / 95.6", "99.5 / 97.8", "99.9 / 93.2", "94.8 / 92.2", "96.7 / 94.0")


def page() -> list[str]:
    """Branches, grids, localisation, segments, ablations, and the cost of a query."""
    found, ablation, cost = content("csad"), content("csad-ablation"), content("csad-cost")
    figures, other, spent = found["figures"], ablation["figures"], cost["figures"]
    two = measured(other, "table 3, LSA")
    made = content("csad-labels")
    labels = made["figures"]
    worst = min(one["labelled"] for one in labels.values() if isinstance(one, dict))
    return [
        "**The paper's Table 7** on scenes, image AUROC logical / structural; mean over seeds,",
        f"worst of all draws; {found['protocol']}: `{found['command']}`",
        "",
        *table(
            ("", *COLUMNS, "paper, mean, %"),
            [
                *((name, *pairs(figures, name), paper) for name, paper in BRANCHES.items()),
                ("the paper, both, MVTec LOCO, %", *PAPER, "", ""),
            ],
        ),
        "",
        "**Table 4**, grids of the patch histograms alone, joined by the sum of distances in their",
        "scales or by their norm:",
        "",
        *table(
            ("cells on a side", "sum: mean", "worst", "norm: mean", "worst", "paper, %"),
            [(grid, *_joined(figures, grid), paper) for grid, paper in GRIDS.items()],
        ),
        "",
        "**Table 6**, sPRO up to a false positive rate of 0.05:",
        "",
        *table(
            ("", *COLUMNS, "paper, mean, %"),
            [(name, *pairs(figures, name), paper) for name, paper in SPRO.items()],
        ),
        "",
        "**Segmenter**, mean IoU of its classes with the true parts:",
        "",
        *table(
            ("trained on", *COLUMNS),
            [
                (name, *values(figures, f"segmenter, {name}", "IoU"))
                for name in ("pseudo-labels", "true labels")
            ],
        ),
        "",
        f"**Pseudo-labels** themselves, mean IoU with the true parts: "
        f"{labels['mean, labelled']:.3f} on the images that the segmenter learns from, "
        f"{labels['mean, all']:.3f} on all; worst {worst:.3f}; "
        f"{made['protocol']}, seeds 0 and 3: `{made['command']}`",
        "",
        f"**Tables 3 and 5**, {ablation['protocol']}: `{ablation['command']}`",
        "",
        *table(
            ("", *two, "paper, mean of five, %"),
            [(name, *pairs(other, name, two), paper) for name, paper in ABLATED.items()],
        ),
        "",
        "**Figure 10**, bandwidths of the clustering, in median distances of components: AUROC of",
        "the histograms, and the number of classes:",
        "",
        *table(
            ("", *(f"{one}, {what}" for one in two for what in ("AUROC", "classes"))),
            [_bandwidth(other, name, two) for name in BANDWIDTHS],
        ),
        "",
        f"**Cost** of a query: {spent['encoder passes a query']} pass of the encoder; over it, "
        f"with the histograms {spent['histogram over the pass']:.2f}, with the students "
        f"{spent['students over the pass']:.2f}, with both {spent['both over the pass']:.2f}, and "
        f"the whole verdict, with map and findings, {spent['verdict over the pass']:.2f}: "
        f"`{cost['command']}`",
    ]


def _joined(figures: Mapping[str, Any], grid: str) -> list[str]:
    rows = (f"table 4, {grid} {joined}" for joined in ("sum", "norm"))
    return [cell for row in rows for cell in pairs(figures, row, ("mean", "worst"))]


def _bandwidth(figures: Mapping[str, Any], name: str, columns: list[str]) -> list[str]:
    row = f"figure 10, {name}"
    cells = [name.replace("pseudo-labels", "as chosen by the preset")]
    for one in columns:
        cells += pairs(figures, row, [one])
        cells.append(f"{figures[f'{row}: {one}: classes']:.0f}")
    return cells
