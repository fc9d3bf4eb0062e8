"""Numbers of README and docs: every one stands in a file that a benchmark wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tools.docs import clip_lad, csad, features, foundation, psad, sam_lad, suites, verdicts
from tools.docs.markdown import ROOT, content, figures, origin, pair, table

BEGIN, END = "<!-- numbers: made by `python -m tools.docs tables` -->", "<!-- end of numbers -->"


def write() -> None:
    """Puts the tables of every page between its two markers."""
    for path, page in PAGES.items():
        text = (ROOT / path).read_text()
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
        (ROOT / path).write_text("\n".join([f"{before}{BEGIN}", *page(), f"{END}{after}"]))


def readme() -> list[str]:
    """All tables of the README."""
    return _apart(features.readme(), pcb(), clip_lad.readme())


def parts() -> list[str]:
    """Objects, dice, scenes and ablations, for docs/parts.md."""
    return _apart(objects(), dice(), scenes(), ablations())


def bench() -> list[str]:
    """The suite of methods that need no training and costs, for docs/bench.md."""
    return _apart(suites.training_free(), cost())


def _apart(*tables: list[str]) -> list[str]:
    """Tables one below the other."""
    return [line for lines in tables for line in ("", *lines)][1:]


def pcb() -> list[str]:
    """Structural defects on circuit boards."""
    found = figures("pcb")
    keys = ("AUPRO@0.05", "boxes hit at 1 false peak per image")
    settings = ("as scanned", "shifted and turned")
    return [
        "**Real structural defects**: DeepPCB group 77000, first 30 pairs, one shot (the",
        "template) per scan, `builtin` profile: `python -m benchmarks.pcb`",
        "",
        *table(
            "| | as scanned | shifted by 3 px, turned by 1 degree |",
            ((key, *(f"{found[f'{one}: {key}']:.3f}" for one in settings)) for key in keys),
        ),
    ]


def cost() -> list[str]:
    """Seconds and memory."""
    found = figures("cost")
    four, alone = found["shots, all banks"]["4"], found["shots"]["4"]
    facts = {
        "whole `predict` over the bare forward pass of a DINOv2-S of true size": "{:.2f}".format(
            found["predict over bare forward, DINOv2-S"]
        ),
        "fit with 4 shots, `builtin` (patch bank alone)": f"{four['fit, s']:.2f} s "
        f"({alone['fit, s']:.2f} s)",
        "predict with 4 shots, `builtin` (patch bank alone)": f"{four['predict, s']:.2f} s "
        f"({alone['predict, s']:.2f} s)",
        "peak memory of both (of it PyTorch itself)": f"{found['peak memory, MB']} MB "
        f"({found['of it torch itself, MB']} MB)",
        f"`import fmlad` / `fmlad --help` (an empty Python: {found['python -c pass, s']:.2f} s)": (
            f"{found['import fmlad, s']:.2f} s / {found['fmlad --help, s']:.2f} s"
        ),
    }
    return [
        f"**Cost** on {found['threads']} cores (seconds swing with the machine, ratios hold):",
        origin(content("cost")),
        "",
        *table("| | |", facts.items()),
        "",
        *table(
            ("shots (patch bank alone)", *found["shots"]),
            (
                (key, *(row[key] for row in found["shots"].values()))
                for key in ("fit, s", "predict, s", "bank, MB")
            ),
        ),
    ]


def objects() -> list[str]:
    """Proposals of both embedded proposers beside the true objects of scenes."""
    proposers = {"builtin:objects@3": "objects", "builtin:regions@2": "objects-regions"}
    which = {"preferred": "preferred", "offered": "all that are offered"}
    keys = ("mean best IoU", "recall", "precision", "masks an image")
    rows = [
        (f"{category}, {proposer}, {words}", *(found[f"{category}: {kind}: {k}"] for k in keys))
        for proposer, name in proposers.items()
        for found in [figures(name)]
        for kind, words in which.items()
        for category in (["mean"] if kind == "offered" else [*_categories(found), "mean"])
    ]
    return [
        "**Objects**: proposals beside true masks of scenes, worlds 0 and 3, 20 normal and 20",
        "logically anomalous images a category; recall and precision at an IoU of 0.5, paired one",
        "to one:",
        origin(content("objects")),
        origin(content("objects-regions")),
        "",
        *table("| | mean best IoU | recall | precision | masks an image |", rows),
    ]


def _categories(found: Mapping[str, Any]) -> list[str]:
    return sorted({key.partition(":")[0] for key in found} - {"mean"})


def dice() -> list[str]:
    """Logical anomalies on real photographs: AUROC by number of shots and bank."""
    found, drawn = figures("dice"), figures("dice-draws")
    shots = sorted({int(key.split(" ")[0]) for key in found})
    rows = {
        "patch": "patch bank",
        "histogram": "histogram bank",
        "fused": "all banks",
        "exact": "six-dice photographs with each die as one object",
        "exact, held out": "of the 26 of these that tuned nothing",
        "right verdicts": "share of right verdicts, automatic threshold",
    }
    return [
        "**Real logical anomalies**: dice, rule 'exactly six' against 3, 4, 5, 7, 8, 9",
        "and 10 dice, AUROC (mean and spread) of 5 draws of shots, and of 20 with the worst:",
        origin(content("dice")),
        origin(content("dice-draws")),
        "",
        *table(
            ("shots", *shots, "4, 20 draws"),
            (
                (name, *(found[f"{k} shots, {key}"] for k in shots), drawn[f"4 shots, {key}"])
                for key, name in rows.items()
            ),
        ),
    ]


def scenes() -> list[str]:
    """Scenes: what each bank gives alone and together, and with true masks."""
    found, known = figures("scenes"), figures("scenes-truth")
    ways = {
        "patch": "patch",
        "histogram": "histogram",
        "composition": "composition",
        "combination": "combination",
        "fused": "all banks",
        "worst draw": "all banks, worst draw",
        "sum": "their sum (PSAD)",
    }
    first = {k: found[f"mean: first finding: {k}"] for k in ("kind", "place", "kind and place")}
    every = {k: found[f"mean: of all logical, first finding: {k}"] for k in first}
    rows = [
        *((name, *(pair(found, f"{name}: {w}") for w in ways)) for name in _categories(found)),
        ("mean", *(pair(found, f"mean: {w}") for w in ways)),
        ("mean, true masks", *(pair(known, f"mean: {w}") for w in ways)),
    ]
    return [
        "**Scenes**, AUROC logical / structural; the last row has the true masks in place of the",
        "proposals:",
        origin(content("scenes")),
        origin(content("scenes-truth")),
        "",
        *table(f"| | {' | '.join(ways.values())} |", rows),
        "",
        "With all banks, of the logical anomalies "
        f"{found['mean: detected logical']:.0%} are called anomalous, and so are "
        f"{found['mean: false alarms']:.0%} of the normal images;",
        f"of those detected the first finding is of the right kind in {first['kind']:.0%}, in the "
        f"right place in {first['place']:.0%}, both in {first['kind and place']:.0%}; of all "
        f"logical anomalies, detected or not, in {every['kind']:.0%}, {every['place']:.0%} and "
        f"{every['kind and place']:.0%}. A normal image has "
        f"{found['mean: findings a normal image']:.2f} findings on average.",
    ]


def ablations() -> list[str]:
    """All three banks with one switch off at a time."""
    found = figures("scenes-ablations")
    switches = {
        "nothing": "all on",
        "hierarchy": "finest level alone",
        "place": "no places",
        "scaling": "no scaling, plain sum",
        "registration": "no registration of pixels",
    }
    return [
        "**Switches off, one at a time**, mean over the five scene categories, AUROC logical /",
        "structural, of the hand-made cells, 8 images a group, one draw:",
        "`python -m benchmarks.scenes --ablations --images 8 --seeds 1 --name scenes-ablations`",
        "",
        *table(
            "| | all three banks | histogram bank |",
            (
                (name, *(pair(found, f"mean: without {key}: {w}") for w in ("fused", "histogram")))
                for key, name in switches.items()
            ),
        ),
    ]


def backbones() -> list[str]:
    """All tables of docs/backbones.md."""
    return [*features.page(), "", *upsampling()]


def upsampling() -> list[str]:
    """Upsamplers: cost, gain and edges."""
    found = figures("upsampling")
    gain = next(row for key, row in found.items() if key.startswith("gain"))
    rows: list[tuple[object, ...]] = []
    for name in ("featup", "joint bilateral"):
        by_factor = [found[f"{name} x{factor}"] for factor in (1, 2, 4, 8, 16)]
        for key in ("s", "GFLOP", "over a DINOv2-S pass"):
            rows.append((f"{name}, {key}", *(row[key] for row in by_factor)))
    rows.append(("gain of a constant map, published CLIP checkpoint", *gain.values()))
    return [
        "**Upsampling**:",
        "`python -m benchmarks.upsampling --checkpoint featup_clip_jbu_stack_cocostuff.ckpt`:",
        f"384 channels on a 16 x 16 grid, {found['threads']} thread, beside a DINOv2 ViT-S/14 pass",
        f"at 224 px ({found['DINOv2-S pass, s']} s, random weights).",
        "",
        *table("| | x1 | x2 | x4 | x8 | x16 |", rows),
        "",
        "Edges of known objects on 25 scenes, upsampled by 8 from a grid of 32: places given to",
        "the wrong object, and half the mean absolute error of the objects' shares.",
        "",
        *table(
            "| | wrong, % | off, % |",
            (
                (key.removeprefix("edges, "), row["wrong, %"], row["off, %"])
                for key, row in found.items()
                if key.startswith("edges, ")
            ),
        ),
    ]


def metrics() -> list[str]:
    """The measurements of docs/metrics.md."""
    found = figures("spro")
    worst = max(value for key, value in found.items() if key.startswith("proven error of spro@"))
    memory = "peak memory beyond the maps, MB"
    return [
        f"`python -m benchmarks.spro`: {found['images']} made-up maps of {found['size']} "
        f"(float32, {found['maps, MB']} MB in a file), {found['regions']} regions, one thread.",
        "",
        *table(
            "| | sPRO, all limits | sPRO, AUPRO and pixel AUROC |",
            [
                ("processor time, s", found["spro_curve, s"], found["pixel_report, s"]),
                (memory, found[f"spro_curve, {memory}"], found[f"pixel_report, {memory}"]),
            ],
        ),
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


def cluster() -> list[str]:
    """The measurements of docs/cluster.md."""
    file = content("ray")
    found = file["figures"]
    terms = {
        "C": "cluster of one's own, s",
        "A": "worker with its detector, s",
        "s": "an image in one process, s",
        "o": "a batch on its way, s",
    }
    batch, one, pipe = 8, found[terms["s"]], found[terms["o"]]
    return [
        f"Measured on one machine with {found['cores']} cores and a load of "
        f"{found['load of the machine before']} from others ({file['protocol']}; medians of",
        f"{found['rounds']} rounds over {found['images']} images): "
        f"`OMP_NUM_THREADS=1 {file['command']}`",
        "",
        *table("| | seconds |", ((term, found[key]) for term, key in terms.items())),
        "",
        *table(
            ("workers", "measured, s", "by the model (without C), s"),
            ((n, found[f"{n} measured, s"], found[f"{n} modelled, s"]) for n in (1, 2)),
        ),
        "",
        f"Two workers were {found['two workers over one']} times as fast as one, start included, "
        f"and {found['two workers over one process']} times as fast as one",
        f"process. By the model a driver keeps about {(batch * one + pipe) / pipe:.0f} such "
        "workers busy.",
    ]


PAGES: dict[str, Callable[[], list[str]]] = {
    "README.md": readme,
    "docs/clip-lad.md": clip_lad.page,
    "docs/backbones.md": backbones,
    "docs/metrics.md": metrics,
    "docs/parts.md": parts,
    "docs/cluster.md": cluster,
    "docs/sam-lad.md": sam_lad.page,
    "docs/peers.md": suites.peers_page,
    "docs/bench.md": bench,
    "docs/foundation.md": foundation.page,
    "docs/csad.md": csad.page,
    "docs/psad.md": psad.page,
    "docs/verdicts.md": verdicts.page,
}
