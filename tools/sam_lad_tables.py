"""The tables of docs/sam-lad.md; ``python tools/readme_tables.py`` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
MODES = ("gap", "gmp", "literal", "residual")
CATEGORIES = ("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors")


def read(name: str) -> tuple[str, Mapping[str, Any]]:
    """Protocol with command, and figures, of one results file."""
    found = json.loads((RESULTS / f"sam-lad-{name}.json").read_text())
    return f"{found['protocol']}: `{found['command']}`", found["figures"]


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def matching() -> list[str]:
    """Precision, recall and F1 as in the paper's tables 5 and 8."""
    how, figures = read("matching")
    lines = [
        f"**Matching** of known objects; {how}",
        "",
        row("F1", *MODES),
        "|---|" + "---|" * len(MODES),
    ]
    for way in ("learned", "without place", "published"):
        lines.append(
            row(f"mean, {way}", *(f"{figures[f'mean: {way}, {mode}: F1']:.3f}" for mode in MODES))
        )
    lines += ["", row("learned, gap", "precision", "recall", "F1"), "|---|---|---|---|"]
    for name in (*CATEGORIES, "mean"):
        keys = ("precision", "recall", "F1")
        cells = (f"{figures[f'{name}: learned, gap: {key}']:.3f}" for key in keys)
        lines.append(row(name, *cells))
    return lines


def digits() -> list[str]:
    """DigitAnatomy by number of shots and kind of anomaly."""
    how, figures = read("digits")
    kinds = ("all", "missing", "swapped", "flipped", "zero")
    shots = sorted({int(key.split()[0]) for key in figures if " shots: " in key})
    seeds = figures["seeds"]

    def cell(key: str) -> str:
        """One seed has no spread."""
        return str(figures[key]) if seeds > 1 else str(figures[key]).split()[0]

    lines = [
        f"**DigitAnatomy**, image AUROC, {seeds} seeds; {how}",
        "",
        row("shots", *kinds),
        "|---|" + "---|" * len(kinds),
    ]
    return lines + [row(k, *(cell(f"{k} shots: {kind}") for kind in kinds)) for k in shots]


def scenes() -> list[str]:
    """AUROC beside banks, and alignment on the screw bag."""
    how, figures = read("scenes")

    def cells(key: str) -> str:
        both = (figures[key][f"fused, {kind}"] for kind in ("logical", "structural"))
        return " / ".join(f"{value:.3f}" for value in both)

    lines = [
        f"**Scenes**, AUROC logical / structural; {how}",
        "",
        row("", "sam-lad", "banks"),
        "|---|---|---|",
    ]
    for name in CATEGORIES:
        lines.append(row(name, cells(f"{name}: sam-lad"), cells(f"{name}: banks")))
    means = [
        " / ".join(f"{figures[f'mean: {way}, {kind}']:.3f}" for kind in ("logical", "structural"))
        for way in ("sam-lad", "banks")
    ]
    lines += [row("mean", *means), "", row("screw_bag, align", "AUROC"), "|---|---|"]
    lines.append(row("box, the default", cells("screw_bag: sam-lad")))
    for align in ("orientation", "none"):
        lines.append(row(align, cells(f"screw_bag: sam-lad, align {align}")))
    return lines


def cost() -> list[str]:
    """The measurement against k and C, and all steps over one DINOv2-S pass."""
    how, figures = read("cost")
    lines = [
        f"**Cost**; {how}",
        "",
        row("measurement of 128 x 128 places", "s", "MB of features"),
        "|---|---|---|",
    ]
    for key, value in figures.items():
        if key.startswith("measure") and key.endswith(": s"):
            name = key.removesuffix(": s")
            lines.append(
                row(name.removeprefix("measure, "), value, figures[f"{name}: MB of features"])
            )
    lines += [
        "",
        row("", "s", "over one DINOv2-S pass"),
        "|---|---|---|",
    ]
    for name in ("the paper's steps alone", "descriptors, matching and measurement"):
        for k in (2, 4, 16):
            key = f"{name}, {k} references"
            over = figures[f"{key}, over the DINOv2-S forward"]
            lines.append(row(key, figures[f"{key}, s"], over))
    return lines


def backbones() -> list[str]:
    """Features exchanged, as in the paper's table 6."""
    how, figures = read("backbones")
    ways = [key.removeprefix("mean: ") for key in figures if key.startswith("mean: ")]
    lines = [
        f"**Backbones exchanged**, AUROC logical / structural; {how}",
        "",
        row("", *CATEGORIES, "mean"),
        "|---|" + "---|" * (len(CATEGORIES) + 1),
    ]
    for way in ways:
        cells = (figures[f"{name}: {way}"] for name in (*CATEGORIES, "mean"))
        lines.append(row(way, *(_both(cell) for cell in cells)))
    return lines


def factors() -> list[str]:
    """Upsampling exchanged, as in the paper's table 7."""
    how, figures = read("factors")
    lines = [
        f"**Upsampling** of features on 20 cells by the joint bilateral, mean AUROC; {how}",
        "",
        row("factor", "logical", "structural", "upsampler, s a picture", "GFLOP"),
        "|---|---|---|---|---|",
    ]
    for key, cell in figures.items():
        if key.startswith("mean: "):
            scores = (f"{cell[f'fused, {kind}']:.3f}" for kind in ("logical", "structural"))
            lines.append(row(key.removeprefix("mean: "), *scores, cell["s"], cell["GFLOP"]))
    return lines


def _both(cell: Mapping[str, float]) -> str:
    return " / ".join(f"{cell[f'fused, {kind}']:.3f}" for kind in ("logical", "structural"))


def page() -> str:
    """The Markdown between the two markers."""
    parts = (matching, digits, scenes, backbones, factors, cost)
    return "\n\n".join("\n".join(make()) for make in parts)
