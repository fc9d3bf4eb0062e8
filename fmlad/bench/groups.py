"""Over which tasks means are taken: all of a dataset, and those that some entry is confined to.

A mean over five tasks and one over three of them cannot be compared. So an entry that takes part in
three gets a group of its own, in which everybody else is averaged over the same three.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fmlad.bench.bootstrap import DRAWS
from fmlad.bench.model import CellResult
from fmlad.bench.summary import Line, overall, summarise


@dataclass(frozen=True)
class Group:
    """Tasks of one dataset that means are taken over.

    Attributes:
        dataset, tasks: Names.
        whole: Whether these are all tasks of the dataset.
        lines: One an entry and number of shots that has done all of them.
    """

    dataset: str
    tasks: tuple[str, ...]
    whole: bool
    lines: tuple[Line, ...]

    @property
    def short(self) -> tuple[str, ...]:
        """Its tasks without the name of the dataset."""
        return tuple(task.removeprefix(f"{self.dataset}/") for task in self.tasks)

    @property
    def title(self) -> str:
        """The dataset, with its tasks where they are not all of it."""
        if self.whole:
            return self.dataset
        return f"{self.dataset}: {', '.join(self.short)}"


def groups(
    results: Iterable[CellResult], lines: Sequence[Line] | None = None, *, draws: int = DRAWS
) -> list[Group]:
    """All groups with anything in them, dataset by dataset; ``lines`` may give their summary."""
    cells = list(results)
    known = summarise(cells, draws=draws) if lines is None else lines
    found = []
    for dataset in dict.fromkeys(cell.cell.task.dataset for cell in cells):
        mine = [cell for cell in cells if cell.cell.task.dataset == dataset]
        tasks = tuple(dict.fromkeys(cell.cell.task.title for cell in mine))
        found.append(Group(dataset, tasks, True, tuple(overall(known, dataset))))
        done: dict[str, set[str]] = {}
        for cell in mine:
            done.setdefault(cell.cell.entry.label, set()).add(cell.cell.task.title)
        for some in dict.fromkeys(tuple(t for t in tasks if t in own) for own in done.values()):
            if 1 < len(some) < len(tasks):  # all tasks of an entry that is confined to them
                own = [cell for cell in mine if cell.cell.task.title in some]
                of_some = overall(summarise(own, draws=draws), dataset)
                found.append(Group(dataset, some, False, tuple(of_some)))
    return [group for group in found if group.lines]
