"""The report as one Markdown table with its facts, failures and notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fmlad.bench.groups import Group
from fmlad.bench.model import ALL, Cell, CellResult
from fmlad.bench.published import METRICS, published_for
from fmlad.bench.results import Results
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
    datasets = [group.dataset for group in groups if group.whole]
    unpublished = [name for name in datasets if not published_for(name, "")]
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
            to_markdown(_table(groups, datasets)),
            "",
            *(f"- no published figures for {plain(name)}" for name in unpublished),
            *(f"- failed: {plain(': '.join(parts))}" for parts in failures(results)),
            *(f"- {plain(note)}" for note in notes_of(results)),
            "",
        ]
    )


def _table(groups: Sequence[Group], datasets: Sequence[str]) -> Table:
    """Results, then published figures with the same numbers of shots."""
    found = [line for group in groups for line in group.lines]
    shots = {line.shots for line in found}
    beside = [one for name in datasets for one in published_for(name, "") if one.shots in shots]
    shown = [name for name in FIGURES if any(name in line.figures for line in found)]
    extra = [UNSTATED] if any(one.metric == UNSTATED for one in beside) else []
    rows = []
    for group in groups:
        for line in group.lines:
            words = "yes" if line.category_prompts else "no"
            beyond, seeds = str(line.normals_beyond_k), str(len(line.seeds))
            texts = (group.title, line.entry.label, words, beyond, shots_text(line.shots), seeds)
            figures = (figure_cell(name, line) for name in shown)
            nothing = (TableCell(NOTHING) for _ in extra)
            rows.append((*map(TableCell, texts), *figures, *nothing))
    published: dict[tuple[str, ...], dict[str, str]] = {}
    for one in beside:
        if one.metric in (*shown, *extra):
            who = f"{one.method}, published [{one.grade}] {one.source}"
            beyond = "all" if one.shots == ALL else NOTHING
            given = one.category_input or "none"
            facts = (one.dataset, who, given, beyond, one.shots_text, NOTHING)
            published.setdefault(facts, {})[one.metric] = percent(one.value)
    for key, values in published.items():
        figures = (TableCell(values.get(name, NOTHING)) for name in (*shown, *extra))
        rows.append((*map(TableCell, key), *figures))
    names = [FIGURES[name] for name in shown] + [METRICS[name] for name in extra]
    return Table((*HEADING, *names), (tuple(rows),), words=3)


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
    return [(label, _listed(cells), message) for (label, message), cells in found.items()]


def _listed(cells: Sequence[Cell]) -> str:
    tasks, shots, seeds = (
        ", ".join(dict.fromkeys(names))
        for names in (
            [cell.task.title for cell in cells],
            [shots_text(cell.shots) for cell in cells],
            [str(cell.seed) for cell in cells],
        )
    )
    count = f"{len(cells)} cell{'s' if len(cells) > 1 else ''}"
    return f"{count} of {tasks}; k {shots}; seeds {seeds}"
