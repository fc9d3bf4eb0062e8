"""The demos run as they stand."""

from __future__ import annotations

import io
import json
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import picture

DEMOS = Path(__file__).parents[1] / "demos"


def run(name: str, *arguments: str) -> str:
    """What a script prints, run in this process."""
    before, sys.argv = sys.argv, [name, *arguments]
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            runpy.run_path(str(DEMOS / name), run_name="__main__")
    finally:
        sys.argv = before
    return said.getvalue()


@pytest.mark.slow
def test_from_shots_makes_its_own_pictures() -> None:
    out = run("from_shots.py")
    assert "score" in out
    assert Path(out.rsplit("heat and boxes: ", 1)[1].strip()).is_file()


def test_from_shots_takes_a_folder_and_a_query(folder: Path, tmp_path: Path) -> None:
    query = tmp_path / "query.png"
    Image.fromarray(picture(9, defect=True)).save(query)
    assert "anomalous" in run("from_shots.py", str(folder), str(query))


@pytest.mark.slow
def test_save_and_serve_judges_what_is_new_and_survives_a_restart(
    folder: Path, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    Image.fromarray(picture(8)).save(inbox / "a.png")
    (inbox / "b.png").write_bytes(b"broken")
    run("save_and_serve.py", str(folder), str(inbox), "--once")
    Image.fromarray(picture(9, defect=True)).save(inbox / "c.png")
    run("save_and_serve.py", str(folder), str(inbox), "--once")
    lines = [json.loads(line) for line in (inbox / "verdicts.jsonl").read_text().splitlines()]
    assert [Path(line["name"]).name for line in lines] == ["a.png", "b.png", "c.png"]
    assert "error" in lines[1]
    assert lines[2]["is_anomalous"]
