"""Running a plan into a folder, and what is in it afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fmlad.bench.model import CellResult, FailedCell
from fmlad.bench.plan import Plan, load_plan
from fmlad.bench.store import DATA, Store
from fmlad.bench.worker import Engine, LocalEngine, forget
from fmlad.errors import UnknownNameError
from fmlad.progress import Progress, silent


@dataclass(frozen=True)
class Results:
    """What is in a results folder.

    Iterating gives its finished cells.

    Attributes:
        plan: The plan that was run last.
        cells: All finished cells, those of the plan in its order first.
        failed: Cells of the plan that could not be done when they were last tried.
        missing: How many cells of the plan are neither finished nor failed.
    """

    folder: Path
    plan: Plan
    cells: tuple[CellResult, ...]
    failed: tuple[FailedCell, ...] = ()
    missing: int = 0

    def __iter__(self) -> Iterator[CellResult]:
        return iter(self.cells)

    def __len__(self) -> int:
        return len(self.cells)


def run(
    plan: Plan | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    engine: str | Engine = "local",
    device: str = "auto",
    shared: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    root: str | os.PathLike[str] | None = None,
    profile: str | None = None,
) -> Results:
    """Does what a plan asks for and is not yet in the folder.

    Every finished cell is written at once. Started again, a run repeats none of them; cells that
    failed are tried again.

    Args:
        plan: A :class:`Plan`, the name of a suite (``"training-free"``, ``"peers"``,
            ``"trained"``, ``"loco"``), or the path of a YAML or JSON file.
        out: Results folder; made if need be.
        engine: ``"local"``, ``"ray"``, or an engine.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        shared: Folder with the photographs of the suites; None means ``$FMLAD_SHARED``, else
            ``../shared``. Without effect on other plans.
        threads: Of each cell, instead of the plan's own; 0 means what torch would take.
        progress: Called as ``progress(done, total, what)`` before the first cell and after each.
        root: Folder of MVTec LOCO AD, for the suite ``"loco"`` alone.
        profile: Of all entries of that suite; None means ``$FMLAD_PROFILE``, else ``"builtin"``.

    Raises:
        OptionError: The plan or the folder does not fit.
        WeightsUnavailableError: Weights of the suite ``"loco"`` are not on this machine.
        DatasetError: A dataset is not where or what the plan says.
        CorruptResultsError: A finished cell in the folder is damaged.
    """
    from fmlad.bench.suites import LOCO, SUITES, check_free, make_suite
    from fmlad.profiles import pick_device

    worker = _engine(engine)
    device = pick_device(device)
    store = Store(out)
    store.check_folder()
    if isinstance(plan, str) and (plan in (*SUITES, LOCO) or not Path(plan).suffix):
        data = store.folder / DATA
        planned = make_suite(plan, data, shared, progress, root=root, profile=profile)
    elif isinstance(plan, Plan):
        check_free("a plan", root, profile)
        planned = plan
    else:
        check_free(os.fsdecode(plan), root, profile)
        planned = load_plan(plan)
    wanted = planned.threads if threads is None else threads
    planned = replace(planned, threads=wanted or _threads(store))
    cells, digests = planned.opened(progress)
    store.begin(planned, cells, digests)
    todo = [cell for cell in cells if not store.has(cell)]
    tell, total = progress or silent, len(cells)
    already, start = total - len(todo), time.monotonic()
    tell(already, total, f"{already} of {total} cells are there already")
    try:
        outcomes = worker.run(todo, device=device, threads=planned.threads)
        for count, outcome in enumerate(outcomes, start=1):
            if isinstance(outcome, FailedCell):
                store.keep_failure(outcome)
            else:
                store.keep(outcome)
            each = (time.monotonic() - start) / count
            left = _span(each * (len(todo) - count))
            tell(already + count, total, f"{_told(outcome)} ({each:.1f} s a cell, {left} left)")
    finally:
        forget()
    return load(out)


def load(folder: str | os.PathLike[str]) -> Results:
    """Reads a results folder; the datasets need not be there.

    Raises:
        OptionError: There are no results in it.
        CorruptResultsError: A file in it is damaged.
    """
    store = Store(folder)
    plan, order = store.plan(), store.order()
    found = {result.cell.key: result for result in store.read()}
    failed = {failure.cell.key: failure for failure in store.failures()}
    cells = {key: found[key] for key in order if key in found} | found
    lost = tuple(failed[key] for key in order if key in failed and key not in found)
    missing = sum(key not in found and key not in failed for key in order)
    return Results(store.folder, plan, tuple(cells.values()), lost, missing)


def _engine(engine: str | Engine) -> Engine:
    if engine == "ray":
        from fmlad.bench.ray_engine import RayEngine

        return RayEngine()
    if engine == "local":
        return LocalEngine()
    if isinstance(engine, str):
        raise UnknownNameError.of("engine", engine, ("local", "ray"))
    return engine


def _threads(store: Store) -> int:
    """Those of the run that is resumed, else what torch would take here."""
    import torch

    return (store.plan().threads if store.exists else 0) or torch.get_num_threads()


def _told(outcome: CellResult | FailedCell) -> str:
    cell = outcome.cell
    shots = f"{cell.shots or 'all'} shot{'s' if cell.shots != 1 else ''}"
    failed = ", failed" if isinstance(outcome, FailedCell) else ""
    return f"{cell.task.title}, {cell.entry.label}, {shots}, seed {cell.seed}{failed}"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
