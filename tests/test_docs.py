"""README and docs: their code runs as it stands, their numbers are those of the results files."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

import fmlad
from fmlad import profiles
from fmlad.errors import CheckpointError, OptionError
from fmlad.methods import registry
from tests.commands.test_main import fmlad_cli
from tests.conftest import picture

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.S)


def test_the_six_lines_of_the_readme_run(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / "normal_images")
    Image.fromarray(picture(9, defect=True)).save(tmp_path / "query.png")
    exec(blocks(README, "python")[0], {})
    assert "anomalous" in capsys.readouterr().out
    assert (tmp_path / "my-detector" / "detector.json").is_file()


@pytest.mark.slow
def test_the_command_line_of_the_readme_runs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / "normal_images")
    (tmp_path / "incoming").mkdir()
    Image.fromarray(picture(0)).save(tmp_path / "incoming" / "a.png")  # a shot: normal for sure
    Image.fromarray(picture(20, defect=True)).save(tmp_path / "incoming" / "0417.png")
    for kind, seeds in (("good", range(10, 13)), ("scratched", range(14, 15))):
        (tmp_path / "parts" / kind).mkdir(parents=True)
        for seed in seeds:
            image = Image.fromarray(picture(seed, defect=kind != "good"))
            image.save(tmp_path / "parts" / kind / f"{seed}.png")
    lines = [line for block in blocks(README, "bash") for line in block.splitlines()]
    ours = [shlex.split(line, comments=True) for line in lines if line.startswith("fmlad ")]
    commands = {words[1] for words in ours}
    assert commands >= {"fit", "predict", "methods", "app", "datasets", "bench", "eval"}
    for words in ours:
        if words[1] in ("app", "demo"):  # a server, and a test of its own
            continue
        done = fmlad_cli(*words[1:])
        expected = 3 if "--fail-on-anomaly" in words else 0
        assert done.returncode == expected, (words, done.stderr)
    assert (tmp_path / "results" / "report.html").is_file()


def test_the_two_commands_are_what_ci_and_the_bootstrap_offer() -> None:
    commands = [line for block in blocks(README, "bash") for line in block.splitlines()]
    assert "python3 tools/bootstrap.py fmlad demo" in commands
    tests = "python3 tools/bootstrap.py pytest -n 2 --dist loadfile"
    assert tests in commands
    assert tests.replace("-n 2", "-n 3") in (ROOT / ".ci" / "run").read_text()  # a full core


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_and_pictures_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith("http"):
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_numbers_of_the_readme_are_those_of_the_results() -> None:
    from tools.docs.tables import BEGIN, END, PAGES

    for path, content in PAGES.items():
        text = (ROOT / path).read_text()
        assert text.split(BEGIN)[1].split(END)[0].strip() == "\n".join(content()), path


def test_the_code_of_the_metrics_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks((ROOT / "docs" / "metrics.md").read_text(), "python")[0], {})
    assert capsys.readouterr().out == "1.0\n"


@pytest.fixture
def documented(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The methods of the page, registered as plug-ins would be."""
    methods = {}
    for code in blocks((ROOT / "docs" / "add-a-method.md").read_text(), "python"):
        name = code.split(".py", 1)[0].split("/")[-1]
        module = ModuleType(f"my_package.{name}")
        monkeypatch.setitem(sys.modules, f"my_package.{name}", module)
        exec(code, module.__dict__)
        methods[name] = module.METHOD
    monkeypatch.setattr(registry, "_METHODS", methods)
    registry._homes.cache_clear()
    yield
    registry._homes.cache_clear()


@pytest.mark.usefixtures("documented")
def test_the_method_of_the_docs_is_a_method(tmp_path: Path) -> None:
    shots = [picture(i) for i in range(3)]
    detector = fmlad.Detector.from_shots(shots, method="brightness", profile="builtin", least=0.0)
    dark = picture(9) // 2
    score = detector.predict(dark).score
    assert score > 10
    assert detector.predict(dark).findings[0].kind == "defect"
    assert fmlad.Detector.load(detector.save(tmp_path / "d")).predict(dark).score == score


@pytest.mark.usefixtures("documented")
def test_the_trained_method_of_the_docs_trains(tmp_path: Path) -> None:
    options: dict[str, Any] = {"method": "reconstruction", "profile": "builtin", "steps": 150}
    shots = [picture(i) for i in range(6)]
    told: list[str] = []
    detector = fmlad.Detector.from_shots(
        shots,
        checkpoint=tmp_path / "run",
        progress=lambda done, total, what: told.append(what),
        **options,
    )
    assert any("loss" in what for what in told)
    assert detector.calibration.source == "held-out"
    assert [report.score is None for report in detector.shots].count(False) == 1
    good, bad = (detector.predict(picture(9, defect=defect)) for defect in (False, True))
    assert bad.score > 1.5 * good.score
    assert detector.predict(picture(9)).p_value is not None
    # The same seed gives the same network, saved or trained again.
    for other in (
        fmlad.Detector.load(detector.save(tmp_path / "saved")),
        fmlad.Detector.from_shots(shots, **options),
        fmlad.Detector.from_shots(shots, checkpoint=tmp_path / "run", resume=True, **options),
    ):
        assert other.predict(picture(9, defect=True)).score == bad.score
    with pytest.raises(CheckpointError, match="its shots"):
        fmlad.Detector.from_shots(shots[1:], checkpoint=tmp_path / "run", resume=True, **options)
    with pytest.raises(OptionError, match="makes no use of labels"):
        fmlad.Detector.from_shots(shots, labels=[], **options)


def test_the_trained_method_of_the_docs_has_60_lines() -> None:
    code = blocks((ROOT / "docs" / "add-a-method.md").read_text(), "python")[1]
    assert len([line for line in code.splitlines() if line and not line.startswith("#")]) <= 60


def test_the_backbone_of_the_docs_is_a_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("my_package.edges")
    monkeypatch.setitem(sys.modules, "my_package.edges", module)
    exec(blocks((ROOT / "docs" / "add-a-backbone.md").read_text(), "python")[0], module.__dict__)
    monkeypatch.setattr(profiles, "_BACKBONES", (*profiles._BACKBONES, module.ENTRY))
    profiles._entries.cache_clear()
    try:
        detector = fmlad.Detector.from_shots(
            [picture(i) for i in range(3)],
            profile="builtin",
            backbones={"feature_extractor": "my:edges@1"},
        )
        assert detector.predict(picture(9, defect=True)).is_anomalous
    finally:
        profiles._entries.cache_clear()
