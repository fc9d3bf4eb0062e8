"""The command line as a user meets it: exit codes, one clear line, no traceback."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import fmlad
from fmlad.commands.main import main
from tests.conftest import picture


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def fmlad_cli(*arguments: object) -> Done:
    """Runs a command in this process, through the entry point."""
    code: object = 0
    before, sys.argv = sys.argv, ["fmlad", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as leaving:
        code = leaving.code or 0
    finally:
        sys.argv = before
    assert isinstance(code, int)
    return Done(code, out.getvalue(), err.getvalue())


def fmlad_process(*arguments: object) -> Done:
    """Runs a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "fmlad", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shots = [picture(i) for i in range(4)]
    target = tmp_path_factory.mktemp("detectors") / "board"
    return fmlad.Detector.from_shots(shots, profile="builtin").save(target)


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    home = tmp_path / "queries"
    home.mkdir()
    Image.fromarray(picture(8)).save(home / "good.png")
    Image.fromarray(picture(9, defect=True)).save(home / "scratched.png")
    (home / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return home


@pytest.mark.slow
def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom fmlad.commands.main import cli\nfrom typer.testing import CliRunner\n"
        "print(CliRunner().invoke(cli, ['--help']).output)\n"
        "heavy = {'torch', 'numpy', 'gradio', 'PIL', 'scipy', 'jinja2', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    ).stdout
    for command in ("demo", "fit", "predict", "accept", "undo", "methods", "scenes", "app"):
        assert command in out
    assert out.rstrip().endswith("[]")


def test_version() -> None:
    assert fmlad_cli("--version").stdout.strip() == f"fmlad {fmlad.__version__}"


@pytest.mark.slow
def test_a_process_has_the_exit_codes_of_the_entry_point(saved: Path, queries: Path) -> None:
    for arguments, code in (
        (("predict", saved, queries, "--fail-on-anomaly"), 3),
        (("predict", "no-such-detector", queries), 1),
        (("nonsense",), 2),
    ):
        done, here = fmlad_process(*arguments), fmlad_cli(*arguments)
        assert done._replace(stderr=done.stderr.replace("python -m fmlad", "fmlad")) == here
        assert done.returncode == code


def test_fit_then_predict(folder: Path, queries: Path, tmp_path: Path) -> None:
    out = tmp_path / "detector"
    done = fmlad_cli("fit", folder, "--out", out, "--profile", "builtin")
    assert done.returncode == 0, done.stderr
    assert "4 shots" in done.stdout
    done = fmlad_cli("predict", out, queries / "good.png")
    assert done.returncode == 0
    assert "normal (score" in done.stdout


def test_a_broken_file_is_reported_and_the_rest_is_scored(saved: Path, queries: Path) -> None:
    done = fmlad_cli("predict", saved, queries)
    assert done.returncode == 1
    assert "broken.png" in done.stderr
    assert "good.png: normal" in done.stdout
    assert "scratched.png: anomalous" in done.stdout
    assert "3 images: 1 normal, 1 anomalous, 1 could not be read" in done.stdout


def test_json_has_one_object_a_line_with_the_exact_score(saved: Path, queries: Path) -> None:
    done = fmlad_cli("predict", saved, queries, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(line["name"]).name for line in lines] == [
        "broken.png",
        "good.png",
        "scratched.png",
    ]
    assert "error" in lines[0]
    expected = fmlad.Detector.load(saved).predict(queries / "scratched.png")
    assert lines[2]["score"] == pytest.approx(expected.score, abs=1e-6)
    assert lines[2]["findings"][0]["kind"] == "defect"


def test_fail_on_anomaly_exits_with_three(saved: Path, queries: Path) -> None:
    assert fmlad_cli("predict", saved, queries, "--fail-on-anomaly").returncode == 3
    good = queries / "good.png"
    assert fmlad_cli("predict", saved, good, "--fail-on-anomaly").returncode == 0
    raised = fmlad_cli("predict", saved, good, "--fail-on-anomaly", "--threshold", "0.001")
    assert raised.returncode == 3


def test_overlays_parts_and_maps_are_written(saved: Path, queries: Path, tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("overlays", "parts", "maps")}
    fmlad_cli("predict", saved, queries, *(x for n, f in folders.items() for x in (f"--{n}", f)))
    for name in ("overlays", "parts"):
        assert [p.name for p in sorted(folders[name].iterdir())] == [
            "0002-good.png",
            "0003-scratched.png",
        ]
    shown = fmlad.Detector.load(saved, device="cpu").predict(queries / "scratched.png")
    drawn = np.asarray(Image.open(folders["parts"] / "0003-scratched.png"))
    assert np.array_equal(drawn, np.asarray(shown.parts_overlay()))
    assert np.load(folders["maps"] / "0003-scratched.npy").shape == (120, 160)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fit", "no-such-folder", "--out", "x", "--profile", "builtin"), "does not exist"),
        (("fit", "{shots}", "--out", "x", "--method", "bnaks"), "Did you mean 'banks'"),
        (("fit", "{shots}", "--out", "x", "--profile", "bultin"), "Did you mean 'builtin'"),
        (("fit", "{shots}", "--out", "x", "--profile", "foundation"), "--profile builtin"),
        (("fit", "{shots}", "--out", "x", "--profile", "builtin", "--option", "w=1"), "no option"),
        (("fit", "{shots}", "--out", "x", "--profile", "builtin", "--option", "w"), "NAME=VALUE"),
        (("fit", "{shots}", "--out", "x", "--option", "seed=1"), "no option of a method"),
        (
            ("fit", "{shots}", "--out", "{shots}", "--profile", "builtin"),
            "which no saved detector has",
        ),
        (("predict", "no-such-detector", "{shots}"), "no saved detector"),
        (("predict", "{shots}", "{shots}"), "no saved detector"),
        (("predict", "{saved}", "no-such-image.png"), "does not exist"),
        (("predict", "{saved}", "{shots}", "--threshold", "nan"), "finite"),
        (("scenes", "x", "--category", "pushpin"), "Did you mean 'pushpins'"),
        (("demo", "--category", "pushpin", "--out", "x"), "Did you mean 'pushpins'"),
    ],
)
def test_wrong_input_is_one_clear_line(
    arguments: tuple[str, ...],
    words: str,
    folder: Path,
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = fmlad_cli(*(a.format(shots=folder, saved=saved) for a in arguments))
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("arguments", [("predict",), ("fit", "x", "--nonsense"), ("nonsense",)])
def test_wrong_usage_exits_with_two(arguments: tuple[str, ...]) -> None:
    assert fmlad_cli(*arguments).returncode == 2


def test_methods_lists_options_for_people_and_programs() -> None:
    assert "smoothing" in fmlad_cli("methods").stdout
    listed = json.loads(fmlad_cli("methods", "--json").stdout)
    assert listed["methods"]["banks"]["options"]["window"] == 1
    assert set(listed["profiles"]) == {"builtin", "light", "foundation"}


def test_scenes_writes_a_category(tmp_path: Path) -> None:
    counts = [f"--count={split}=1" for split in ("train", "validation", "test_good")]
    counts += ["--count=test_logical=1", "--count=test_structural=1"]
    done = fmlad_cli("scenes", tmp_path / "s", "--category", "screw_bag", *counts)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "s").rglob("train/good/*.png"))) >= 1


@pytest.mark.slow
def test_demo_writes_a_report_that_needs_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = fmlad_cli("demo", "--out", tmp_path / "demo", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert len(result["cases"]) == 12
    page = Path(result["report"]).read_text()
    assert page.count("<section") == 12
    assert "src='data:image" in page
    assert "src='/" not in page
    assert "http" not in page
    fmlad.Detector.load(result["detector"])
    few = {"validation": 0, "test_good": 1, "test_logical": 1, "test_structural": 1}
    monkeypatch.setattr("fmlad.commands.demo.COUNTS", few)
    again = fmlad_cli("demo", "--out", tmp_path / "demo", "--shots", "1")
    assert again.returncode == 0, again.stderr
    assert "false alarms" in again.stdout


def test_the_demo_leaves_other_peoples_folders_alone(folder: Path) -> None:
    done = fmlad_cli("demo", "--out", folder)
    assert done.returncode == 1
    assert "holds 0.png" in done.stderr
    assert len(list(folder.iterdir())) == 4
