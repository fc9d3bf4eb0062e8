"""Tables of CLIP-LAD: of README and of docs/clip-lad.md."""

from __future__ import annotations

from tools.docs.markdown import figures, pair, table

SHORT = {
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
    "4 shots": "4 shots",
    "2 shots": "2 shots",
    "1 shot": "1 shot",
}
DICE = {
    "4 shots": "dice, 4 shots",
    "2 shots": "dice, 2 shots",
    "1 shot": "dice, 1 shots",
    "4 shots and the rule": "dice_six, 4 shots",
}
COLUMNS = ("4 shots", "4 shots, expect", "zero shots, expect", "patch alone, 4 shots",
           "plain patches")  # fmt: skip


def readme() -> list[str]:
    """CLIP-LAD in short."""
    found, dice = figures("clip-lad"), figures("clip-lad-dice")
    return [
        "**CLIP-LAD** with prompt sets, offline (scenes split into nine as in its paper, 12 test",
        "images a group, 5 draws), AUROC logical / structural, mean of the nine:",
        "`python -m benchmarks.clip_lad`",
        "",
        *table("| | |", ((name, pair(found, f"mean: {key}")) for name, key in SHORT.items())),
        "",
        "On photographs of dice (exactly six), told what a die looks like, "
        f"{dice['dice, 4 shots, fused']} with 4 shots;",
        f"told that there are six, {dice['dice_six, zero shots, fused'].split()[0]} "
        "without a single one.",
    ]


def page() -> list[str]:
    """The tables of docs/clip-lad.md."""
    found, dice, cost = figures("clip-lad"), figures("clip-lad-dice"), figures("clip-lad-cost")
    names = [n for n in dict.fromkeys(key.partition(":")[0] for key in found) if n != "mean"]
    said = "mean: called anomalous, 4 shots"
    return [
        *table(
            "| | 4 shots | 4 shots, rules | rules, no shots | its patches alone | plain patches |",
            ((n, *(pair(found, f"{n}: {key}") for key in COLUMNS)) for n in (*names, "mean")),
        ),
        "",
        *table(
            ("mean of the nine", "logical / structural"),
            ((name, pair(found, f"mean: {key}")) for name, key in ABLATION.items()),
        ),
        "",
        "At the automatic threshold, 4 shots, mean of the nine: of the normal images "
        f"{found[f'{said}, good']:.0%} are called",
        f"anomalous, of the logical anomalies {found[f'{said}, logical']:.0%}, of the structural "
        f"ones {found[f'{said}, structural']:.0%}.",
        "",
        *table(
            ("dice, rule 'exactly six'", "fused", "counts alone", "patches alone"),
            (
                (name, *(dice[f"{key}, {column}"] for column in ("fused", "count", "patch")))
                for name, key in DICE.items()
            ),
        ),
        f"| the rule alone, no shots | {dice['dice_six, zero shots, fused']} | | |",
        "",
        "At true size (ViT-L-14, 448 px, random weights, CPU): whole `predict` over the bare "
        f"forward pass {cost['predict over bare forward']:.3f},",
        f"peak memory {cost['peak memory, MB']} MB (`python -m benchmarks.clip_lad_cost`).",
    ]
