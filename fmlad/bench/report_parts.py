"""Pieces of the report's page: published figures, curves, examples."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence

from fmlad.bench import curves as drawing
from fmlad.bench import tables
from fmlad.bench.anchors import anchors_of
from fmlad.bench.curves import Floats, Series
from fmlad.bench.examples import Example, Gallery, galleries
from fmlad.bench.model import ALL, CellResult
from fmlad.report import embed

MADE_HERE = ("scenes", "digits", "boxes", "folder")  # no paper has figures on these
SPRO = "spro@0.05"
CURVES = {
    "ROC": (drawing.mean_roc, drawing.GRID),
    "sPRO": (drawing.mean_spro, drawing.SPRO_GRID),
}
PLOTTED = 2  # numbers of shots in the plots: the fewest and the most


def slug(name: str) -> str:
    """A name as the place of a link within the page."""
    return "d-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in name)


def anchors_beside(dataset: str, shots: Iterable[int]) -> list[str]:
    """Published means of a dataset, apart from the results, and which figures have none."""
    means = anchors_of(dataset, "")
    wanted = set(shots)
    if not means:
        why = (
            "nobody has published on this dataset; it is made by this program or by its user"
            if dataset in MADE_HERE
            else "no published figure for this dataset is known here"
        )
        return [f"<p class=note>No anchor: {why}.</p>"]
    same = [one for one in means if one.shots in wanted]
    others = [one for one in means if one.shots not in wanted]
    parts = ["<div class=published><h3>Published, not run here</h3>"]
    if same:
        parts.append(tables.to_html(tables.anchor_table(same)))
    else:
        parts.append("<p class=note>No anchor with the same number of shots.</p>")
    few = sorted(k for k in wanted if k != ALL)
    if few and not any(one.metric == SPRO and one.shots in few for one in means):
        counts = ", ".join(map(str, few))
        parts.append(
            f"<p class=note>sPRO@0.05 with {counts} shots: no anchor, nobody is known to have "
            f"published any.</p>"
        )
    if others:
        parts += [
            "<details><summary>With other numbers of shots</summary>",
            tables.to_html(tables.anchor_table(others)),
            "</details>",
        ]
    return [*parts, "</div>"]


def curves(cells: Sequence[CellResult]) -> list[str]:
    """ROC and sPRO curves: the mean over tasks, and each task folded away."""
    tasks = list(dict.fromkeys(cell.cell.task.title for cell in cells))
    several = len(tasks) > 1
    where = "mean over tasks" if several else tasks[0]
    plots = [plot for name in CURVES if (plot := _plot(name, cells, where))]
    if not plots:
        return []
    parts = [
        "<h3>Curves</h3><p class=note>Each seed's curve by itself, averaged at equal false "
        "positive rates over seeds and then over the tasks that the entry has finished.</p>",
        drawing.legend([one for curve in CURVES.values() for one in _series(cells, *curve)]),
        f"<div class=plots>{''.join(plots)}</div>",
    ]
    if several:
        small = "".join(
            _plot(name, [c for c in cells if c.cell.task.title == task], task)
            for task in tasks
            for name in CURVES
        )
        parts += [
            "<details><summary>Curves of each task</summary>",
            f"<div class=plots>{small}</div></details>",
        ]
    return parts


def _plot(name: str, cells: Sequence[CellResult], where: str) -> str:
    """One plot, or "" where there is nothing to draw."""
    series = _series(cells, *CURVES[name])
    axes = drawing.ROC if name == "ROC" else drawing.SPRO
    return drawing.plot(series, axes, f"{name}, {where}") if series else ""


def _series(
    cells: Sequence[CellResult],
    mean: Callable[[Sequence[CellResult]], Floats | None],
    grid: Floats,
) -> list[Series]:
    """A colour an entry, a dash a number of shots."""
    labels = list(dict.fromkeys(cell.cell.entry.label for cell in cells))
    ks = sorted({cell.cell.shots for cell in cells}, key=lambda k: (k == ALL, k))
    ks = list(dict.fromkeys((ks[-1], ks[0])))[:PLOTTED]
    found = []
    for colour, label in enumerate(labels):
        for dash, k in enumerate(ks):
            mine = [c for c in cells if c.cell.entry.label == label and c.cell.shots == k]
            heights = mean(mine)
            if heights is not None:
                name = f"{label}, k = {tables.shots_text(k)}"
                found.append(Series(name, grid, heights, colour, dash))
    return found


def example_cards(cells: Sequence[CellResult], count: int) -> list[str]:
    """Pictures of each entry's best and worst images, folded away entry by entry."""
    shown = galleries(cells, count)
    if not shown:
        return []
    first = shown[0].cell.cell
    several = len({cell.cell.task.title for cell in cells}) > 1
    middle = ", the task in the middle" if several else ""
    parts = [
        "<h3>Best and worst images</h3>",
        f"<p class=note>Of {html.escape(first.task.title)}, k = {tables.shots_text(first.shots)}, "
        f"seed {first.seed}{middle}; each contestant is fitted once more on the recorded shots for "
        "its pictures.</p>",
    ]
    reasons: dict[str, list[str]] = {}
    for one in shown:
        if one.missing:
            reasons.setdefault(one.missing, []).append(one.cell.cell.entry.label)
    return [
        *parts,
        *(_gallery(one) for one in shown if not one.missing),
        *(
            f"<p class=note><b>{html.escape(', '.join(labels))}</b>: {html.escape(why)}</p>"
            for why, labels in reasons.items()
        ),
    ]


def _gallery(gallery: Gallery) -> str:
    label = html.escape(gallery.cell.cell.entry.label)
    cards = "".join(_card(example) for example in gallery.examples)
    return f"<details open><summary>{label}</summary><div class=cards>{cards}</div></details>"


def _card(example: Example) -> str:
    row = example.row
    truth = row.kind if row.defect is None else f"{row.kind}: {row.defect}"
    numbers = f"score {row.score:.2f}"
    verdict = ""
    if row.threshold is not None:
        numbers += f", threshold {row.threshold:.2f}"
        right = (row.score > row.threshold) == (row.kind != "good")
        verdict = (
            "<span class='mark'>&#10003; right</span>"
            if right
            else "<span class='mark'>&#10007; wrong</span>"
        )
        verdict = f"<span class={'right' if right else 'wrong'}>{verdict}</span>"
    sentences = "".join(f"<li>{html.escape(text)}" for text in example.sentences)
    changed = (
        ""
        if example.same
        else f"<p class=note>Now {example.score:.2f}: the program or the images are not those of "
        "the run.</p>"
    )
    return (
        f"<figure><div class=two><img src='{embed(example.picture)}' alt='the image'>"
        f"<img src='{embed(example.overlay)}' alt='with heat'></div><figcaption>"
        f"<b>{html.escape(example.role.capitalize())}</b><br>{html.escape(row.name)} "
        f"<small>({html.escape(truth)})</small><br>{numbers} {verdict}"
        + (f"<ol>{sentences}</ol>" if sentences else "")
        + f"{changed}</figcaption></figure>"
    )
