"""Tables of the benchmark's suites: ``python tools/bench_tables.py`` prints them.

From condensed results files: README has what ``python -m benchmarks.training_free`` wrote,
docs/peers.md what ``python -m benchmarks.peers`` wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
TRAINING_FREE, PEERS = (RESULTS / f"bench-{name}.json" for name in ("training-free", "peers"))
NOTHING = "–"
# What is said of a dataset: the first row of figures that all its lines have.
IMAGE = (
    (("auroc_logical", "auroc_structural"), "AUROC logical / structural"),
    (("auroc_micro",), "AUROC"),
)
PIXEL = (
    (("spro_logical@0.05", "spro_structural@0.05"), "sPRO@0.05 logical / structural"),
    (("spro@0.05",), "sPRO@0.05"),
)


LEGEND = (
    "",
    "boxes: photographs of dice, 'exactly six'; deeppcb: scans of circuit boards, each beside its",
    "template as the one shot; scenes and digits are made by this program.",
)


def readme() -> list[str]:
    """The README's table."""
    return [*tables(TRAINING_FREE, "Methods that need no training"), *LEGEND]


def peers_page() -> str:
    """The table of docs/peers.md."""
    title = "A real pretrained network beside the embedded profile"
    return "\n".join([*tables(PEERS, title), *LEGEND])


def tables(path: Path, title: str) -> list[str]:
    """Markdown lines: images, then places, with protocol, command and commit."""
    content = json.loads(path.read_text())
    groups = content["figures"]["groups"]
    seeds = ", ".join(map(str, content["seeds"]))
    lines = [
        f"**{title}**, `builtin` profile, k shots, seeds {seeds}: mean +-",
        "standard deviation over the seeds, the same shots for all; best of each k in bold.",
    ]
    for rows in (IMAGE, PIXEL):
        made = _table(groups, rows)
        lines += ["", *made] if made else []
    commit = (content["commit"] or "unknown")[:12]
    changed = ", with changes" if content["dirty"] else ""
    return [*lines, "", f"`{content['command']}`, commit {commit}{changed}; {content['protocol']}."]


def _table(
    groups: Sequence[Mapping[str, Any]], choice: Sequence[tuple[tuple[str, ...], str]]
) -> list[str]:
    shown = [(group, *found) for group in groups if (found := _chosen(group, choice)) is not None]
    if not shown:
        return []
    who = list(
        dict.fromkeys(
            (line["shots"], line["entry"], line["category_prompts"], line["normals_beyond_k"])
            for group, _, _ in shown
            for line in group["lines"]
        )
    )
    who.sort(key=lambda row: (row[0] == 0, row[0]))  # stable; 0 means all images
    heading = [f"{group['title']}: {title}" for group, _, title in shown]
    lines = [
        _row(["k", "", "words about the category", "normals beyond k", *heading]),
        "|---:|---|---|---:|" + "---|" * len(heading),
    ]
    for shots, entry, prompts, beyond in who:
        cells = [_cell(group, names, shots, entry) for group, names, _ in shown]
        words = "yes" if prompts else "no"
        lines.append(_row([str(shots or "all"), entry, words, str(beyond), *cells]))
    return lines


def _chosen(
    group: Mapping[str, Any], choice: Sequence[tuple[tuple[str, ...], str]]
) -> tuple[tuple[str, ...], str] | None:
    for names, title in choice:
        if all(name in line["figures"] for line in group["lines"] for name in names):
            return names, title
    return None


def _cell(group: Mapping[str, Any], names: Sequence[str], shots: int, entry: str) -> str:
    own = [line for line in group["lines"] if line["shots"] == shots]
    mine = next((line for line in own if line["entry"] == entry), None)
    if mine is None:
        return NOTHING
    parts = []
    for name in names:
        figure = mine["figures"][name]
        text = f"{figure['mean']:.3f}"
        best = max(f"{line['figures'][name]['mean']:.3f}" for line in own)
        text = f"**{text}**" if text == best and len(own) > 1 else text
        parts.append(text + (f" +- {figure['std']:.3f}" if "std" in figure else ""))
    return " / ".join(parts)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    print("\n".join([*readme(), "", peers_page()]))
