"""Cells by workers: the same table, whatever happens to the workers."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fmlad.bench import ray_engine
from fmlad.bench.model import Cell, Entry, Task
from fmlad.bench.plan import Plan
from fmlad.bench.ray_engine import RayEngine, TaskQueue
from fmlad.bench.results import load, run
from fmlad.engines import cluster
from fmlad.errors import BackboneMismatchError, ClusterError, MissingDependencyError, OptionError
from tests.bench import support
from tests.bench.support import fake
from tests.bench.test_results import PATCH, table
from tests.engines.conftest import ray  # noqa: F401 (a fixture)

MARK = "FMLAD_TEST_MARK"  # settings of fmlad's own reach the workers


class LocalWorker(ray_engine.BenchWorker):
    """A worker that sees the small dataset and the fake estimators."""

    def work(self, job: Cell) -> Any:
        if self._setting is not None:
            support.install()
        return super().work(job)


class DiesOnce(LocalWorker):
    """The first worker that comes to a cell of seed 1 dies."""

    def work(self, job: Cell) -> Any:
        mark = Path(os.environ[MARK])
        if job.seed == 1 and not mark.exists():
            mark.touch()
            os._exit(1)
        return super().work(job)


class DiesOfSeedOne(LocalWorker):
    def work(self, job: Cell) -> Any:
        if job.seed == 1:
            os._exit(1)
        return super().work(job)


class NeverStarts(LocalWorker):
    def work(self, job: Cell) -> Any:
        os._exit(1)


class Breaks(LocalWorker):
    def work(self, job: Cell) -> Any:
        raise ZeroDivisionError("of ours")


@pytest.fixture(autouse=True)
def _small_world_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "BenchWorker", LocalWorker)


def plan_of(pictures: Path, *entries: Entry) -> Plan:
    """Two tasks, and all entries on both."""
    tasks = tuple(Task(name, str(pictures), "") for name in ("board", "pool"))
    return support.plan_of(pictures, *entries, tasks=tasks, shots=(1,))


@pytest.fixture
def plan(pictures: Path) -> Plan:
    """A method and a fake."""
    return plan_of(pictures, PATCH, fake())


@pytest.fixture
def fakes(pictures: Path) -> Plan:
    """Where it does not matter what is computed."""
    return plan_of(pictures, fake("a"), fake("b"))


def finished(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in sorted(folder.glob("cells/*.json"))}


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_the_table_is_that_of_one_process(plan: Plan, tmp_path: Path) -> None:
    told: list[int] = []
    there = run(
        plan, tmp_path / "ray", engine=RayEngine(2), progress=lambda done, *_: told.append(done)
    )
    assert support.made == []  # nothing was done here
    assert told == list(range(9))
    here = run(plan, tmp_path / "local")
    assert (len(there), there.failed, there.missing) == (8, (), 0)
    assert table(there) == table(here)
    assert [cell.environment["threads"] for cell in there] == ["1"] * 8


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_worker_that_dies_costs_a_retry(
    fakes: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "BenchWorker", DiesOnce)
    monkeypatch.setenv(MARK, str(tmp_path / "died"))
    there = run(fakes, tmp_path / "ray", engine=RayEngine(1))
    assert (tmp_path / "died").exists()
    assert len(there) == 8
    assert table(there) == table(run(fakes, tmp_path / "local"))


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_cell_that_kills_every_worker_fails_and_is_tried_again(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = support.plan_of(pictures, shots=(1,), seeds=(0, 1, 2))
    monkeypatch.setattr(ray_engine, "BenchWorker", DiesOfSeedOne)
    there = run(plan, tmp_path / "ray", engine=RayEngine(1))
    assert [cell.cell.seed for cell in there] == [0, 2]
    (failed,) = there.failed
    assert (failed.cell.seed, failed.error) == (1, "ClusterError")
    assert "3 workers died" in failed.message
    before = finished(tmp_path / "ray")
    monkeypatch.setattr(ray_engine, "BenchWorker", LocalWorker)
    again = run(plan, tmp_path / "ray", engine=RayEngine(1))
    assert len(again) == 3
    after = finished(tmp_path / "ray")
    assert all(after[path] == when for path, when in before.items() if path in after)
    assert table(again) == table(run(plan, tmp_path / "local"))


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_run_of_one_engine_is_resumed_by_the_other(fakes: Plan, tmp_path: Path) -> None:
    out = tmp_path / "r"
    run(replace(fakes, seeds=(0,)), out)
    before = finished(out)
    assert len(before) == 4
    both = run(fakes, out, engine=RayEngine(1))
    assert len(both) == 8
    assert all(finished(out)[path] == when for path, when in before.items())
    assert table(both) == table(run(fakes, tmp_path / "local"))
    assert load(out).missing == 0


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_what_ends_a_run(fakes: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="at most 4 workers"):
        run(fakes, tmp_path / "r", engine=RayEngine(5))
    monkeypatch.setattr(ray_engine, "BenchWorker", Breaks)
    with pytest.raises(RuntimeError, match="of ours"):
        run(fakes, tmp_path / "r", engine=RayEngine(1))
    monkeypatch.setattr(ray_engine, "BenchWorker", LocalWorker)
    real = cluster.setting
    other = lambda threads, needed: replace(real(threads, needed), version="0.0")  # noqa: E731
    monkeypatch.setattr(cluster, "setting", other)
    with pytest.raises(BackboneMismatchError, match=r"0\.0"):
        run(fakes, tmp_path / "r", engine=RayEngine(1))
    assert load(tmp_path / "r").cells == ()


class Broken:
    """In place of Ray: no worker ever answers."""

    class exceptions:
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            pass

    def wait(self, waiting: list[Any], num_returns: int) -> Any:
        return waiting[:1], waiting[1:]

    def get(self, done: Any) -> Any:
        raise self.exceptions.RayError("the worker died\nand so on")


def test_a_cluster_on_which_nothing_works_is_left_soon() -> None:
    actor = type("Actor", (), {"work": type("Call", (), {"remote": lambda *_: object()})})
    outcomes = []
    with pytest.raises(ClusterError, match=r"cannot go on \(the worker died\)"):  # noqa: PT012
        for _, outcome in cluster._handed_out(Broken(), [actor], TaskQueue(cells("a", 50)).take):
            outcomes.append(outcome)
    assert [type(outcome) for outcome in outcomes] == [ClusterError] * cluster.LOST


def cells(category: str, count: int) -> list[Cell]:
    task = Task("board", "/pictures", category)
    return [Cell(Entry("a", "banks"), task, 1, seed) for seed in range(count)]


def test_a_task_stays_with_its_worker_and_nobody_is_idle() -> None:
    queue = TaskQueue([*cells("a", 4), *cells("b", 2), *cells("c", 6)])
    taken: dict[int, list[str]] = {0: [], 1: []}
    for worker in (0, 1) * 6:  # in turn, as if all cells took the same time
        cell = queue.take(worker)
        assert cell is not None
        taken[worker].append(cell.task.category)
    assert taken == {0: list("aaaacc"), 1: list("bbcccc")}
    assert queue.take(0) is None


def test_one_task_is_shared_where_there_is_no_other() -> None:
    queue = TaskQueue(cells("a", 3))
    seeds = [cell.seed for worker in (0, 1, 2) if (cell := queue.take(worker)) is not None]
    assert seeds == [0, 1, 2]
    assert queue.take(1) is None


def test_help_goes_where_most_is_left() -> None:
    queue = TaskQueue([*cells("a", 2), *cells("b", 9)])
    queue.take(0), queue.take(1)
    cell = queue.take(2)
    assert cell is not None
    assert cell.task.category == "b"


def test_without_ray_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, plan: Plan, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "fmlad\[ray\]"'):
        run(plan, tmp_path / "r", engine="ray")


def test_an_engine_is_given_a_sensible_number_of_workers() -> None:
    with pytest.raises(OptionError, match="workers must be a positive whole number"):
        RayEngine(0)
    assert list(RayEngine(1).run([], device="cpu", threads=1)) == []
