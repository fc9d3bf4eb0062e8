"""Tables of the report: what stands in them, and how they become HTML and Markdown."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fmlad.bench.anchors import METRICS, SHARES, Anchor
from fmlad.bench.model import ALL
from fmlad.bench.summary import LOWER, Comparison, Line

# Figure -> heading; all are shares and shown in percent.
FIGURES = {
    "auroc_logical": "AUROC logical",
    "auroc_structural": "AUROC structural",
    "auroc_mean": "AUROC mean",
    "auroc_micro": "AUROC all",
    "ap": "AP",
    "f1_max": "F1-max",
    "f1_floor": "F1 floor",
    "fpr95": "FPR@95TPR",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "spro_mean@0.05": "sPRO@0.05 mean",
    "spro@0.05": "sPRO@0.05",
}
UNJUDGED = ("f1_floor",)  # hangs on the images alone
COSTS: Mapping[str, tuple[str, str]] = {
    "fit_seconds": ("fit, s", ".2f"),
    "p50_seconds": ("query p50, s", ".3f"),
    "p95_seconds": ("query p95, s", ".3f"),
    "peak_mb": ("peak memory, MiB", ".0f"),
    "weights_mb": ("weights, MiB", ".1f"),
    "memory_mb": ("remembered of the shots, MiB", ".1f"),
}
NOTHING = "–"


@dataclass(frozen=True)
class Item:
    """One place of a table.

    Attributes:
        text: What stands there.
        small: Further lines below, in small print.
        best: Whether it is the best of its kind.
    """

    text: str
    small: tuple[str, ...] = ()
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under headings.

    Attributes:
        heading: One a column.
        groups: Rows that belong together, such as those with the same number of shots.
        words: How many columns from the left hold words; numbers stand on the right.
        foreign: Whether the figures are somebody else's.
    """

    heading: tuple[str, ...]
    groups: tuple[tuple[tuple[Item, ...], ...], ...]
    words: int = 1
    foreign: bool = False


def shots_text(shots: int | None) -> str:
    """``"4"``, or ``"all"``."""
    return "all" if shots == ALL or shots is None else str(shots)


def percent(value: float) -> str:
    """A share as percent with one decimal."""
    return f"{100 * value:.1f}"


def figure_item(name: str, line: Line) -> Item:
    """Mean, spread over the seeds and interval of one figure."""
    if name not in line.figures:
        return Item(NOTHING)
    figure = line.figures[name]
    if name in UNJUDGED:
        return Item(percent(figure.mean))
    small = []
    if figure.std is not None:
        small.append(f"± {percent(figure.std)}")
    if figure.low is not None and figure.high is not None:
        small.append(f"[{percent(figure.low)}, {percent(figure.high)}]")
    return Item(percent(figure.mean), tuple(small))


def results_table(lines: Sequence[Line]) -> Table:
    """One row an entry and number of shots; the best of each number of shots is marked."""
    shown = [name for name in FIGURES if any(name in line.figures for line in lines)]
    if all("spro_mean@0.05" in line.figures for line in lines):
        shown = [name for name in shown if name != "spro@0.05"]  # one is enough for a page's width
    groups = []
    for shots in sorted({line.shots for line in lines}, key=lambda k: (k == ALL, k)):
        rows = [line for line in lines if line.shots == shots]
        columns = [_marked(name, rows) for name in shown]
        groups.append(
            tuple(
                (_who(line), Item(shots_text(shots)), Item(str(len(line.seeds))), *figures)
                for line, figures in zip(rows, zip(*columns, strict=True), strict=True)
            )
            if columns
            else tuple(
                (_who(line), Item(shots_text(shots)), Item(str(len(line.seeds)))) for line in rows
            )
        )
    return Table(("entry", "k", "seeds", *(FIGURES[name] for name in shown)), tuple(groups))


def _who(line: Line) -> Item:
    words = "category prompts" if line.category_prompts else "no category prompts"
    return Item(line.entry.label, (words, f"{line.normals_beyond_k} normals beyond k"))


def _marked(name: str, lines: Sequence[Line]) -> list[Item]:
    """One figure of several lines; the best are marked if there is anything to choose from."""
    items = [figure_item(name, line) for line in lines]
    values = [line.figures[name].mean for line in lines if name in line.figures]
    if name in UNJUDGED or len(values) < 2:
        return items
    best = percent(min(values) if name in LOWER else max(values))
    # What reads the same is the same: the table does not rank by digits that it does not show.
    return [replace(item, best=item.text == best) for item in items]


