"""Tables of the suites, for docs/bench.md and docs/peers.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tools.docs.markdown import NOTHING, content, origin, table

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


def training_free() -> list[str]:
    """The table of docs/bench.md."""
    return [*tables("bench-training-free", "Methods that need no training"), *LEGEND]


def peers_page() -> list[str]:
    """The table of docs/peers.md."""
    title = "A real pretrained network beside the embedded profile"
    return [*tables("bench-peers", title), *LEGEND]


def tables(name: str, title: str) -> list[str]:
    """Markdown lines: images, then places, with protocol, command and commit."""
    found = content(name)
    seeds = ", ".join(map(str, found["seeds"]))
    lines = [
        f"**{title}**, `builtin` profile, k shots, seeds {seeds}: mean +-",
        "standard deviation over the seeds, the same shots for all; best of each k in bold.",
    ]
    for rows in (IMAGE, PIXEL):
        made = _table(found["figures"]["groups"], rows)
        lines += ["", *made] if made else []
    return [*lines, "", origin(found)]


def _table(
    groups: Sequence[Mapping[str, Any]], choice: Sequence[tuple[tuple[str, ...], str]]
) -> list[str]:
    shown = [(group, *found) for group in groups if (found := _chosen(group, choice)) is not None]
    if not shown:
        return []
    facts = ("shots", "entry", "category_prompts", "normals_beyond_k")
    who = dict.fromkeys(
        tuple(line[fact] for fact in facts) for group, *_ in shown for line in group["lines"]
    )
    rows = []
    for shots, entry, prompts, beyond in sorted(who, key=lambda row: (row[0] == 0, row[0])):
        cells = [_cell(group, names, shots, entry) for group, names, _ in shown]
        words = "yes" if prompts else "no"
        texts = [str(shots or "all"), entry, words, str(beyond), *cells]  # 0 means all images
        rows.append([text.replace("|", "\\|") for text in texts])
    titles = [f"{group['title']}: {title}" for group, _, title in shown]
    heading = ["k", "", "words about the category", "normals beyond k", *titles]
    return table(heading, rows, "|---:|---|---|---:|" + "---|" * len(titles))


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
