"""One cell from nothing but its description, in whatever process: what every engine calls."""

from __future__ import annotations

import traceback
from pathlib import Path

from fmlad.bench.draw import open_task
from fmlad.bench.estimators import ViewCache, make_estimator
from fmlad.bench.model import Cell, CellResult, Estimator, FailedCell, Outcome, Task
from fmlad.bench.runner import run_cell, threads_fixed
from fmlad.datasets.model import Dataset
from fmlad.errors import FmladError


class Workspace:
    """Dataset, views and estimators of the task that a process works on; one task at a time."""

    def __init__(self) -> None:
        self._work: tuple[Task, str] | None = None
        self._dataset: Dataset | None = None
        self._views = ViewCache()
        self._estimators: dict[str, Estimator] = {}

    def open(self, cell: Cell, device: str) -> tuple[Dataset, Estimator]:
        """Dataset and estimator of a cell, those of an earlier cell of the task where it had them.

        Raises:
            FmladError: The dataset is not what the task promises, or the estimator cannot be made.
        """
        if self._work != (cell.task, device) or self._dataset is None:
            self.__init__()  # type: ignore[misc]
            self._dataset = open_task(cell.task)
            self._work = (cell.task, device)
        label = cell.entry.label
        if label not in self._estimators:
            self._estimators[label] = make_estimator(cell.entry, self._views, device)
        return self._dataset, self._estimators[label]


_workspace = Workspace()  # of this process


def forget() -> None:
    """Lets go of what this process keeps between cells."""
    global _workspace
    _workspace = Workspace()


def run_cell_by_value(cell: Cell, device: str, threads: int) -> CellResult:
    """Does one cell.

    Args:
        cell: What is to be done.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        threads: Threads to compute with, at least 1.

    Raises:
        FmladError: The cell cannot be done, for a reason that somebody can mend.
    """
    with threads_fixed(threads):
        return run_cell(cell, *_workspace.open(cell, device))


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