def anchor_table(found: Iterable[Anchor], *, categories: bool = False) -> Table:
    """Published figures: one row a method, number of shots and source."""
    rows: dict[tuple[str, str, str, str, str, str], dict[str, Anchor]] = {}
    for one in found:
        facts = (one.category, one.shots_text, one.method)
        rows.setdefault((*facts, one.category_input, one.grade, one.source), {})[one.metric] = one
    metrics = [name for name in METRICS if any(name in row for row in rows.values())]
    groups: dict[str, list[tuple[Item, ...]]] = {}
    for key, row in rows.items():
        category, shots, method, given, grade, source = key
        notes = dict.fromkeys(one.note for one in row.values() if one.note)
        groups.setdefault(shots, []).append(
            (
                Item(method, tuple(notes)),
                *((Item(category or "mean"),) if categories else ()),
                Item(given or "none"),
                Item(f"[{grade}]", (source,)),
                Item(shots),
                *(_published(row.get(name)) for name in metrics),
            )
        )
    extra = ("category",) if categories else ()
    heading: tuple[str, ...] = ("method", *extra, "told of the category", "source")
    return Table(
        (*heading, "k", *(METRICS[name] for name in metrics)),
        tuple(tuple(rows) for _, rows in sorted(groups.items(), key=lambda g: _order(g[0]))),
        words=len(heading),
        foreign=True,
    )


def _published(anchor: Anchor | None) -> Item:
    if anchor is None:
        return Item(NOTHING)
    return Item(percent(anchor.value) if anchor.metric in SHARES else f"{anchor.value:g}")


def _order(shots: str) -> float:
    return {"none": -1.0, "all": float("inf")}.get(shots) or float(shots)


def cost_table(lines: Sequence[Line]) -> Table:
    """What a fit and a query cost, one row a dataset, entry and number of shots."""
    shown = [name for name in COSTS if any(name in line.cost for line in lines)]
    groups: dict[str, list[tuple[Item, ...]]] = {}
    for line in lines:
        figures = (
            Item(format(line.cost[name], COSTS[name][1]) if name in line.cost else NOTHING)
            for name in shown
        )
        row = (Item(line.dataset), Item(line.entry.label), Item(shots_text(line.shots)), *figures)
        groups.setdefault(line.dataset, []).append(row)
    heading: tuple[str, ...] = ("dataset", "entry", "k", *(COSTS[name][0] for name in shown))
    return Table(heading, tuple(map(tuple, groups.values())), words=2)


def paired_table(comparisons: Sequence[Comparison]) -> Table:
    """First minus second on the same cells, in points of percent."""
    groups: dict[tuple[str, str], list[tuple[Item, ...]]] = {}
    for one in comparisons:
        interval = (
            "" if one.low is None else f"[{100 * one.low:+.1f}, {100 * (one.high or 0):+.1f}]"
        )
        sure = one.low is not None and one.high is not None and one.low * one.high > 0
        groups.setdefault((one.first, one.second), []).append(
            (
                Item(f"{one.first} − {one.second}"),
                Item(one.dataset or "all"),
                Item(FIGURES.get(one.figure, one.figure)),
                Item("any" if one.shots is None else shots_text(one.shots)),
                Item(str(one.cells)),
                Item(f"{100 * one.difference:+.1f}", best=sure),
                Item(interval or NOTHING),
                Item(f"{one.wins:.0%}"),
            )
        )
    heading = ("entries", "dataset", "figure", "k", "pairs", "difference", "95 % interval", "wins")
    return Table(heading, tuple(map(tuple, groups.values())), words=3)


def to_html(table: Table) -> str:
    """A table that scrolls sideways where it is wider than the page."""
    head = "".join(f"<th{_side(table, i)}>{html.escape(h)}" for i, h in enumerate(table.heading))
    body = "".join(
        "<tbody>"
        + "".join(
            "<tr>" + "".join(f"<td{_side(table, i)}>{_html(c)}" for i, c in enumerate(row))
            for row in group
        )
        + "</tbody>"
        for group in table.groups
    )
    kind = "scroll foreign" if table.foreign else "scroll"
    return f'<div class="{kind}" tabindex="0"><table><thead><tr>{head}</thead>{body}</table></div>'


def _side(table: Table, column: int) -> str:
    return "" if column < table.words else " class=n"


def _html(item: Item) -> str:
    text = html.escape(item.text)
    small = "".join(f"<small>{html.escape(line)}</small>" for line in item.small)
    return (f"<b>{text}</b>" if item.best else text) + small


def to_markdown(table: Table) -> str:
    """The same as a Markdown table."""
    lines = [
        _row(table.heading, plain),
        "|" + "".join("---|" if i < table.words else "---:|" for i in range(len(table.heading))),
    ]
    lines += [_row(row, _markdown) for group in table.groups for row in group]
    return "\n".join(lines)


def _row(cells: Sequence[object], write: Callable[..., str]) -> str:
    return "| " + " | ".join(write(cell) for cell in cells) + " |"


def plain(text: str) -> str:
    """Words without a meaning in Markdown or HTML."""
    safe = html.escape(text, quote=False)
    for sign in "\\`*_|[]":
        safe = safe.replace(sign, f"\\{sign}")
    return " ".join(safe.split())


def _markdown(item: Item) -> str:
    text = f"**{plain(item.text)}**" if item.best else plain(item.text)
    return " ".join([text, *(plain(line) for line in item.small)])
