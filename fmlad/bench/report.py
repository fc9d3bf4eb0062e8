"""The report of a results folder: one HTML page that needs nothing beside it, and one table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from fmlad.bench import results as results_module
from fmlad.bench import tables
from fmlad.bench.curves import CURVES, Axes, Series
from fmlad.bench.examples import examples_of, typical
from fmlad.bench.groups import Group, groups
from fmlad.bench.model import ALL, Cell, CellResult
from fmlad.bench.published import GRADES, published_for
from fmlad.bench.results import Results
from fmlad.bench.summary import Line, PairedComparison, aufc, compare, overall, summarise
from fmlad.errors import FmladError, OptionError
from fmlad.progress import Progress, silent
from fmlad.report import write

PAGE, TABLE = "report.html", "report.md"
COMPARED = ("auroc_micro", "aupro", "spro@0.05")  # the first that both entries have
MADE_HERE = ("scenes", "digits", "boxes", "folder")  # no paper has figures on these
SPRO = "spro@0.05"

Plot = tuple[str, Axes, list[Series]]  # title, axes, lines


def write_report(
    folder: str | os.PathLike[str],
    *,
    examples: int = 4,
    command: str = "",
    progress: Progress | None = None,
) -> tuple[Path, Path]:
    """Writes ``report.html`` and ``report.md`` into a results folder.

    Everything in them is computed from the folder, but the pictures: for them each entry is fitted
    once more per dataset.

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
    told = {
        "title": f"Benchmark: {results.plan.name or Path(folder).resolve().name}",
        "failures": _failures(results),
        "notes": list(
            dict.fromkeys(f"{c.cell.task.title}: {note}" for c in results for note in c.notes)
        ),
    }
    facts, environment = _facts(results, command), _environments(results)
    content = _content(results, lines, found, examples, progress or silent)
    page = Path(folder) / PAGE
    write(page, "bench/report.html", facts=facts, environment=environment, **told, **content)
    datasets = [group.dataset for group in found if group.whole]
    content = {
        "table": tables.whole_table(found, datasets),
        "unpublished": [name for name in datasets if not published_for(name, "")],
    }
    table = Path(folder) / TABLE
    return page, write(table, "bench/report.md", facts=facts | environment, **told, **content)


def _content(
    results: Results,
    lines: Sequence[Line],
    found: Sequence[Group],
    examples: int,
    progress: Progress,
) -> dict[str, Any]:
    """What the page is made of."""
    names = list(dict.fromkeys(line.dataset for line in lines))
    datasets = []
    for number, name in enumerate(names):
        progress(number, len(names), f"report: {name}")
        cells = [cell for cell in results if cell.cell.task.dataset == name]
        mine = [group for group in found if group.dataset == name]
        datasets.append(_dataset(name, cells, lines, mine, examples))
    progress(len(names), len(names), "report written")
    paired, refused = _paired(results)
    failed = [(None, failure) for failure in _failures(results)]
    return {
        "datasets": datasets,
        "costs": tables.cost_table([line for name in names for line in overall(lines, name)]),
        "published_costs": tables.published_table(published_for("")),
        "paired": tables.paired_table(paired),
        "refused": refused,
        "failed": tables.make_table(("entry", "cells", "why"), failed, words=3),
        "grades": GRADES,
    }


def _dataset(
    dataset: str,
    cells: Sequence[CellResult],
    lines: Sequence[Line],
    found: Sequence[Group],
    examples: int,
) -> dict[str, Any]:
    whole = overall(lines, dataset)
    by_task = [line for line in lines if line.dataset == dataset and line.task]
    tasks = list(dict.fromkeys(line.task for line in by_task))
    several = len(tasks) > 1
    areas = {
        label: area
        for label in dict.fromkeys(line.entry.label for line in whole)
        if (area := aufc(whole, label, dataset)) is not None
    }
    plots = _plots(cells, "mean over tasks" if several else tasks[0])
    shown = [examples_of(cell, examples) for cell in typical(cells)] if examples else []
    of_categories = [one for one in published_for(dataset) if one.category]
    return {
        "name": dataset,
        "slug": "d-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in dataset),
        "extent": f"mean of {len(tasks)} tasks" if several else tasks[0].partition("/")[2],
        "whole": tables.results_table(whole),
        "without_mean": _without_mean(by_task, whole),
        "aufc": "; ".join(f"{label} {tables.percent(area)}" for label, area in areas.items()),
        "groups": [
            (f"Over {_and(group.short)} alone", tables.results_table(group.lines))
            for group in found
            if not group.whole
        ],
        **_published(dataset, {line.shots for line in by_task}),
        "tasks": [
            (task, tables.results_table([line for line in by_task if line.task == task]))
            for task in tasks * several
        ],
        "published_tasks": tables.published_table(of_categories, categories=True),
        "plots": plots,
        "legend": list({line.label: line for _, _, drawn in plots for line in drawn}.values()),
        "task_plots": [
            plot
            for task in tasks * several
            for plot in _plots([cell for cell in cells if cell.cell.task.title == task], task)
        ],
        "examples": shown,
        "several": several,
    }


