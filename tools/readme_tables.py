"""Writes the numbers of README.md from benchmarks/results: python tools/readme_tables.py

Every number in the README's tables stands in a results file that a benchmark wrote; a test fails
when the two differ.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- numbers: made by tools/readme_tables.py -->", "<!-- end of numbers -->"


def figures(name: str) -> dict[str, Any]:
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    return dict(json.loads(path.read_text())["figures"])


def tables() -> str:
    """The Markdown between the two markers."""
    pcb, cost = figures("pcb"), figures("cost")
    lines = [
        "**Real structural defects**: DeepPCB group 77000, first 30 pairs, one shot (the",
        "template) per scan, `builtin` profile: `python -m benchmarks.pcb`",
        "",
        "| | as scanned | shifted by 3 px, turned by 1 degree |",
        "|---|---|---|",
    ]
    for key in ("AUPRO@0.05", "boxes hit at 1 false peak per image"):
        row = [pcb[f"{setting}: {key}"] for setting in ("as scanned", "shifted and turned")]
        lines.append(f"| {key} | {row[0]:.3f} | {row[1]:.3f} |")
    four = cost["shots"]["4"]
    ratio = "predict over bare forward, DINOv2-S"
    lines += [
        "",
        f"**Cost** on {cost['threads']} cores at 640 px: `python -m benchmarks.cost` (seconds swing"
        " with the machine, ratios hold)",
        "",
        "| | |",
        "|---|---|",
        "| whole `predict` over the bare forward pass of a DINOv2-S of true size | "
        f"{cost[ratio]:.2f} |",
        f"| fit with 4 shots, `builtin` | {four['fit, s']:.2f} s |",
        f"| predict with 4 shots, `builtin` | {four['predict, s']:.2f} s |",
        f"| peak memory of both (of it PyTorch itself) | {cost['peak memory, MB']} MB "
        f"({cost['of it torch itself, MB']} MB) |",
        f"| `import fmlad` / `fmlad --help` (an empty Python: {cost['python -c pass, s']:.2f} s) | "
        f"{cost['import fmlad, s']:.2f} s / {cost['fmlad --help, s']:.2f} s |",
        "",
        "| shots | " + " | ".join(cost["shots"]) + " |",
        "|---|" + "---|" * len(cost["shots"]),
    ]
    for key in ("fit, s", "predict, s", "bank, MB"):
        lines.append(
            f"| {key} | " + " | ".join(str(row[key]) for row in cost["shots"].values()) + " |"
        )
    lines += ["", *dice_table(), "", *scenes_table()]
    return "\n".join(lines)


def dice_table() -> list[str]:
    """Logical anomalies on real photographs: AUROC by number of shots and bank."""
    dice = figures("dice")
    shots = sorted({int(key.split(" ")[0]) for key in dice})
    rows = {
        "patch": "patch bank, the default",
        "histogram": "histogram bank",
        "fused": "all three banks",
        "exact": "six-dice photographs with each die as one object",
    }
    return [
        "**Real logical anomalies**: dice, rule 'exactly six' against 3, 4, 5, 7, 8, 9",
        "and 10 dice, 5 draws of shots, AUROC (mean and spread), with all three banks switched on:",
        f"`python -m benchmarks.dice --shots {' '.join(map(str, shots))}`",
        "",
        "| shots | " + " | ".join(map(str, shots)) + " |",
        "|---|" + "---|" * len(shots),
        *(
            f"| {name} | " + " | ".join(dice[f"{k} shots, {key}"] for k in shots) + " |"
            for key, name in rows.items()
        ),
    ]


def scenes_table() -> list[str]:
    """Scenes, mean over the categories: what each bank gives alone and together."""
    scenes = figures("scenes-quick")
    banks = ("patch", "histogram", "composition", "fused")
    return [
        "**Scenes** (quick run: 8 images a group, 4 shots, 2 draws), mean AUROC of all five:",
        "`python -m benchmarks.scenes --images 8 --seeds 2 --name scenes-quick`",
        "",
        "| | patch, the default | histogram | composition | all three |",
        "|---|---|---|---|---|",
        *(
            f"| {kind} | " + " | ".join(f"{scenes[f'mean: {b}, {kind}']:.3f}" for b in banks) + " |"
            for kind in ("logical", "structural")
        ),
    ]


def main() -> None:
    path = ROOT / "README.md"
    text = path.read_text()
    before, rest = text.split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{tables()}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
