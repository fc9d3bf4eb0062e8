"""Cells from nothing but their description, in whatever process, and the engine of this process."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from fmlad.bench.draw import open_task
from fmlad.bench.estimators import ViewCache, make_estimator
from fmlad.bench.model import Cell, CellResult, Entry, Estimator, FailedCell, Outcome, Task
from fmlad.bench.runner import run_cell, threads_fixed
from fmlad.errors import FmladError
from fmlad.training.loop import seeded


class Workspace:
    """Dataset, views and estimators of one task on one device."""

    def __init__(self, task: Task, device: str) -> None:
        self.work = (task, device)
        self.dataset = open_task(task)
        self._views = ViewCache()
        self._estimators: dict[str, Estimator] = {}

    def estimator(self, entry: Entry) -> Estimator:
        """That of an entry, made once."""
        if entry.label not in self._estimators:
            self._estimators[entry.label] = make_estimator(entry, self._views, self.work[1])
        return self._estimators[entry.label]


_workspace: Workspace | None = None  # of the task that this process works on


def forget() -> None:
    """Lets go of what this process keeps between cells."""
    global _workspace
    _workspace = None


def run_cell_by_value(cell: Cell, device: str, threads: int) -> CellResult:
    """Does one cell on a device, with at least one thread.

    Raises:
        FmladError: The cell cannot be done, for a reason that somebody can mend.
    """
    global _workspace
    # Ours are handed a generator; peers may draw from global ones.
    with threads_fixed(threads), seeded(cell.seed, "cpu"):
        if _workspace is None or _workspace.work != (cell.task, device):
            _workspace = None  # lets go of the memory first
            _workspace = Workspace(cell.task, device)
        return run_cell(cell, _workspace.dataset, _workspace.estimator(cell.entry))


def attempt(cell: Cell, device: str, threads: int) -> Outcome:
    """:func:`run_cell_by_value`, with whatever went wrong as a :class:`FailedCell`.

    A long run must not end, and end again at the same cell when it is resumed, because memory ran
    out or a peer divided by zero; where in the code that was is part of the message.
    """
    try:
        return run_cell_by_value(cell, device, threads)
    except FmladError as error:
        return FailedCell(cell, type(error).__name__, str(error))
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}"
        return FailedCell(cell, type(error).__name__, f"{error} ({where})")


class Engine(Protocol):
    """Does cells, in this process or in others; the numbers are the same bit for bit."""

    def run(self, cells: Sequence[Cell], *, device: str, threads: int) -> Iterator[Outcome]:
        """Yields what came of each cell as it is done, in any order.

        A cell that raises is a :class:`FailedCell`, and the rest goes on.
        """


class LocalEngine:
    """This process, one cell after the other in the given order."""

    def run(self, cells: Sequence[Cell], *, device: str, threads: int) -> Iterator[Outcome]:
        """See :class:`Engine`."""
        return (attempt(cell, device, threads) for cell in cells)
