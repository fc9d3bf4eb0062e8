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
        "right verdicts": "share of right verdicts, automatic threshold",
    }
    return [
        "**Real logical anomalies**: dice, rule 'exactly six' against 3, 4, 5, 7, 8, 9",
        "and 10 dice, 5 draws of shots, AUROC (mean and spread), with all three banks switched on:",
        "`python -m benchmarks.dice`",
        "",
        "| shots | " + " | ".join(map(str, shots)) + " |",
        "|---|" + "---|" * len(shots),
        *(
            f"| {name} | " + " | ".join(dice[f"{k} shots, {key}"] for k in shots) + " |"
            for key, name in rows.items()
        ),
    ]


def scenes_table() -> list[str]:
    """Scenes: what each bank gives alone and together, by category and on the average."""
    scenes = figures("scenes")
    ways = {
        "patch": "patch, the default",
        "histogram": "histogram",
        "composition": "composition",
        "fused": "all three",
        "sum": "their sum (PSAD)",
        "unscaled": "unscaled",
    }
    rows = sorted({key.partition(":")[0] for key in scenes} - {"mean"})

    def cell(row: str, way: str) -> str:
        return " / ".join(f"{scenes[f'{row}: {way}, {k}']:.3f}" for k in ("logical", "structural"))

    first = {k: scenes[f"mean: first finding: {k}"] for k in ("kind", "place", "kind and place")}
    return [
        "**Scenes** (12 test images a group, 4 shots, 3 draws), AUROC logical / structural:",
        "`python -m benchmarks.scenes --images 12 --seeds 3`",
        "",
        "| | " + " | ".join(ways.values()) + " |",
        "|---|" + "---|" * len(ways),
        *(
            f"| {row} | " + " | ".join(cell(row, way) for way in ways) + " |"
            for row in (*rows, "mean")
        ),
        "",
        "With all three banks, of the logical anomalies "
        f"{scenes['mean: detected logical']:.0%} are called anomalous, and so are "
        f"{scenes['mean: false alarms']:.0%} of the normal images;",
        f"of those detected the first finding is of the right kind in {first['kind']:.0%}, in the "
        f"right place in {first['place']:.0%}, both in {first['kind and place']:.0%}.",
    ]


def main() -> None:
    path = ROOT / "README.md"
    text = path.read_text()
    before, rest = text.split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{tables()}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
