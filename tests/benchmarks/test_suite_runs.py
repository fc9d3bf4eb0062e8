"""From a results folder to the condensed file; the suite itself is for the benchmark."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import common, suite_runs
from fmlad.bench.results import Results, load
from tests.bench.report_support import write_results
from tools.docs import markdown, suites


@pytest.mark.slow
@pytest.mark.parametrize("failing", [False, True])
def test_a_run_is_condensed_unless_cells_failed(
    failing: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(suite: str, out: Path, **_: Any) -> Results:
        assert (suite, out.parent) == ("training-free", tmp_path / "out")
        write_results(out, failing=failing, categories=("pushpins", "screw_bag"))
        return load(out)

    monkeypatch.setattr(suite_runs.bench, "run", run)
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["training_free", "--out", str(tmp_path / "out")])
    assert suite_runs.run_suite("training-free", "One line.") == int(failing)
    (folder,) = (tmp_path / "out").iterdir()
    assert folder.name == common.code_name()
    assert "python -m benchmarks.training_free" in (folder / "report.html").read_text()
    file = tmp_path / "results" / "bench-training-free.json"
    assert file.exists() is not failing
    if not failing:
        kept = json.loads(file.read_text())
        assert kept["seeds"] == [0, 1, 2]
        assert kept["protocol"].startswith("suite training-free: 2 tasks, k 1, 4, seeds 0, 1, 2")
        monkeypatch.setattr(markdown, "RESULTS", tmp_path / "results")
        assert len(suites.tables("bench-training-free", "Any")) > 10
