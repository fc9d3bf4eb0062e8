"""Who does the cells: this process one by one, or others. The numbers are the same bit for bit.

Every engine calls :func:`attempt`, which needs nothing but its arguments, so that it may run in any
process on any machine that has the images.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from fmlad.bench.contestants import Gallery, make_contestant
from fmlad.bench.draw import open_task
from fmlad.bench.model import Cell, CellResult, Contestant, FailedCell, Outcome, Task
from fmlad.bench.runner import run_cell, threads_fixed
from fmlad.datasets.model import Dataset
from fmlad.errors import FmladError, UnknownNameError

ENGINES = ("local", "ray")


class Engine(Protocol):
    """Does cells."""

    def run(self, cells: Sequence[Cell], *, device: str, threads: int) -> Iterator[Outcome]:
        """Yields what came of each cell as it is done, in any order.

        A cell that raises is a :class:`FailedCell`, and the rest goes on.
        """
        ...


class LocalEngine:
    """This process, one cell after the other in the given order."""

    def run(self, cells: Sequence[Cell], *, device: str, threads: int) -> Iterator[Outcome]:
        """See :class:`Engine`."""
        for cell in cells:
            yield attempt(cell, device, threads)


class Workshop:
    """Dataset, gallery and contestants of the task that a process works on; one task at a time."""

    def __init__(self) -> None:
        self._work: tuple[Task, str] | None = None
        self._dataset: Dataset | None = None
        self._gallery = Gallery()
        self._contestants: dict[str, Contestant] = {}

    def open(self, cell: Cell, device: str) -> tuple[Dataset, Contestant]:
        """Dataset and contestant of a cell, those of an earlier cell of the task where it had them.

        Raises:
            FmladError: The dataset is not what the task promises, or the contestant cannot be made.
        """
        if self._work != (cell.task, device) or self._dataset is None:
            self.clear()
            self._dataset = open_task(cell.task)
            self._work = (cell.task, device)
        label = cell.entry.label
        if label not in self._contestants:
            self._contestants[label] = make_contestant(cell.entry, self._gallery, device)
        return self._dataset, self._contestants[label]

    def clear(self) -> None:
        """Forgets all, and lets go of the memory."""
        self.__init__()  # type: ignore[misc]


_workshop = Workshop()  # of this process


def run_cell_by_value(cell: Cell, device: str, threads: int) -> CellResult:
    """Does one cell from nothing but its description.

    Args:
        cell: What is to be done.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        threads: Threads to compute with, at least 1.

    Raises:
        FmladError: The cell cannot be done, for a reason that somebody can mend.
    """
    with threads_fixed(threads):
        dataset, contestant = _workshop.open(cell, device)
        return run_cell(cell, dataset, contestant)


def attempt(cell: Cell, device: str, threads: int) -> Outcome:
    """:func:`run_cell_by_value`, with whatever went wrong as a :class:`FailedCell`.

    A night's run must not end, and end again at the same cell when it is resumed, because memory
    ran out or a peer divided by zero; where in the code that was is part of the message.
    """
    try:
        return run_cell_by_value(cell, device, threads)
    except FmladError as error:
        return FailedCell(cell, type(error).__name__, str(error))
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}"
        return FailedCell(cell, type(error).__name__, f"{error} ({where})")


def forget() -> None:
    """Lets go of what this process keeps between cells."""
    _workshop.clear()


def make_engine(engine: str | Engine) -> Engine:
    """An engine by name, or the one that is given.

    Raises:
        UnknownNameError: There is no such engine.
        MissingDependencyError: Its package is not installed.
    """
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise UnknownNameError.of("engine", engine, ENGINES)
    if engine == "local":
        return LocalEngine()
    made: Engine = importlib.import_module("fmlad.bench.ray_engine").RayEngine()
    return made
