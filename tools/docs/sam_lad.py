"""The tables of docs/sam-lad.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.docs.markdown import content, pair, table

MODES = ("gap", "gmp", "literal", "residual")
CATEGORIES = ("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors")
ROWS = (*CATEGORIES, "mean")


def page() -> list[str]:
    parts = (matching(), digits(), scenes(), ablation(), backbones(), factors(), cost())
    return [line for part in parts for line in ("", *part)][1:]


def read(name: str) -> tuple[str, Mapping[str, Any]]:
    """Protocol with command, and figures, of one results file."""
    found = content(f"sam-lad-{name}")
    return f"{found['protocol']}: `{found['command']}`", found["figures"]


def matching() -> list[str]:
    """Precision, recall and F1 as in the paper's tables 5 and 8."""
    how, found = read("matching")
    ways = ("learned", "without place", "published")
    keys = ("precision", "recall", "F1")
    return [
        f"**Matching** of known objects; {how}",
        "",
        *table(
            ("F1", *MODES),
            ((f"mean, {w}", *(f"{found[f'mean: {w}, {m}: F1']:.3f}" for m in MODES)) for w in ways),
        ),
        "",
        *table(
            ("learned, gap", *keys),
            ((n, *(f"{found[f'{n}: learned, gap: {key}']:.3f}" for key in keys)) for n in ROWS),
        ),
    ]


def digits() -> list[str]:
    """DigitAnatomy by number of shots and kind of anomaly."""
    how, found = read("digits")
    kinds = ("all", "missing", "swapped", "flipped", "zero")
    shots = sorted({int(key.split()[0]) for key in found if " shots: " in key})
    words = None if found["seeds"] > 1 else 1  # one seed has no spread

    def cell(key: str) -> str:
        return " ".join(str(found[key]).split(" ")[:words])

    return [
        f"**DigitAnatomy**, image AUROC, {found['seeds']} seeds; {how}",
        "",
        *table(
            ("shots", *kinds), ((k, *(cell(f"{k} shots: {kind}") for kind in kinds)) for k in shots)
        ),
    ]


def ablation() -> list[str]:
    """Mean and worst draw by data set, with one addition switched off at a time."""
    how, found = read("ablation")
    start = "mean, "
    keys = [key.removeprefix(start).split(": ") for key in found if key.startswith(start)]
    sets, variants = (list(dict.fromkeys(part)) for part in zip(*keys, strict=True))

    def cell(one: str, variant: str) -> str:
        return " / ".join(f"{found[f'{what}, {one}: {variant}']:.3f}" for what in ("mean", "worst"))

    return [
        f"**Ablation**, image AUROC, mean / worst draw; {how}",
        "",
        *table(("", *sets), ((name, *(cell(one, name) for one in sets)) for name in variants)),
    ]


def scenes() -> list[str]:
    """AUROC beside banks, and alignment on the screw bag."""
    how, found = read("scenes")
    ways = ("sam-lad", "banks")
    return [
        f"**Scenes**, AUROC logical / structural; {how}",
        "",
        *table(
            ("", *ways),
            [
                *(
                    (name, *(pair(found[f"{name}: {way}"], "fused") for way in ways))
                    for name in CATEGORIES
                ),
                ("mean", *(pair(found, f"mean: {way}") for way in ways)),
            ],
        ),
        "",
        *table(
            ("screw_bag, align", "AUROC"),
            [
                ("box, the default", pair(found["screw_bag: sam-lad"], "fused")),
                *(
                    (align, pair(found[f"screw_bag: sam-lad, align {align}"], "fused"))
                    for align in ("orientation", "none")
                ),
            ],
        ),
    ]


def backbones() -> list[str]:
    """Features exchanged, as in the paper's table 6."""
    how, found = read("backbones")
    ways = [key.removeprefix("mean: ") for key in found if key.startswith("mean: ")]
    return [
        f"**Backbones exchanged**, AUROC logical / structural; {how}",
        "",
        *table(
            ("", *ROWS),
            ((way, *(pair(found[f"{name}: {way}"], "fused") for name in ROWS)) for way in ways),
        ),
    ]


def factors() -> list[str]:
    """Upsampling exchanged, as in the paper's table 7."""
    how, found = read("factors")
    kinds = ("logical", "structural")
    return [
        f"**Upsampling** of features on 20 cells by the joint bilateral, mean AUROC; {how}",
        "",
        *table(
            ("factor", *kinds, "upsampler, s a picture", "GFLOP"),
            (
                (
                    key.removeprefix("mean: "),
                    *(f"{cell[f'fused, {kind}']:.3f}" for kind in kinds),
                    cell["s"],
                    cell["GFLOP"],
                )
                for key, cell in found.items()
                if key.startswith("mean: ")
            ),
        ),
    ]


def cost() -> list[str]:
    """The measurement against k and C, and all steps over one DINOv2-S pass."""
    how, found = read("cost")
    ours = (key for key in found if key.startswith("measure") and key.endswith(": s"))
    names = [key.removesuffix(": s") for key in ours]
    steps = [
        f"{name}, {k} references"
        for name in ("the paper's steps alone", "descriptors, matching and measurement")
        for k in (2, 4, 16)
    ]
    return [
        f"**Cost**; {how}",
        "",
        *table(
            ("measurement of 128 x 128 places", "s", "MB of features"),
            (
                (n.removeprefix("measure, "), found[f"{n}: s"], found[f"{n}: MB of features"])
                for n in names
            ),
        ),
        "",
        *table(
            ("", "s", "over one DINOv2-S pass"),
            (
                (key, found[f"{key}, s"], found[f"{key}, over the DINOv2-S forward"])
                for key in steps
            ),
        ),
    ]
