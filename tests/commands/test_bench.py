"""``fmlad bench`` and ``fmlad eval``, through the real parser and the real datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import fmlad
from fmlad.bench import worker
from fmlad.commands.main import cli
from fmlad.errors import FmladError
from tests.conftest import picture

SIZE = (48, 64)


@pytest.fixture
def line(tmp_path: Path) -> Path:
    """A folder of one's own in a plain layout: train, test/good, test/scratch."""
    root = tmp_path / "line"
    for folder, count, odd in (("train/good", 5, False), ("test/good", 3, False),
                               ("test/scratch", 3, True)):  # fmt: skip
        (root / folder).mkdir(parents=True)
        for index in range(count):
            pixels = picture(50 * odd + 10 * ("test" in folder) + index, SIZE, defect=odd)
            Image.fromarray(pixels).save(root / folder / f"{index}.png")
    worker.forget()
    return root


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The one line of an error that ``main`` would print."""
    done = invoke(*arguments)
    assert isinstance(done.exception, FmladError), done.output
    message = str(done.exception)
    assert "\n" not in message
    return message


def bench(line: Path, out: Path, *more: object) -> tuple[object, ...]:
    return (
        "bench", "run", "--dataset", "folder", "--root", line, "--out", out, "--profile", "builtin",
        "--method", "patch=banks", "--option", 'patch:banks=["patch"]', "--shots", "1,2",
        "--seeds", "1", "--threads", "1", *more,
    )  # fmt: skip


def test_run_show_compare_and_resume(line: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    done = invoke(*bench(line, out, "--method", "far=banks", "--option", "far:banks=patch",
                         "--option", "far:registration=false"))  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "4 cells finished, 0 failed, 0 missing" in done.stdout
    assert "[4/4]" in done.stderr
    assert "left" in done.stderr
    first = json.loads(invoke("bench", "show", out, "--json").stdout)
    assert [entry["entry"]["label"] for entry in first["lines"]] == ["patch", "far"] * 2
    assert first["lines"][0]["entry"]["options"] == {"banks": ["patch"]}
    assert "auroc_micro" in first["lines"][0]["figures"]
    again = invoke(*bench(line, out), "--json")
    assert json.loads(again.stdout)["cells"] == 4  # those of "far" stay
    done = invoke("bench", "compare", out, "patch", "far")
    assert "auroc_micro: patch - far" in done.stdout
    told: list[dict[str, Any]] = json.loads(
        invoke("bench", "compare", out, "patch", "far", "--json").stdout
    )
    assert [one["shots"] for one in told] == [1, 2, None]
    assert "Did you mean 'patch'" in refused("bench", "compare", out, "ptch", "far")


def test_a_plan_from_a_file(line: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "entries: [{label: p, method: banks, profile: builtin, options: {banks: [patch]}}]\n"
        f"tasks: [{{dataset: folder, root: {line.name}, images: 2}}]\nshots: [2]\nseeds: [4]\n"
    )
    done = invoke("bench", "run", "--plan", plan, "--out", tmp_path / "r", "--json")
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["lines"]
    assert (found["shots"], found["seeds"], found["images"]) == (2, [4], 4)


def test_a_label_may_look_like_markup(line: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "entries: [{label: 'far [patch] [/b]', method: banks, profile: builtin, "
        "options: {banks: [patch]}}]\n"
        f"tasks: [{{dataset: folder, root: {line.name}, images: 2}}]\nshots: [2]\nseeds: [4]\n"
    )
    done = invoke("bench", "run", "--plan", plan, "--out", tmp_path / "r", "--threads", "1")
    assert done.exit_code == 0, done.output
    assert "far [patch] [/b]" in done.stdout
    assert json.loads((tmp_path / "r" / "plan.json").read_text())["threads"] == 1


@pytest.mark.slow
def test_another_folder_of_the_same_title_is_not_taken_for_the_first(
    line: Path, tmp_path: Path
) -> None:
    assert invoke(*bench(line, tmp_path / "r")).exit_code == 0
    image = next(line.rglob("*.png"))
    image.write_bytes(image.read_bytes() + b" ")
    assert "its files are others now" in refused(*bench(line, tmp_path / "r"))


def test_a_failed_cell_is_told_and_exits_with_one(line: Path, tmp_path: Path) -> None:
    (line / "test" / "good" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    done = invoke(*bench(line, tmp_path / "r"))
    assert done.exit_code == 1
    assert "failed: " in done.stderr
    assert "1.png" in done.stderr
    assert "0 cells finished, 2 failed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--out", "r"), "got none of them"),
        (("run", "--out", "r", "--suite", "trained", "--dataset", "folder"), "got --suite and"),
        (("run", "--out", "r", "--suite", "trained", "--method", "banks"), "a suite says that"),
        (("run", "--out", "r", "--suite", "trained", "--shots", "1"), "--shots goes with"),
        (("run", "--out", "r", "--suite", "trained", "--no-localise"), "--localise goes with"),
        (("run", "--out", "r", "--plan", "no.yaml", "--profile", "light"), "--profile goes with"),
        (
            (
                "run",
                "--out",
                "r",
                "--dataset",
                "folder",
                "--root",
                "{line}",
                "--method",
                "x=banks",
                "--method",
                "x=sam-lad",
            ),
            "one label",
        ),
        (("run", "--out", "r", "--suite", "traind"), "Did you mean 'trained'"),
        (("run", "--out", "r", "--plan", "no.yaml"), "cannot be read"),
        (("run", "--out", "r", "--dataset", "folder", "--method", "banks"), "needs --root"),
        (("run", "--out", "r", "--dataset", "folder", "--root", "{line}"), "needs --method"),
        (("show", "{line}"), "holds no results"),
    ],
)
def test_usage_that_does_not_fit(line: Path, arguments: tuple[str, ...], words: str) -> None:
    given = [argument.replace("{line}", str(line)) for argument in arguments]
    assert words in refused("bench", *given)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--option", "banks=1"), "LABEL:NAME=VALUE"),
        (("--option", "ptch:banks=1"), "Did you mean 'patch'"),
        (("--option", "patch:bnks=1"), "Did you mean 'banks'"),
        (("--prompts", "patch=dice"), "makes no use of prompts"),
        (("--validation", "other"), "no entry named 'other'"),
        (("--shots", "one"), "whole numbers"),
        (("--shots", "6"), "has 5 training images"),
        (("--engine", "locl"), "Did you mean 'local'"),
        (("--root", "nowhere"), "nowhere"),
    ],
)
def test_entries_that_do_not_fit(
    line: Path, tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    assert words in refused(*bench(line, tmp_path / "r"), *more)
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_eval_prints_figures(line: Path, tmp_path: Path) -> None:
    detector = fmlad.Detector.from_shots(
        line / "train" / "good", method="banks", profile="builtin", banks=("patch",)
    ).save(tmp_path / "d")
    given = ("eval", detector, "--dataset", "folder", "--root", line)
    done = invoke(*given)
    assert done.exit_code == 0, done.output
    assert "folder" in done.stdout
    assert "auroc_micro: " in done.stdout
    assert "called anomalous, good: " in done.stdout
    told = json.loads(invoke(*given, "--json").stdout)
    assert len(told["rows"]) == 6
    assert f"auroc_micro: {told['figures']['auroc_micro']:.3f}" in done.stdout
    assert "line" in refused("eval", tmp_path / "line", "--dataset", "folder", "--root", line)
