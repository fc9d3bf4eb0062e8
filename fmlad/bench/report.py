"""The report of a results folder: one HTML page that needs nothing beside it, and one table."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from fmlad.bench import results as results_module
from fmlad.bench import tables
from fmlad.bench.anchors import GRADES, anchors_of
from fmlad.bench.groups import Group, groups, overall
from fmlad.bench.model import CellResult
from fmlad.bench.report_markdown import failures, markdown, notes_of
from fmlad.bench.report_parts import anchors_beside, curves, example_cards, slug
from fmlad.bench.report_style import STYLE
from fmlad.bench.results import Results
from fmlad.bench.summary import Comparison, Line, aufc, compare, summarise
from fmlad.errors import FmladError, OptionError
from fmlad.report import write_page

Progress = Callable[[int, int, str], None]

PAGE, TABLE = "report.html", "report.md"
COMPARED = ("auroc_micro", "aupro", "spro@0.05")  # the first that both entries have


def write_report(
    folder: str | os.PathLike[str],
    *,
    examples: int = 4,
    command: str = "",
    progress: Progress | None = None,
) -> tuple[Path, Path]:
    """Writes ``report.html`` and ``report.md`` into a results folder.

    Everything in them is computed from the folder, but the pictures: for them each contestant is
    fitted once more a dataset.

    Args:
        folder: Of a benchmark, finished or not.
        examples: Pictures of each entry and dataset; 0 leaves them out.
        command: What made the results, if it is known.
        progress: Called as ``progress(done, total, what)``.

    Returns:
        The page and the table.

    Raises:
        OptionError: There are no results in the folder, or it cannot be written.
        CorruptResultsError: A file in it is damaged.
    """
    if examples < 0:
        raise OptionError(f"examples must be 0 or more, got {examples}.")
    results = results_module.load(folder)
    lines = summarise(results)
    found = groups(results, lines)
    title = f"Benchmark: {results.plan.name or Path(folder).resolve().name}"
    facts = facts_of(results, command)
    home = Path(folder)
    body = _page(results, lines, found, examples, progress)
    head = [f"<h1>{html.escape(title)}</h1>", _facts(facts)]
    page = write_page(home / PAGE, title, [*head, *body], STYLE)
    table = home / TABLE
    try:
        table.write_text(markdown(results, found, title, facts), encoding="utf-8")
    except OSError as error:
        raise OptionError(f"The table cannot be written to {table}: {error}.") from error
    return page, table


def _page(
    results: Results,
    lines: Sequence[Line],
    found: Sequence[Group],
    examples: int,
    progress: Progress | None,
) -> list[str]:
    datasets = list(dict.fromkeys(line.dataset for line in lines))
    parts = [_contents(datasets), _HOW_TO_READ]
    for number, dataset in enumerate(datasets):
        cells = [cell for cell in results if cell.cell.task.dataset == dataset]
        if progress is not None:
            progress(number, len(datasets), f"report: {dataset}")
        mine = [group for group in found if group.dataset == dataset]
        parts += _dataset(dataset, cells, lines, mine, examples)
    whole = [line for dataset in datasets for line in overall(lines, dataset)]
    if whole:
        parts += [
            "<h2 id=cost>What it costs</h2>",
            "<p>Means over tasks and seeds, for whole datasets alone. Latencies are of images "
            "of which nothing was known from an earlier cell, decoding included; memory is the "
            "most that the process held until then. They swing with the machine and its load.</p>",
            tables.to_html(tables.cost_table(whole)),
            "<details><summary>Published costs, on other machines</summary>",
            tables.to_html(tables.anchor_table(anchors_of(""))),
            "</details>",
        ]
    parts += _paired(results)
    parts += _ended(results)
    if progress is not None:
        progress(len(datasets), len(datasets), "report written")
    return parts


def _dataset(
    dataset: str,
    cells: Sequence[CellResult],
    lines: Sequence[Line],
    found: Sequence[Group],
    examples: int,
) -> list[str]:
    whole = overall(lines, dataset)
    by_task = [line for line in lines if line.dataset == dataset and line.task]
    tasks = list(dict.fromkeys(line.task for line in by_task))
    shots = {line.shots for line in by_task}
    count = (
        f"mean of {len(tasks)} tasks"
        if len(tasks) > 1
        else html.escape(tasks[0].removeprefix(f"{dataset}/"))
    )
    parts = [f"<h2 id='{slug(dataset)}'>{html.escape(dataset)} <small>{count}</small></h2>"]
    if whole:
        parts.append(tables.to_html(tables.results_table(whole)))
    parts += [f"<p class=note>{html.escape(one)}</p>" for one in _without_mean(by_task, whole)]
    areas = {
        label: area
        for label in dict.fromkeys(line.entry.label for line in whole)
        if (area := aufc(whole, label, dataset)) is not None
    }
    if areas:
        text = "; ".join(f"{label} {tables.percent(area)}" for label, area in areas.items())
        parts.append(
            f"<p>AUFC, F1-max over 1, 2, 4 and 8 shots as in the VAND 2025 challenge: "
            f"{html.escape(text)}.</p>"
        )
    for group in found:
        if not group.whole:
            parts += [
                f"<h3>Over {html.escape(_and(group.short))} alone</h3>",
                tables.to_html(tables.results_table(group.lines)),
            ]
    parts += anchors_beside(dataset, shots)
    if len(tasks) > 1:
        parts.append(f"<details><summary>The {len(tasks)} tasks one by one</summary>")
        for task in tasks:
            mine = [line for line in by_task if line.task == task]
            parts += [
                f"<h3>{html.escape(task)}</h3>",
                tables.to_html(tables.results_table(mine)),
            ]
        of_categories = [a for a in anchors_of(dataset) if a.category]
        if of_categories:
            parts += [
                "<h3>Published, not run here</h3>",
                tables.to_html(tables.anchor_table(of_categories, categories=True)),
            ]
        parts.append("</details>")
    return [*parts, *curves(cells), *example_cards(cells, examples)]


def _without_mean(by_task: Sequence[Line], whole: Sequence[Line]) -> list[str]:
    """Whose means are missing, and why."""
    have = {(line.entry.label, line.shots) for line in whole}
    tasks = len({line.task for line in by_task})
    seen: dict[tuple[str, int], int] = {}
    for line in by_task:
        key = (line.entry.label, line.shots)
        seen[key] = seen.get(key, 0) + 1
    short: dict[tuple[str, int], list[str]] = {}
    for (label, shots), count in seen.items():
        if (label, shots) not in have:
            short.setdefault((label, count), []).append(tables.shots_text(shots))
    return [
        f"No mean for {label} (k = {', '.join(shots)}): it has finished {count} of the {tasks} "
        f"tasks, and means over different tasks cannot be compared."
        for (label, count), shots in short.items()
    ]


def _and(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def facts_of(results: Results, command: str) -> dict[str, str]:
    """What was run with what, name by name; nothing that is not known."""
    plan = results.plan
    facts = {
        "entries": str(len(plan.entries)),
        "tasks": str(len(plan.tasks)),
        "plan": f"shots {', '.join(map(tables.shots_text, plan.shots))}, "
        f"seeds {', '.join(map(str, plan.seeds))}",
        "cells": _state(results),
        "command": command,
        **environments(results),
    }
    return {name: value for name, value in facts.items() if value}


def _facts(facts: Mapping[str, str]) -> str:
    items = "".join(
        f"<dt>{html.escape(name)}<dd>{html.escape(value)}" for name, value in facts.items()
    )
    return f"<dl class=facts>{items}</dl>"


def _state(results: Results) -> str:
    state = f"{len(results)} finished"
    if results.failed:
        state += f", {len(results.failed)} failed (listed at the end)"
    return state + (f", {results.missing} not yet done" if results.missing else "")


def environments(results: Iterable[CellResult]) -> dict[str, str]:
    """What the cells ran with; all values where cells differ."""
    found: dict[str, dict[str, None]] = {}
    for result in results:
        for name, value in result.environment.items():
            found.setdefault(name, {})[value] = None
    return {name: "; ".join(values) for name, values in found.items()}


def _contents(datasets: Sequence[str]) -> str:
    places = [(slug(one), one) for one in datasets]
    places += [("cost", "cost"), ("paired", "side by side"), ("notes", "notes")]
    links = "".join(f"<a href='#{place}'>{html.escape(name)}</a>" for place, name in places)
    return f"<nav>{links}</nav>"


def _paired(results: Results) -> list[str]:
    found: list[Comparison] = []
    refused: list[str] = []
    for first, second in combinations([entry.label for entry in results.plan.entries], 2):
        mine = [cell for cell in results if cell.cell.entry.label in (first, second)]
        for dataset in dict.fromkeys(cell.cell.task.dataset for cell in mine):
            cells = [cell for cell in mine if cell.cell.task.dataset == dataset]
            if len({cell.cell.entry.label for cell in cells}) < 2:
                continue
            figure = next((f for f in COMPARED if any(f in c.figures for c in cells)), None)
            try:
                if figure is not None:
                    found += [one for one in compare(cells, first, second, figure) if one.dataset]
            except FmladError as error:
                refused.append(str(error))
    parts = ["<h2 id=paired>Side by side</h2>"]
    if not found:
        parts.append("<p>No two entries have finished the same cells.</p>")
    else:
        parts += [
            "<p>The same task, shots, seed and test images for both; the difference is that of the "
            "first minus the second, in points of percent. It is bold where the interval leaves "
            "zero out. Wins: share of the pairs in which the first is better. Many intervals "
            "stand here, and of twenty one misses by chance.</p>",
            tables.to_html(tables.paired_table(found)),
        ]
    return parts + [f"<p class=note>{html.escape(one)}</p>" for one in refused]


def _ended(results: Results) -> list[str]:
    parts = ["<h2 id=notes>Notes</h2>"]
    if results.failed:
        rows = tuple(tuple(tables.Item(text) for text in failure) for failure in failures(results))
        table = tables.Table(("entry", "cells", "why"), (rows,), words=3)
        parts += ["<h3>Cells that could not be done</h3>", tables.to_html(table)]
    notes = [f"<li>{html.escape(one)}" for one in notes_of(results)]
    parts.append(f"<ul>{''.join(notes)}</ul>" if notes else "<p>None.</p>")
    grades = "".join(f"<li>[{html.escape(g)}] {html.escape(what)}" for g, what in GRADES.items())
    return [*parts, f"<h3>How well published figures are known</h3><ul>{grades}</ul>"]


_HOW_TO_READ = """<details><summary>How to read this</summary><ul>
<li>All figures are <b>percent</b>: the mean over the seeds, ± their standard deviation, and in
brackets the 95 % bootstrap interval of the mean over test images and seeds, where there is one.
<li><b>Bold</b>: the best of one number of shots, k. What reads the same is marked alike.
<li><b>AUROC logical, structural</b>: those anomalies against the normal images; <b>mean</b>: of the
two; <b>all</b>: all anomalies together. Every one is 50 by chance.
<li><b>F1-max</b> takes the best threshold in hindsight. Its <b>floor</b> is what calling every
image anomalous gives: what is not well above it is nothing.
<li><b>FPR@95TPR</b>: false alarms when 95 % of the anomalies are found; lower is better.
<li><b>AUPRO, sPRO@0.05</b>: how well places are found, by region; sPRO counts a region as found
once a saturation area is covered, and up to a false positive rate of 0.05.
<li><b>Category prompts</b>: the entry was told words about the category. <b>Normals beyond k</b>:
normal images that it was given besides its shots.
<li><b>Published</b> figures stand apart, with grade and source. They were not run here: other
draws, other images, often other helps.
</ul></details>"""
