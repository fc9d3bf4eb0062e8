"""The tables of docs/psad.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.docs.categories import COLUMNS, measured, pairs, values
from tools.docs.markdown import content, table

FULL = "supervised + entropy + histogram"
LOSSES = ("supervised", "supervised + entropy", FULL)
SHARES = ("100 %", "50 %", "25 %", "12.5 %")
# Row -> mean of the five categories of MVTec LOCO as PSAD prints it, % (Table 3).
BANKS = {
    "table 3, histogram alone": "94.2 / 71.1",
    "table 3, composition alone": "90.9 / 85.4",
    "table 3, patch alone": "73.9 / 89.3",
    "table 3, all unscaled": "96.8 / 87.6",
    "table 3, all scaled": "98.1 / 91.6",
}
# PSAD's published results by category, % (Tables 1 and 5).
PAPER = ("100.0 / 84.9", "99.1 / 98.2", "100.0 / 89.8", "99.3 / 95.7", "91.9 / 89.3", "98.1 / 91.6")


def page() -> list[str]:
    """Banks, labels, segments, ablations, and the cost of a query."""
    found, truth, auto = content("psad"), content("psad-truth"), content("psad-auto")
    ablation, cost = content("psad-ablation"), content("psad-cost")
    figures, spent = found["figures"], cost["figures"]
    rows = [(_said(name), *pairs(figures, name), paper) for name, paper in BANKS.items()]
    rows += [
        ('labels="auto", all scaled, seed 0',
         *pairs(auto["figures"], "labels found by another method"), ""),
        ("true parts of every image, all scaled, seed 0",
         *pairs(truth["figures"], "true parts of every image"), ""),
        ("the paper, all scaled, MVTec LOCO, %", *PAPER, "", ""),
    ]  # fmt: skip
    ious = values(figures, f"segmenter, {FULL}", "IoU")
    two = measured(ablation["figures"], "table 4, 50 %")
    return [
        "**The paper's Table 3** on scenes, image AUROC logical / structural, 5 labelled images (3",
        f"where there are types); mean over seeds, worst of all draws; {found['protocol']}:",
        *(f"`{one['command']}`" for one in (found, auto, truth)),
        "",
        *table(("", *COLUMNS, "paper, mean, %"), rows),
        "",
        "**Segmenter**, mean IoU on normal test images, background left out:",
        "",
        *table(("", *COLUMNS), [("mean IoU", *ious)]),
        "",
        f"**The paper's Tables 2 and 4**, {ablation['protocol']}: `{ablation['command']}`",
        "",
        *table(
            ("", *(f"{one}, AUROC" for one in two), *(f"{one}, IoU" for one in two)),
            [
                *_ablated(ablation["figures"], "table 2", LOSSES, LOSSES, two),
                *_ablated(ablation["figures"], "table 4", SHARES, (FULL, *SHARES[1:]), two),
            ],
        ),
        "",
        f"**Cost** of a query, {spent['training images']} training images: "
        f"{spent['encoder passes a query']} encoder passes, and {spent['rest over passes']:.2f} of "
        f"their time for all else: `{cost['command']}`",
    ]


def _ablated(
    figures: Mapping[str, Any],
    title: str,
    rows: tuple[str, ...],
    cells: tuple[str, ...],
    columns: list[str],
) -> list[tuple[str, ...]]:
    return [
        (
            f"{title.capitalize()}: {row}",
            *pairs(figures, f"{title}, {row}", columns),
            *values(figures, f"segmenter, {cell}", "IoU", columns),
        )
        for row, cell in zip(rows, cells, strict=True)
    ]


def _said(row: str) -> str:
    return row.removeprefix("table 3, ")
