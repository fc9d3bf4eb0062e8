"""Runs: resumed, failed, interrupted and killed; the table is the same in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import fmlad
from fmlad.bench.model import Cell, CellResult, Entry, Outcome
from fmlad.bench.results import Results, load, run
from fmlad.bench.worker import LocalEngine, attempt
from fmlad.errors import OptionError, UnknownNameError
from tests.bench import support
from tests.bench.support import fake, plan_of

PATCH = Entry("patch", "banks", "builtin", {"banks": ["patch"], "registration": False})


def table(results: Results) -> list[tuple[Any, ...]]:
    """All that must not hang on when and in how many goes it was done."""
    return [
        (r.cell.key, r.shots, [(w.name, w.score, w.threshold) for w in r.rows], dict(r.figures))
        for r in results
    ]


def test_it_is_reached_by_a_bare_import() -> None:
    assert fmlad.bench.run is run


def test_a_run_fills_the_folder_and_tells_its_pace(pictures: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    results = run(plan_of(pictures), tmp_path / "r", progress=lambda *step: told.append(step))
    assert (len(results), results.failed, results.missing) == (4, (), 0)
    assert [done for done, _, _ in told] == [0, 1, 2, 3, 4]
    assert "s a cell" in told[1][2]
    assert "left" in told[1][2]
    assert load(tmp_path / "r") == results


def test_finished_cells_are_not_repeated(pictures: Path, tmp_path: Path) -> None:
    first = run(plan_of(pictures), tmp_path / "r")
    support.made.clear()
    again = run(plan_of(pictures), tmp_path / "r")
    assert support.made == []
    assert again == first
    more = run(plan_of(pictures, seeds=(0, 1, 2)), tmp_path / "r")
    assert len(support.made[0].fits) == 2
    assert len(more) == 6


def test_another_plan_in_the_folder_keeps_what_is_there(pictures: Path, tmp_path: Path) -> None:
    run(plan_of(pictures, fake("a")), tmp_path / "r")
    both = run(plan_of(pictures, fake("b")), tmp_path / "r")
    assert [result.cell.entry.label for result in both] == ["b"] * 4 + ["a"] * 4


def test_a_cell_that_fails_is_told_and_tried_again(pictures: Path, tmp_path: Path) -> None:
    gone = tmp_path / "weights are missing"
    gone.touch()
    plan = plan_of(pictures, fake("a", refuses_while=str(gone)), fake("b"))
    results = run(plan, tmp_path / "r")
    assert [result.cell.entry.label for result in results] == ["b"] * 4
    assert {failed.error for failed in results.failed} == {"WeightsUnavailableError"}
    assert "fetch them" in results.failed[0].message
    gone.unlink()
    results = run(plan, tmp_path / "r")
    assert len(results) == 8
    assert results.failed == ()
    assert not list((tmp_path / "r" / "cells").glob("*failed*"))


def test_an_interruption_leaves_what_is_finished(pictures: Path, tmp_path: Path) -> None:
    plan = plan_of(pictures, fake("a"), fake("b", crashes=True))
    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path / "r")
    results = load(tmp_path / "r")
    assert len(results) == 4
    assert results.missing == 4


class Backwards(LocalEngine):
    """Yields the last cell first."""

    def run(self, cells: Sequence[Cell], *, device: str, threads: int) -> Iterator[Outcome]:
        yield from super().run(cells[::-1], device=device, threads=threads)


@pytest.mark.slow
def test_neither_order_nor_company_changes_a_digit(pictures: Path, tmp_path: Path) -> None:
    plan = plan_of(pictures, PATCH, fake(), shots=(1,))
    forwards = run(plan, tmp_path / "f")
    backwards = run(plan, tmp_path / "b", engine=Backwards())
    assert table(forwards) == table(backwards)
    alone = attempt(plan.cells()[1], "cpu", 1)
    assert isinstance(alone, CellResult)
    assert alone.figures == forwards.cells[1].figures
    assert [row.score for row in alone.rows] == [row.score for row in forwards.cells[1].rows]


def test_threads_are_those_of_the_plan_and_of_the_first_run(pictures: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    run(plan_of(pictures, threads=0, seeds=(0,)), tmp_path / "r")
    assert load(tmp_path / "r").plan.threads == before
    torch.set_num_threads(before + 1)
    try:
        results = run(plan_of(pictures, threads=0), tmp_path / "r")
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    assert results.plan.threads == before
    assert {result.environment["threads"] for result in results} == {str(before)}


def test_names_that_do_not_exist(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'local'"):
        run(plan_of(pictures), tmp_path / "r", engine="locl")
    with pytest.raises(UnknownNameError, match="Did you mean 'training-free'"):
        run("trainingfree", tmp_path / "r")
    with pytest.raises(OptionError, match="not usable here"):
        run(plan_of(pictures), tmp_path / "r", device="nowhere")
    assert not (tmp_path / "r").exists()


SCRIPT = """
import sys, time
from pathlib import Path
from fmlad.bench.results import run
from tests.bench import support
from tests.bench.test_results import PATCH

support.install()
root, out, wait = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
real = support.Fake.score
def slow(self, image):
    time.sleep(wait)
    return real(self, image)
support.Fake.score = slow
run(support.plan_of(root, support.fake(), PATCH, seeds=(0, 1, 2), shots=(2,)), out)
"""


def start(root: Path, out: Path, wait: float) -> subprocess.Popen[bytes]:
    home = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(root), str(out), str(wait)], env=environment
    )


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_table(
    pictures: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(plan_of(pictures, fake(), PATCH, seeds=(0, 1, 2), shots=(2,)), whole)
    process = start(pictures, killed, 0.1)
    deadline = time.monotonic() + 300
    while len(list(killed.glob("cells/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    finished = {path: path.stat().st_mtime_ns for path in killed.glob("cells/*.json")}
    assert 2 <= len(finished) < 6
    assert start(pictures, killed, 0.0).wait(300) == 0
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())
    assert table(load(killed)) == table(load(whole))
    assert load(killed).missing == 0


def test_a_kill_in_the_middle_of_writing_is_as_if_nothing_was_written(
    pictures: Path, tmp_path: Path
) -> None:
    plan = plan_of(pictures)
    whole = run(plan, tmp_path / "r")
    first = plan.cells()[0]
    (tmp_path / "r" / "cells" / f"{first.key}.json").unlink()  # rows come first
    (tmp_path / "r" / "cells" / ".abcd.partial").write_text('{"format": 1, "ce')
    assert load(tmp_path / "r").missing == 1
    assert table(run(replace(plan), tmp_path / "r")) == table(whole)


def test_a__ends_its_cells_and_not_the_run(pictures: Path, tmp_path: Path) -> None:
    plan = plan_of(pictures, fake("a", breaks=True), fake("b"), shots=(1,), seeds=(0,))
    results = run(plan, tmp_path / "r", threads=1)
    assert [one.cell.entry.label for one in results.failed] == ["a"]
    assert results.failed[0].error == "ZeroDivisionError"
    assert results.failed[0].message.startswith("division by zero (support.py, line ")
    assert [cell.cell.entry.label for cell in results] == ["b"]
    assert results.plan.threads == 1
