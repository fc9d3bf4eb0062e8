"""The README's table of methods and datasets, from a condensed results file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fmlad.bench.groups import condensed, groups
from fmlad.bench.results import load
from tests.bench.report_support import BAD_NAME, write_results
from tools import bench_tables, readme_tables


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("bench")
    write_results(home / "r", failing=False)
    content = {
        "protocol": "suite x",
        "command": "python -m benchmarks.training_free",
        "commit": "0123456789abcdef",
        "dirty": False,
        "seeds": [0, 1, 2],
        "figures": {"groups": condensed(groups(load(home / "r"), draws=0))},
    }
    (home / "results.json").write_text(json.dumps(content))
    return home / "results.json"


def test_rows_are_methods_and_columns_datasets(file: Path) -> None:
    text = bench_tables.tables(file, "Anything")
    lines = json.loads(file.read_text())["figures"]["groups"][0]["lines"]
    first = next(row for row in text if row.startswith("| 1 | banks |"))
    for name in ("auroc_logical", "auroc_structural"):
        figure = lines[0]["figures"][name]
        assert f"{figure['mean']:.3f} +- {figure['std']:.3f}" in first
    told = next(row for row in text if row.startswith("| 1 | clip-lad, category prompts |"))
    assert told.startswith("| 1 | clip-lad, category prompts | yes | 7 | – | **")
    assert any("mvtec_loco: sPRO@0.05" in row for row in text)
    assert BAD_NAME.replace("|", "\\|") in "\n".join(text)
    assert text[-1] == "`python -m benchmarks.training_free`, commit 0123456789ab; suite x."
    assert text[0].startswith("**Anything**")
    assert "seeds 0, 1, 2" in text[0]
    rows = [row.replace("\\|", "") for row in text if row.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1


def test_readme_and_peers_page_have_their_own_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_tables, "TRAINING_FREE", file)
    assert "Methods that need no training" in bench_tables.readme()[0]
    assert "\n".join(bench_tables.readme()) in readme_tables.tables()
    monkeypatch.setattr(bench_tables, "PEERS", file)
    assert bench_tables.peers_page().startswith("**A real pretrained network")
