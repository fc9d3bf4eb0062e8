"""Tables of results: means over seeds, intervals, and two entries side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fmlad.bench.bootstrap import DRAWS, FIGURES, SEED, Floats, ImageDraws, interval, over_seeds
from fmlad.bench.model import ALL, CellResult, Entry
from fmlad.errors import OptionError, UnknownNameError

LOWER = ("fpr95",)  # is better

AUFC_SHOTS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Figure:
    """One figure over seeds.

    Attributes:
        mean, std: Mean and standard deviation (n - 1); no deviation for one seed.
        low, high: Ends of the 95 % bootstrap interval of the mean; None where there is none.
    """

    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """One entry, one number of shots, and one task or all tasks of a dataset.

    Attributes:
        task: Title of the task; "" for the mean over all ``tasks`` of the dataset.
        shots: How many; ``ALL`` (0) for all.
        images: Test images judged a seed, at most.
        cost: Mean of each cost figure; latencies over all fresh rows.
        category_prompts: Whether it was given words about the category.
        normals_beyond_k: Normal images handed to it beyond its shots, at most.
    """

    entry: Entry
    dataset: str
    task: str
    tasks: int
    shots: int
    seeds: tuple[int, ...]
    images: int
    figures: Mapping[str, Figure]
    cost: Mapping[str, float] = field(default_factory=dict)
    category_prompts: bool = False
    normals_beyond_k: int = 0


@dataclass(frozen=True)
class PairedComparison:
    """A ``figure`` of two entries on the cells that both have finished.

    Attributes:
        dataset: Its name; "" for all.
        shots: How many; None for all.
        cells: Number of pairs of cells of one task, number of shots and seed.
        difference: Mean of first minus second: over seeds within a task and number of shots, then
            over those.
        low, high: Ends of the 95 % paired bootstrap interval; None where the figure cannot be
            drawn again.
        wins: Share of the pairs that the first wins; ties count one half.
    """

    first: str
    second: str
    figure: str
    dataset: str
    shots: int | None
    cells: int
    difference: float
    low: float | None
    high: float | None
    wins: float


def summarise(results: Iterable[CellResult], *, draws: int = DRAWS, seed: int = SEED) -> list[Line]:
    """Means and spreads over seeds, per task and averaged over the tasks of each dataset.

    An average over tasks is given for entries that have finished a common seed on all of them, so
    that no two averages are over different tasks. Lines come by task, then shots, then entry; tasks
    and entries in the order of their first appearance.

    Args:
        results: Finished cells.
        draws, seed: Of the bootstrap; no draws leave intervals out.
    """
    groups = _grouped(results)
    drawn = _Drawn(groups, draws, seed) if draws else None
    lines = []
    for dataset in dict.fromkeys(key.dataset for key in groups):
        keys = [key for key in groups if key.dataset == dataset]
        tasks = list(dict.fromkeys(key.task for key in keys))
        labels = list(dict.fromkeys(key.label for key in keys))
        pairs = {(key.shots, key.label) for key in keys}
        combinations = sorted(pairs, key=lambda p: (p[0] == ALL, p[0], labels.index(p[1])))
        for chosen in [*([task] for task in tasks), *([tasks] if len(tasks) > 1 else [])]:
            title = chosen[0] if len(chosen) == 1 else ""
            for k, label in combinations:
                cells = [groups.get(_Key(dataset, task, k, label), {}) for task in chosen]
                if seeds := sorted(set.intersection(*map(set, cells))):
                    table = [[of_task[seed] for seed in seeds] for of_task in cells]
                    lines.append(_line(title, tuple(seeds), table, drawn))
    return lines


def compare(
    results: Iterable[CellResult],
    first: str,
    second: str,
    figure: str = "auroc_micro",
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> list[PairedComparison]:
    """Two entries cell against cell: same task, same shots, same test images.

    Args:
        results: Finished cells.
        first, second: Labels of entries.
        figure: Name of a figure; higher must be better.
        draws, seed: Of the bootstrap; no draws leave intervals out.

    Returns:
        One for each dataset and number of shots, and, where there are several, one over all.

    Raises:
        UnknownNameError: There is no such label or figure.
        OptionError: The two have no cell in common, or judged different images.
    """
    groups = _grouped(results)
    labels = {key.label for key in groups}
    for label in (first, second):
        if label not in labels:
            raise UnknownNameError.of("entry", label, labels)
    known: set[str] = set()
    by_group: dict[tuple[str, int | None], list[Pairs]] = {}
    for key, mine in groups.items():
        theirs = groups.get(key._replace(label=second), {}) if key.label == first else {}
        both = [(mine[s], theirs[s]) for s in sorted(mine.keys() & theirs.keys())]
        known.update(name for one, _ in both for name in one.figures)
        if kept := [pair for pair in both if all(figure in one.figures for one in pair)]:
            by_group.setdefault((key.dataset, key.shots), []).append(kept)
    if not known:
        raise OptionError(f"{first!r} and {second!r} have no finished cell in common.")
    if figure not in known:
        raise UnknownNameError.of("figure", figure, known)
    if not by_group:
        raise OptionError(f"{first!r} and {second!r} have no cell with {figure!r} in common.")
    everything = [both for group in by_group.values() for both in group]
    for one, other in (pair for both in everything for pair in both):
        if [row.name for row in one.rows] != [row.name for row in other.rows]:
            raise OptionError(
                f"{one.cell.task.title}: {first!r} and {second!r} judged different images; "
                f"their results are of different runs of the data."
            )
    if len(by_group) > 1:
        by_group["", None] = everything
    drawn = _Drawn(groups, draws, seed) if draws and figure in FIGURES else None
    found = []
    for (dataset, k), group in by_group.items():
        differences = [[a.figures[figure] - b.figures[figure] for a, b in both] for both in group]
        flat = [difference for both in differences for difference in both]
        wins = [0.5 * (d == 0) + (d < 0 if figure in LOWER else d > 0) for d in flat]
        low = high = None
        if drawn is not None:
            means = [[drawn.mean(figure, cells) for cells in zip(*both)] for both in group]  # noqa: B905
            low, high = interval(np.mean([a - b for a, b in means], axis=0))
        mean = float(np.mean([np.mean(both) for both in differences]))
        facts = (first, second, figure, dataset, k, len(flat))
        found.append(PairedComparison(*facts, mean, low, high, float(np.mean(wins))))
    return found


def overall(lines: Iterable[Line], dataset: str) -> list[Line]:
    """The lines that speak for a whole dataset: means over its tasks, or those of its only one."""
    mine = [line for line in lines if line.dataset == dataset]
    single = len({line.task for line in mine if line.task}) == 1
    return [line for line in mine if line.task == "" or single]


def aufc(lines: Sequence[Line], label: str, dataset: str) -> float | None:
    """Normalised area under the curve of F1-max over the number of shots.

    Mean F1-max over seeds and tasks at 1, 2, 4 and 8 shots, trapezoids over the number of shots
    itself, divided by 7. Source: evaluation script of the VAND 2025 challenge, category 2
    ("normalized_aufc").

    Returns:
        A value in [0, 1]; None where one of the four is missing.
    """
    mine = [line for line in overall(lines, dataset) if line.entry.label == label]
    figures = {line.shots: line.figures for line in mine}
    if not all("f1_max" in figures.get(k, ()) for k in AUFC_SHOTS):
        return None
    heights = [figures[k]["f1_max"].mean for k in AUFC_SHOTS]
    return float(np.trapezoid(heights, AUFC_SHOTS)) / (AUFC_SHOTS[-1] - AUFC_SHOTS[0])


class _Key(NamedTuple):
    """What the cells of all seeds have in common."""

    dataset: str
    task: str
    shots: int
    label: str


Groups = dict[_Key, dict[int, CellResult]]
Pairs = list[tuple[CellResult, CellResult]]


def _grouped(results: Iterable[CellResult]) -> Groups:
    """Cells by dataset, task, shots and label; then by seed."""
    groups: Groups = {}
    for result in results:
        cell = result.cell
        key = _Key(cell.task.dataset, cell.task.title, cell.shots, cell.entry.label)
        groups.setdefault(key, {})[cell.seed] = result
    return {key: dict(sorted(cells.items())) for key, cells in groups.items()}


class _Drawn:
    """Bootstrap draws: the same images for everybody on a task, the same seeds for every entry."""

    def __init__(self, groups: Groups, draws: int, seed: int) -> None:
        self._seed = seed
        tasks: dict[str, list[CellResult]] = {}
        for key, cells in groups.items():
            tasks.setdefault(key.task, []).extend(cells.values())
        self._images = {
            # Each task has a generator of its own, so that no task changes another's interval.
            task: ImageDraws.of([c.rows for c in cells], self._rng(task), draws)
            for task, cells in tasks.items()
        }

    def mean(self, figure: str, cells: Sequence[CellResult]) -> Floats:
        """``(draws,)`` means over the seeds of one task and number of shots."""
        task = cells[0].cell.task.title
        values = [self._images[task].figure(figure, cell.rows) for cell in cells]
        return over_seeds(values, self._rng(task, cells[0].cell.shots))

    def _rng(self, task: str, shots: int = -1) -> np.random.Generator:
        return np.random.default_rng([self._seed, shots + 1, *task.encode()])


def _line(
    title: str, seeds: tuple[int, ...], table: Sequence[Sequence[CellResult]], drawn: _Drawn | None
) -> Line:
    """A line over one or several tasks; the table has a row per task and a column per seed."""
    flat = [cell for row in table for cell in row]
    figures = {}
    for name in flat[0].figures:
        if not all(name in cell.figures for cell in flat):
            continue
        # First over tasks, then over seeds: the spread is that of the average.
        values = np.mean([[cell.figures[name] for cell in row] for row in table], axis=0)
        low = high = None
        if drawn is not None and name in FIGURES:
            low, high = interval(np.mean([drawn.mean(name, row) for row in table], axis=0))
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        figures[name] = Figure(float(np.mean(values)), std, low, high)
    first = flat[0].cell
    facts = (first.entry, first.task.dataset, title, len(table), first.shots, seeds)
    images = max(len(cell.rows) for cell in flat)
    prompted = first.entry.prompts is not None
    beyond = int(max(cell.cost.get("normals_beyond_k", 0) for cell in flat))
    return Line(*facts, images, figures, _cost(flat), prompted, beyond)


def _cost(cells: Sequence[CellResult]) -> dict[str, float]:
    """Means of the cells' costs; the highest peak; latencies over all their fresh rows."""
    from fmlad.bench.runner import latency

    cost = {}
    for name in dict.fromkeys(name for cell in cells for name in cell.cost):
        values = [cell.cost[name] for cell in cells if name in cell.cost]
        cost[name] = float(max(values) if name == "peak_mb" else np.mean(values))
    for name in ("p50_seconds", "p95_seconds"):
        cost.pop(name, None)
    return cost | latency([row for cell in cells for row in cell.rows])
