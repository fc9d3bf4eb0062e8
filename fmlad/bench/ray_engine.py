"""Cells done by workers on Ray: the same figures; the driver writes finished cells as they come.

A worker keeps the features of the task that it works on, as the local engine does, so cells of one
task go to the same worker as far as that leaves nobody idle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from fmlad.bench.model import Cell, FailedCell, Outcome, Task
from fmlad.bench.worker import attempt
from fmlad.engines import cluster
from fmlad.errors import ClusterError


class RayEngine:
    """Workers on a Ray cluster: one that is there, or one of our own on this machine.

    A worker that dies is replaced and its cell is done again; a cell that three workers died of is
    a :class:`FailedCell`, and the rest goes on.
    """

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        """Chooses; nothing is started yet.

        Args:
            workers: Processes; None means as many as fit.
            address: Of a running cluster; None means ``$RAY_ADDRESS``, else a cluster of our own.

        Raises:
            MissingDependencyError: Ray is not installed.
            OptionError: ``workers`` is not a positive whole number.
        """
        cluster.import_ray()
        cluster.check_count("workers", workers)
        self._workers = workers
        self._address = address

    def run(self, cells: Sequence[Cell], *, device: str, threads: int) -> Iterator[Outcome]:
        """See :class:`fmlad.bench.worker.Engine`.

        Raises:
            OptionError: So many workers do not fit on the cluster.
            ClusterError: There is no cluster, or its workers cannot do the work.
        """
        if not cells:
            return
        setting = cluster.setting(threads, needed=any(map(_is_relative, cells)))
        with cluster.connected(self._address) as ray:
            pool = cluster.worker_pool(ray, self._workers, threads, device, len(cells))
            arguments = setting, pool.device
            take = TaskQueue(cells).take
            for cell, outcome in cluster.work_off(ray, pool, BenchWorker, arguments, take):
                lost = isinstance(outcome, ClusterError)
                yield FailedCell(cell, "ClusterError", str(outcome)) if lost else outcome


class TaskQueue:
    """Waiting cells by task, and which one a worker does next."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._waiting: dict[Task, deque[Cell]] = {}
        for cell in cells:
            self._waiting.setdefault(cell.task, deque()).append(cell)
        self._at: dict[int, Task] = {}

    def take(self, worker: int) -> Cell | None:
        """The next cell of the worker's task; of a new task where that is done; None at the end.

        A new task is one that no worker is at, in the order of the cells; else the one with the
        most cells for each of those that would share it.
        """

        def need(task: Task) -> float:
            others = list(self._at.values()).count(task)
            return len(self._waiting[task]) / (others + 1) if others else float("inf")

        task = self._at.get(worker)
        if task is None or not self._waiting[task]:
            self._at.pop(worker, None)
            left = [task for task, cells in self._waiting.items() if cells]
            if not left:
                return None
            task = self._at[worker] = max(left, key=need)  # the first of equals
        return self._waiting[task].popleft()


class BenchWorker(cluster.Worker):
    """Does cells in a process of its own."""

    def __init__(self, setting: cluster.Setting, device: str) -> None:
        super().__init__(setting)
        self._how = device, setting.threads.torch

    def do(self, job: Cell) -> Outcome:
        """What came of a cell."""
        return attempt(job, *self._how)


def _is_relative(cell: Cell) -> bool:
    prompts = [p for p in (cell.task.prompts, cell.entry.prompts) if p]
    files = [p for p in prompts if p.endswith((".yaml", ".yml"))]
    return any(not Path(file).is_absolute() for file in (cell.task.root, *files))
