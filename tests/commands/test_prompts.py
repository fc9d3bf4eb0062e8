"""`fmlad prompts`, as a user meets it: through the real entry point."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fmlad.prompts import PromptSet, list_prompt_groups, list_prompt_sets
from tests.commands.test_main import fmlad_cli

GOOD = "coarse: {background: [background]}\nfine: {nut: [small nut]}\n"
BAD = "coarse: {background: [background]}\nfine:\n  nut: []\n"


def test_list() -> None:
    done = fmlad_cli("prompts", "list")
    assert done.returncode == 0
    names = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert names == [*list_prompt_sets(), *list_prompt_groups()]
    assert json.loads(fmlad_cli("prompts", "list", "--json").stdout) == list_prompt_sets()


def test_show() -> None:
    for name in ("example", "dice_six"):
        shown = fmlad_cli("prompts", "show", name)
        assert shown.returncode == 0
        as_json = fmlad_cli("prompts", "show", name, "--json").stdout
        for content in (yaml.safe_load(shown.stdout), json.loads(as_json)):
            assert PromptSet.from_dict(content) == PromptSet.load(name)


def test_lint(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD)
    bad.write_text(BAD)
    done = fmlad_cli("prompts", "lint", good, "dice")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{good}: ok (1 part)\ndice: ok (1 part)\n"
    done = fmlad_cli("prompts", "lint", bad, good, tmp_path / "none.yaml")
    assert done.returncode == 1
    assert done.stdout == f"{good}: ok (1 part)\n"
    assert f"error: {bad}, line 3: 'nut' is empty" in done.stderr
    assert "no file" in done.stderr


def test_lint_for_programs(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    done = fmlad_cli("prompts", "lint", bad, "dice", "--json")
    assert done.returncode == 1
    first, second = json.loads(done.stdout)
    assert first["file"] == str(bad)
    assert "line 3" in first["error"]
    assert second == {"file": "dice", "error": None}


def test_lint_for_a_profile() -> None:
    done = fmlad_cli("prompts", "lint", "mvtec_loco/pushpins", "--profile", "builtin")
    assert done.returncode == 1
    assert "mvtec_loco/pushpins: The phrase 'plastic box'" in done.stderr
    assert fmlad_cli("prompts", "lint", "dice", "example", "--profile", "builtin").returncode == 0
    assert fmlad_cli("prompts", "lint", "dice", "--profile", "other").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "dize"), 1, "Did you mean 'dice'"),
        (("show", "none.yaml"), 1, "no file"),
        (("lint",), 2, "Missing argument"),
        (("compare",), 2, "Missing argument"),
    ],
)
def test_wrong_input(arguments: tuple[str, ...], code: int, said: str) -> None:
    done = fmlad_cli("prompts", *arguments)
    assert done.returncode == code
    assert said in done.stderr


@pytest.mark.slow
def test_listing_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom fmlad.commands.main import cli\nfrom typer.testing import CliRunner\n"
        "print(CliRunner().invoke(cli, ['prompts', 'list']).output)\n"
        "print(sorted({'torch', 'numpy', 'gradio', 'PIL', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Only the set with exemplars opens pictures.
    assert "torch" not in done.stdout.splitlines()[-1]
    assert "dice" in done.stdout
