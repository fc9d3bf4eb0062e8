"""The README's table of methods and datasets, from a condensed results file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.suite_runs import condensed
from fmlad.bench.groups import groups
from fmlad.bench.results import load
from tests.bench.report_support import BAD_NAME, write_results
from tools.docs import markdown, suites


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    for name in ("bench-training-free", "bench-peers"):
        (home / f"{name}.json").write_text(json.dumps(content))
    return home


def test_rows_are_methods_and_columns_datasets(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markdown, "RESULTS", results)
    text = suites.tables("bench-peers", "Anything")
    lines = json.loads((results / "bench-peers.json").read_text())["figures"]["groups"][0]["lines"]
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


def test_bench_and_peers_pages_have_their_own_file(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {name: markdown.content(name) for name in ("bench-training-free", "bench-peers")}
    monkeypatch.setattr(suites, "content", kept.__getitem__)
    assert "Methods that need no training" in suites.training_free()[0]
    assert suites.peers_page()[0].startswith("**A real pretrained network")


def test_a_table_has_a_row_per_line_and_a_side_per_column() -> None:
    assert markdown.table(("a", "b"), [(1, "x"), "| ready | made |"]) == [
        "| a | b |",
        "|---|---|",
        "| 1 | x |",
        "| ready | made |",
    ]


def test_an_unknown_sheet_is_told_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tools.docs.__main__ import main

    monkeypatch.setattr("sys.argv", ["tools.docs", "sheets", "pie"])
    with pytest.raises(SystemExit):
        main()
    assert "no sheet pie; known: scenes, parts" in capsys.readouterr().err