def _without_mean(by_task: Sequence[Line], whole: Sequence[Line]) -> list[str]:
    """Whose means are missing, and why."""
    have = {(line.entry.label, line.shots) for line in whole}
    tasks = len({line.task for line in by_task})
    short: dict[tuple[str, int], list[str]] = {}
    for (label, shots), count in Counter((one.entry.label, one.shots) for one in by_task).items():
        if (label, shots) not in have:
            short.setdefault((label, count), []).append(tables.shots_text(shots))
    return [
        f"No mean for {label} (k = {', '.join(shots)}): it has finished {count} of the {tasks} "
        f"tasks, and means over different tasks cannot be compared."
        for (label, count), shots in short.items()
    ]


def _and(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _published(dataset: str, shots: set[int]) -> dict[str, Any]:
    """Published means of a dataset, apart from the results, and which figures have none."""
    means = published_for(dataset, "")
    few = sorted(k for k in shots if k != ALL)
    known = any(one.metric == SPRO and one.shots in few for one in means)
    return {
        "published": bool(means),
        "same": tables.published_table(one for one in means if one.shots in shots),
        "others": tables.published_table(one for one in means if one.shots not in shots),
        "made_here": dataset in MADE_HERE,
        "without_spro": "" if known else ", ".join(map(str, few)),
    }


def _plots(cells: Sequence[CellResult], where: str) -> list[Plot]:
    """The curves that there are: a colour per entry, a dash per number of shots."""
    labels = list(dict.fromkeys(cell.cell.entry.label for cell in cells))
    ks = sorted({cell.cell.shots for cell in cells}, key=lambda k: (k == ALL, k))
    ks = list(dict.fromkeys((ks[-1], ks[0])))  # the most and the fewest
    plots = []
    for name, curve in CURVES.items():
        drawn = []
        for colour, label in enumerate(labels):
            for dash, k in enumerate(ks):
                mine = [c for c in cells if (c.cell.entry.label, c.cell.shots) == (label, k)]
                if (heights := curve.mean(mine)) is not None:
                    text = f"{label}, k = {tables.shots_text(k)}"
                    drawn.append(Series(text, curve.grid, heights, colour, dash))
        if drawn:
            plots.append((f"{name}, {where}", curve.axes, drawn))
    return plots


def _facts(results: Results, command: str) -> dict[str, str]:
    """What was run, name by name; nothing that is not known."""
    plan = results.plan
    state = f"{len(results)} finished"
    if results.failed:
        state += f", {len(results.failed)} failed (listed at the end)"
    facts = {
        "entries": str(len(plan.entries)),
        "tasks": str(len(plan.tasks)),
        "plan": f"shots {', '.join(map(tables.shots_text, plan.shots))}, "
        f"seeds {', '.join(map(str, plan.seeds))}",
        "cells": state + (f", {results.missing} not yet done" if results.missing else ""),
        "command": command,
    }
    return {name: value for name, value in facts.items() if value}


def _environments(results: Iterable[CellResult]) -> dict[str, str]:
    """What the cells ran with; all values where cells differ."""
    pairs = dict.fromkeys(pair for result in results for pair in result.environment.items())
    names = dict.fromkeys(name for name, _ in pairs)
    return {name: "; ".join(value for other, value in pairs if other == name) for name in names}


def _paired(results: Results) -> tuple[list[PairedComparison], list[str]]:
    """All pairs of entries on each dataset, and why some cannot be compared."""
    found: list[PairedComparison] = []
    refused: list[str] = []
    for first, second in combinations([entry.label for entry in results.plan.entries], 2):
        mine = [cell for cell in results if cell.cell.entry.label in (first, second)]
        for dataset in dict.fromkeys(cell.cell.task.dataset for cell in mine):
            cells = [cell for cell in mine if cell.cell.task.dataset == dataset]
            figure = next((f for f in COMPARED if any(f in c.figures for c in cells)), None)
            if figure is None or len({cell.cell.entry.label for cell in cells}) < 2:
                continue
            try:
                found += [one for one in compare(cells, first, second, figure) if one.dataset]
            except FmladError as error:
                refused.append(str(error))
    return found, refused


def _failures(results: Results) -> list[tuple[str, str, str]]:
    """Entry, cells and reason of what could not be done; cells of one reason together."""
    found: dict[tuple[str, str], list[Cell]] = {}
    for one in results.failed:
        found.setdefault((one.cell.entry.label, one.message), []).append(one.cell)
    return [(label, _listed(cells), message) for (label, message), cells in found.items()]


def _listed(cells: Sequence[Cell]) -> str:
    named = ([c.task.title, tables.shots_text(c.shots), str(c.seed)] for c in cells)
    tasks, shots, seeds = (", ".join(dict.fromkeys(column)) for column in zip(*named, strict=True))
    count = f"{len(cells)} cell{'s' if len(cells) > 1 else ''}"
    return f"{count} of {tasks}; k {shots}; seeds {seeds}"
