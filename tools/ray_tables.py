"""The table of docs/cluster.md; ``python tools/readme_tables.py`` writes it."""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
TERMS = {
    "C": "cluster of one's own, s",
    "A": "worker with its detector, s",
    "s": "an image in one process, s",
    "o": "a batch on its way, s",
}


def page() -> str:
    """The Markdown between its two markers."""
    found = json.loads((RESULTS / "ray.json").read_text())
    figures = found["figures"]
    batch, one, pipe = 8, figures[TERMS["s"]], figures[TERMS["o"]]
    lines = [
        f"Measured on one machine with {figures['cores']} cores and a load of "
        f"{figures['load of the machine before']} from others ({found['protocol']}; medians of",
        f"{figures['rounds']} rounds over {figures['images']} images): "
        f"`OMP_NUM_THREADS=1 {found['command']}`",
        "",
        "| | seconds |",
        "|---|---|",
        *(f"| {term} | {figures[key]} |" for term, key in TERMS.items()),
        "",
        "| workers | measured, s | by the model (without C), s |",
        "|---|---|---|",
    ]
    for workers in (1, 2):
        measured, modelled = (figures[f"{workers} {how}, s"] for how in ("measured", "modelled"))
        lines.append(f"| {workers} | {measured} | {modelled} |")
    lines += [
        "",
        f"Two workers were {figures['two workers over one']} times as fast as one, start included, "
        f"and {figures['two workers over one process']} times as fast as one",
        f"process. By the model a driver keeps about {(batch * one + pipe) / pipe:.0f} such "
        "workers busy.",
    ]
    return "\n".join(lines)
