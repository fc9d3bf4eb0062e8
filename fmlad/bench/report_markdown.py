"""The report as one Markdown table with its facts, failures and notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fmlad.bench.groups import Group
from fmlad.bench.model import ALL, Cell, CellResult
from fmlad.bench.published import METRICS, PublishedFigure, published_for
from fmlad.bench.results import Results
from fmlad.bench.summary import Line
from fmlad.bench.tables import (
    FIGURES,
    NOTHING,
    Table,
    TableCell,
    figure_cell,
    percent,
    plain,
    shots_text,
    to_markdown,
)

UNSTATED = "auroc"  # published without saying over what it was averaged
HEADING = ("dataset", "entry", "category prompts", "normals beyond k", "k", "seeds")


def markdown(
    results: Results, groups: Sequence[Group], title: str, facts: Mapping[str, str]
) -> str:
    """The whole file.

    Args:
        results: For failures and notes.
        groups: What the rows are of.
        title: The heading.
        facts: What was run with what.
    """
    found = [line for group in groups for line in group.lines]
    shots = {line.shots for line in found}
    datasets = [group.dataset for group in groups if group.whole]
    beside = [one for name in datasets for one in published_for(name, "") if one.shots in shots]
    shown = [name for name in FIGURES if any(name in line.figures for line in found)]
    extra = [UNSTATED] if any(one.metric == UNSTATED for one in beside) else []
    names = [FIGURES[name] for name in shown] + [METRICS[name] for name in extra]
    rows = [tuple(_row(group, line, shown, extra) for line in group.lines) for group in groups]
    rows.append(tuple(_published(beside, [*shown, *extra])))
    table = Table((*HEADING, *names), tuple(rows), words=3)
    return "\n".join(
        [
            f"# {plain(title)}",
            "",
            *(f"- {name}: {plain(value)}" for name, value in facts.items()),
            "",
            "Percent; mean ± standard deviation over seeds, and the 95 % bootstrap interval of the "
            "mean where there is one.",
            "Rows with a source are published figures and were not run here.",
            "",
            to_markdown(table),
            "",
            *(
                f"- no published figures for {plain(name)}"
                for name in datasets
                if not published_for(name, "")
            ),
            *(f"- failed: {plain(': '.join(parts))}" for parts in failures(results)),
            *(f"- {plain(note)}" for note in notes_of(results)),
            "",
        ]
    )


def notes_of(results: Iterable[CellResult]) -> list[str]:
    """What the datasets and entries noted, each once with its task."""
    return list(
        dict.fromkeys(f"{cell.cell.task.title}: {note}" for cell in results for note in cell.notes)
    )


def failures(results: Results) -> list[tuple[str, str, str]]:
    """Entry, cells and reason of what could not be done; cells of one reason together."""
    found: dict[tuple[str, str], list[Cell]] = {}
    for one in results.failed:
        found.setdefault((one.cell.entry.label, one.message), []).append(one.cell)
    return [
        (
            label,
            f"{len(cells)} cell{'s' if len(cells) > 1 else ''} of "
            f"{_listed(cell.task.title for cell in cells)}; "
            f"k {_listed(shots_text(cell.shots) for cell in cells)}; "
            f"seeds {_listed(str(cell.seed) for cell in cells)}",
            message,
        )
        for (label, message), cells in found.items()
    ]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _row(
    group: Group, line: Line, shown: Sequence[str], extra: Sequence[str]
) -> tuple[TableCell, ...]:
    return (
        TableCell(group.title),
        TableCell(line.entry.label),
        TableCell("yes" if line.category_prompts else "no"),
        TableCell(str(line.normals_beyond_k)),
        TableCell(shots_text(line.shots)),
        TableCell(str(len(line.seeds))),
        *(figure_cell(name, line) for name in shown),
        *(TableCell(NOTHING) for _ in extra),
    )


def _published(
    found: Iterable[PublishedFigure], shown: Sequence[str]
) -> list[tuple[TableCell, ...]]:
    """One row per method, number of shots and source."""
    rows: dict[tuple[TableCell, ...], dict[str, PublishedFigure]] = {}
    for one in found:
        if one.metric in shown:
            who = (
                TableCell(one.dataset),
                TableCell(f"{one.method}, published [{one.grade}] {one.source}"),
                TableCell(one.category_input or "none"),
                TableCell("all" if one.shots == ALL else NOTHING),
                TableCell(one.shots_text),
                TableCell(NOTHING),
            )
            rows.setdefault(who, {})[one.metric] = one
    return [
        (*who, *(TableCell(percent(row[n].value) if n in row else NOTHING) for n in shown))
        for who, row in rows.items()
    ]
