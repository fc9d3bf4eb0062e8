"""Writes the numbers of README.md and of docs: python tools/readme_tables.py

Every number in their tables stands in a file of benchmarks/results that a benchmark wrote; a test
fails when the two differ.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, it finds what lies beside it all the same

from tools import bench_tables, ray_tables, sam_lad_tables  # noqa: E402

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
    four, alone = cost["shots, all banks"]["4"], cost["shots"]["4"]
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
        "| fit with 4 shots, `builtin` (patch bank alone) | "
        f"{four['fit, s']:.2f} s ({alone['fit, s']:.2f} s) |",
        "| predict with 4 shots, `builtin` (patch bank alone) | "
        f"{four['predict, s']:.2f} s ({alone['predict, s']:.2f} s) |",
        f"| peak memory of both (of it PyTorch itself) | {cost['peak memory, MB']} MB "
        f"({cost['of it torch itself, MB']} MB) |",
        f"| `import fmlad` / `fmlad --help` (an empty Python: {cost['python -c pass, s']:.2f} s) | "
        f"{cost['import fmlad, s']:.2f} s / {cost['fmlad --help, s']:.2f} s |",
        "",
        "| shots (patch bank alone) | " + " | ".join(cost["shots"]) + " |",
        "|---|" + "---|" * len(cost["shots"]),
    ]
    for key in ("fit, s", "predict, s", "bank, MB"):
        lines.append(
            f"| {key} | " + " | ".join(str(row[key]) for row in cost["shots"].values()) + " |"
        )
    lines += ["", *dice_table(), "", *scenes_table(), "", *clip_lad_table()]
    return "\n".join([*bench_tables.readme(), "", *lines])


def dice_table() -> list[str]:
    """Logical anomalies on real photographs: AUROC by number of shots and bank."""
    dice = figures("dice")
    shots = sorted({int(key.split(" ")[0]) for key in dice})
    rows = {
        "patch": "patch bank",
        "histogram": "histogram bank",
        "fused": "all three banks",
        "exact": "six-dice photographs with each die as one object",
        "right verdicts": "share of right verdicts, automatic threshold",
    }
    return [
        "**Real logical anomalies**: dice, rule 'exactly six' against 3, 4, 5, 7, 8, 9",
        "and 10 dice, 5 draws of shots, AUROC (mean and spread):",
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
        "patch": "patch",
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
        "**Scenes** (20 test images a group, 4 shots, 5 draws), AUROC logical / structural:",
        "`python -m benchmarks.scenes --images 20 --seeds 5`",
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


CLIP_LAD = {
    "CLIP-LAD, 4 shots": "4 shots",
    "2 shots": "2 shots",
    "1 shot": "1 shot",
    "4 shots and declared rules": "4 shots, expect",
    "declared rules alone, no shots": "zero shots, expect",
    "its patches alone, 4 shots": "patch alone, 4 shots",
    "plain patches, all normal images": "plain patches",
}
ABLATION = {
    "as it is": "4 shots",
    "areas alone (histogram)": "histogram alone, 4 shots",
    "objects alone (count, ours)": "count alone, 4 shots",
    "patches alone": "patch alone, 4 shots",
    "the paper's branches: areas and patches": "fusion Mahalanobis, the paper's branches",
    "coarse words only": "coarse only",
    "fine words only": "fine only",
    "clusters instead of objects (2 seeds)": "clusters by stability",
    "distance: log ratio (default)": "4 shots",
    "distance: ratio": "distance ratio",
    "distance: Eq. 2 as printed": "distance literal",
    "fusion: Mahalanobis, one-sided (default)": "fusion Mahalanobis",
    "fusion: Mahalanobis, two-sided": "fusion Mahalanobis, two-sided",
    "fusion: sum of scaled branches": "fusion sum",
    "fusion: their maximum": "fusion maximum",
}


def pair(figures: Mapping[str, Any], name: str, title: str) -> str:
    """Logical / structural."""
    cells = (figures[f"{name}: {title}, {kind}"] for kind in ("logical", "structural"))
    return " / ".join(f"{value:.3f}" for value in cells)


def clip_lad_dice(which: str) -> str:
    return str(figures("clip-lad-dice")[f"{which}, fused"])


def clip_lad_table() -> list[str]:
    """CLIP-LAD in short."""
    found = figures("clip-lad")
    return [
        "**CLIP-LAD** with prompt sets, offline (scenes split into nine as in its paper, 12 test",
        "images a group, 5 draws), AUROC logical / structural, mean of the nine:",
        "`python -m benchmarks.clip_lad`",
        "",
        "| | |",
        "|---|---|",
        *(f"| {row} | {pair(found, 'mean', title)} |" for row, title in CLIP_LAD.items()),
        "",
        f"On the dice above, told what a die looks like, {clip_lad_dice('dice, 4 shots')} with 4 "
        "shots;",
        f"told that there are six, {clip_lad_dice('dice_six, zero shots').split()[0]} "
        "without a single one.",
    ]


def clip_lad_page() -> str:
    """The tables of docs/clip-lad.md."""
    found = figures("clip-lad")
    names = [n for n in dict.fromkeys(key.partition(":")[0] for key in found) if n != "mean"]
    columns = ("4 shots", "4 shots, expect", "zero shots, expect", "patch alone, 4 shots")
    lines = [
        "| | 4 shots | 4 shots, rules | rules, no shots | its patches alone | plain patches |",
        "|---|" + "---|" * 5,
        *(
            f"| {name} | "
            + " | ".join(pair(found, name, title) for title in (*columns, "plain patches"))
            + " |"
            for name in (*names, "mean")
        ),
        "",
        "| mean of the nine | logical / structural |",
        "|---|---|",
        *(f"| {row} | {pair(found, 'mean', title)} |" for row, title in ABLATION.items()),
        *(
            f"| {title} | {pair(found, 'mean', title)} |"
            for title in ("4 shots", "2 shots", "1 shot")
        ),
        "",
        "| dice, rule 'exactly six' | fused | counts alone | patches alone |",
        "|---|---|---|---|",
    ]
    dice, said = figures("clip-lad-dice"), "mean: called anomalous, 4 shots"
    lines[-3:-3] = [
        "",
        "At the automatic threshold, 4 shots, mean of the nine: of the normal images "
        f"{found[f'{said}, good']:.0%} are called",
        f"anomalous, of the logical anomalies {found[f'{said}, logical']:.0%}, of the structural "
        f"ones {found[f'{said}, structural']:.0%}.",
    ]
    for title, row in {
        "dice, 4 shots": "4 shots",
        "dice, 2 shots": "2 shots",
        "dice, 1 shots": "1 shot",
        "dice_six, 4 shots": "4 shots and the rule",
    }.items():
        cells = (dice[f"{title}, {column}"] for column in ("fused", "count", "patch"))
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    lines.append(f"| the rule alone, no shots | {dice['dice_six, zero shots, fused']} | | |")
    cost = figures("clip-lad-cost")
    lines += [
        "",
        "At true size (ViT-L-14, 448 px, random weights, CPU): whole `predict` over the bare "
        f"forward pass {cost['predict over bare forward']:.3f},",
        f"peak memory {cost['peak memory, MB']} MB (`python -m benchmarks.clip_lad_cost`).",
    ]
    return "\n".join(lines)


SWITCHES = {
    "nothing": "all on",
    "hierarchy": "finest level alone",
    "place": "no places",
    "scaling": "no scaling, plain sum",
    "registration": "no registration of pixels",
}


def parts_page() -> str:
    """The ablations of docs/parts.md."""
    found = figures("scenes-ablations")
    lines = [
        "Mean over the five scene categories, 8 images a group, one draw, AUROC logical /",
        "structural:",
        "`python -m benchmarks.scenes --ablations --images 8 --seeds 1 --name scenes-ablations`",
        "",
        "| | all three banks | histogram bank |",
        "|---|---|---|",
    ]
    for switch, row in SWITCHES.items():
        cells = [pair(found, f"mean: without {switch}", which) for which in ("fused", "histogram")]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def upsampling_table() -> str:
    """The Markdown of docs/backbones.md between its two markers."""
    found = figures("upsampling")
    lines = [
        "`python -m benchmarks.upsampling --checkpoint featup_clip_jbu_stack_cocostuff.ckpt`:",
        f"384 channels on a 16 x 16 grid, {found['threads']} thread, beside a DINOv2 ViT-S/14 pass",
        f"at 224 px ({found['DINOv2-S pass, s']} s, random weights).",
        "",
        "| | x1 | x2 | x4 | x8 | x16 |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("featup", "joint bilateral"):
        rows = [found[f"{name} x{factor}"] for factor in (1, 2, 4, 8, 16)]
        for key in ("s", "GFLOP", "over a DINOv2-S pass"):
            lines.append(f"| {name}, {key} | " + " | ".join(str(row[key]) for row in rows) + " |")
    gain = next(row for key, row in found.items() if key.startswith("gain"))
    lines += [
        "| gain of a constant map, published CLIP checkpoint | "
        + " | ".join(str(value) for value in gain.values())
        + " |",
        "",
        "Edges of known objects on 25 scenes, upsampled by 8 from a grid of 32: places given to",
        "the wrong object, and half the mean absolute error of the objects' shares.",
        "",
        "| | wrong, % | off, % |",
        "|---|---|---|",
    ]
    for key, row in found.items():
        if key.startswith("edges, "):
            shown = key.removeprefix("edges, ")
            lines.append(f"| {shown} | {row['wrong, %']} | {row['off, %']} |")
    return "\n".join(lines)


def metrics_page() -> str:
    """The measurements of docs/metrics.md."""
    found = figures("spro")
    limits = [key.removeprefix("spro@") for key in found if key.startswith("spro@")]
    worst = max(found[f"proven error of spro@{limit}"] for limit in limits)
    return "\n".join(
        [
            f"`python -m benchmarks.spro`: {found['images']} made-up maps of {found['size']} "
            f"(float32, {found['maps, MB']} MB in a file), {found['regions']} regions, one thread.",
            "",
            "| | sPRO, all limits | sPRO, AUPRO and pixel AUROC |",
            "|---|---|---|",
            f"| processor time, s | {found['spro_curve, s']} | {found['pixel_report, s']} |",
            "| peak memory beyond the maps, MB | "
            f"{found['spro_curve, peak memory beyond the maps, MB']} | "
            f"{found['pixel_report, peak memory beyond the maps, MB']} |",
            "",
            f"Proven error at any limit: at most {worst}. The tests' slow reference (every image "
            "anew for every",
            f"threshold) takes {found['reference, s per threshold']} s per threshold here, so it "
            "is through with",
            f"{found['thresholds the reference is through with when spro_curve is done']} "
            "thresholds in that time, of at least",
            f"{found['distinct values of the first map alone']} (the distinct values of the first "
            f"map alone). On a category small enough for it "
            f"({found['small: thresholds']} thresholds) it takes",
            f"{found['small: reference, s']} s against {found['small: spro_curve, s']} s, and "
            "differs at no limit by more than",
            f"{found['small: largest difference at any limit']}. Seconds are the processor's.",
        ]
    )


def main() -> None:
    for path, content in PAGES.items():
        text = (ROOT / path).read_text()
        before, rest = text.split(BEGIN)
        (ROOT / path).write_text(f"{before}{BEGIN}\n{content()}\n{END}{rest.split(END)[1]}")


PAGES = {
    "README.md": tables,
    "docs/clip-lad.md": clip_lad_page,
    "docs/backbones.md": upsampling_table,
    "docs/metrics.md": metrics_page,
    "docs/parts.md": parts_page,
    "docs/cluster.md": ray_tables.page,
    "docs/sam-lad.md": sam_lad_tables.page,
    "docs/peers.md": bench_tables.peers_page,
}


if __name__ == "__main__":
    main()
