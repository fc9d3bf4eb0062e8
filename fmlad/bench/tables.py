"""Tables of the report: what stands in them. Templates make HTML and Markdown of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fmlad.bench.groups import Group
from fmlad.bench.model import ALL
from fmlad.bench.published import METRICS, SHARES, PublishedFigure, published_for
from fmlad.bench.summary import LOWER, Line, PairedComparison

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
UNSTATED = "auroc"  # published without saying over what it was averaged


@dataclass(frozen=True)
class TableCell:
    """One place of a table, with further lines in ``small`` print below its text."""

    text: str
    small: tuple[str, ...] = ()
    best: bool = False


Row = Sequence[str | TableCell]


@dataclass(frozen=True)
class Table:
    """Rows under headings; false without any.

    Attributes:
        groups: Rows that belong together, such as those with the same number of shots.
        words: How many columns from the left hold words; numbers stand on the right.
        foreign: Whether the figures are somebody else's.
    """

    heading: tuple[str, ...]
    groups: tuple[tuple[tuple[TableCell, ...], ...], ...]
    words: int = 1
    foreign: bool = False

    def __bool__(self) -> bool:
        return any(self.groups)


def shots_text(shots: int | None) -> str:
    """``"4"``, or ``"all"``."""
    return "all" if shots == ALL or shots is None else str(shots)


def percent(value: float) -> str:
    """A share as percent with one decimal."""
    return f"{100 * value:.1f}"


def figure_cell(name: str, line: Line) -> TableCell:
    """Mean, spread over the seeds and interval of one figure."""
    if name not in line.figures:
        return TableCell(NOTHING)
    figure = line.figures[name]
    small = []
    if figure.std is not None and name not in UNJUDGED:
        small.append(f"± {percent(figure.std)}")
    if figure.low is not None and figure.high is not None:
        small.append(f"[{percent(figure.low)}, {percent(figure.high)}]")
    return TableCell(percent(figure.mean), tuple(small))


def results_table(lines: Sequence[Line]) -> Table:
    """One row per entry and number of shots; the best of each number of shots is marked."""
    shown = [name for name in FIGURES if any(name in line.figures for line in lines)]
    if all("spro_mean@0.05" in line.figures for line in lines):
        shown = [name for name in shown if name != "spro@0.05"]  # one is enough for a page's width
    rows: list[tuple[int, Row]] = []
    for shots in sorted({line.shots for line in lines}, key=lambda k: (k == ALL, k)):
        same = [line for line in lines if line.shots == shots]
        best = {name: _best(name, same) for name in shown}
        for line in same:
            cells = {name: figure_cell(name, line) for name in shown}
            # What reads the same is the same: no ranks by digits that are not shown.
            marked = (replace(cell, best=cell.text == best[name]) for name, cell in cells.items())
            row: Row = (_entry_cell(line), shots_text(shots), str(len(line.seeds)), *marked)
            rows.append((shots, row))
    return make_table(("entry", "k", "seeds", *(FIGURES[name] for name in shown)), rows)


def make_table(
    heading: Sequence[str],
    rows: Iterable[tuple[object, Row]],
    words: int = 1,
    foreign: bool = False,
) -> Table:
    """A table of rows, with keys that are equal where they stand together."""
    groups: dict[object, list[tuple[TableCell, ...]]] = {}
    for key, row in rows:
        cells = (TableCell(cell) if isinstance(cell, str) else cell for cell in row)
        groups.setdefault(key, []).append(tuple(cells))
    return Table(tuple(heading), tuple(map(tuple, groups.values())), words, foreign)


def _entry_cell(line: Line) -> TableCell:
    words = "category prompts" if line.category_prompts else "no category prompts"
    return TableCell(line.entry.label, (words, f"{line.normals_beyond_k} normals beyond k"))


def _best(name: str, lines: Sequence[Line]) -> str | None:
    """The best value of a figure as it reads, if there is anything to choose from."""
    values = [line.figures[name].mean for line in lines if name in line.figures]
    if name in UNJUDGED or len(values) < 2:
        return None
    return percent(min(values) if name in LOWER else max(values))


def published_table(found: Iterable[PublishedFigure], *, categories: bool = False) -> Table:
    """Published figures: one row per method, number of shots and source."""
    rows: dict[tuple[object, ...], dict[str, PublishedFigure]] = {}
    for one in found:
        key = (one.category, one.shots, one.method, one.category_input, one.grade, one.source)
        rows.setdefault(key, {})[one.metric] = one
    metrics = [name for name in METRICS if any(name in row for row in rows.values())]
    made: list[tuple[int | None, Row]] = []
    for row in rows.values():
        one = next(iter(row.values()))
        values = {
            name: percent(figure.value) if name in SHARES else f"{figure.value:g}"
            for name, figure in row.items()
        }
        cells: Row = (
            TableCell(one.method, tuple({of.note: None for of in row.values() if of.note})),
            *([one.category or "mean"] if categories else []),
            one.category_input or "none",
            TableCell(f"[{one.grade}]", (one.source,)),
            one.shots_text,
            *(values.get(name, NOTHING) for name in metrics),
        )
        made.append((one.shots, cells))
    made.sort(key=lambda row: (row[0] == ALL, -1 if row[0] is None else row[0]))
    extra = ("category",) if categories else ()
    words = ("method", *extra, "told of the category", "source")
    heading = (*words, "k", *(METRICS[name] for name in metrics))
    return make_table(heading, made, len(words), foreign=True)


def cost_table(lines: Sequence[Line]) -> Table:
    """What a fit and a query cost, one row per dataset, entry and number of shots."""
    shown = [name for name in COSTS if any(name in line.cost for line in lines)]
    rows = []
    for line in lines:
        texts = [line.dataset, line.entry.label, shots_text(line.shots)]
        costs = ((COSTS[name][1], line.cost.get(name)) for name in shown)
        texts += [NOTHING if cost is None else format(cost, form) for form, cost in costs]
        rows.append((line.dataset, tuple(texts)))
    return make_table(("dataset", "entry", "k", *(COSTS[name][0] for name in shown)), rows, words=2)


def paired_table(comparisons: Sequence[PairedComparison]) -> Table:
    """First minus second on the same cells, in points of percent."""
    rows = []
    for one in comparisons:
        sure, interval = False, NOTHING
        if one.low is not None and one.high is not None:
            sure = one.low * one.high > 0
            interval = f"[{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
        shots = "any" if one.shots is None else shots_text(one.shots)
        figure = FIGURES.get(one.figure, one.figure)
        names = (f"{one.first} − {one.second}", one.dataset or "all", figure, shots, str(one.cells))
        difference = TableCell(f"{100 * one.difference:+.1f}", best=sure)
        row = (*names, difference, interval, f"{one.wins:.0%}")
        rows.append(((one.first, one.second), row))
    heading = ("entries", "dataset", "figure", "k", "pairs", "difference", "95 % interval", "wins")
    return make_table(heading, rows, words=3)


def whole_table(groups: Sequence[Group], datasets: Sequence[str]) -> Table:
    """Results, then published figures with the same numbers of shots."""
    found = [line for group in groups for line in group.lines]
    shots = {line.shots for line in found}
    beside = [one for name in datasets for one in published_for(name, "") if one.shots in shots]
    shown = [name for name in FIGURES if any(name in line.figures for line in found)]
    extra = [UNSTATED] if any(one.metric == UNSTATED for one in beside) else []
    rows: list[tuple[None, Row]] = []
    for group in groups:
        for line in group.lines:
            words = "yes" if line.category_prompts else "no"
            beyond, seeds = str(line.normals_beyond_k), str(len(line.seeds))
            texts = (group.title, line.entry.label, words, beyond, shots_text(line.shots), seeds)
            figures = (figure_cell(name, line) for name in shown)
            rows.append((None, (*texts, *figures, *(NOTHING for _ in extra))))
    published: dict[tuple[str, ...], dict[str, str]] = {}
    for one in beside:
        if one.metric in (*shown, *extra):
            who = f"{one.method}, published [{one.grade}] {one.source}"
            beyond = "all" if one.shots == ALL else NOTHING
            given = one.category_input or "none"
            facts = (one.dataset, who, given, beyond, one.shots_text, NOTHING)
            published.setdefault(facts, {})[one.metric] = percent(one.value)
    for key, values in published.items():
        rows.append((None, (*key, *(values.get(name, NOTHING) for name in (*shown, *extra)))))
    names = [FIGURES[name] for name in shown] + [METRICS[name] for name in extra]
    heading = ("dataset", "entry", "category prompts", "normals beyond k", "k", "seeds", *names)
    return make_table(heading, rows, words=3)
