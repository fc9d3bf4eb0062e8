"""`fmlad datasets`, as a user meets it: through the real entry point."""

from __future__ import annotations

import json
from pathlib import Path

from fmlad.datasets import list_datasets
from tests.commands.test_main import fmlad_cli
from tests.datasets import trees


def test_list() -> None:
    done = fmlad_cli("datasets", "list")
    assert done.returncode == 0
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == list_datasets()
    assert sorted(json.loads(fmlad_cli("datasets", "list", "--json").stdout)) == list_datasets()


def test_show(tmp_path: Path) -> None:
    trees.mvtec(tmp_path / "bottle")
    trees.mvtec(tmp_path / "screw")
    done = fmlad_cli("datasets", "show", "mvtec_ad", str(tmp_path))
    assert done.returncode == 0
    assert "bottle: 3 train, test 2 good + 4 structural, with masks\n" in done.stdout
    assert "  screw has 3 training images here, the official dataset 320.\n" in done.stdout
    done = fmlad_cli("datasets", "show", "mvtec_ad", str(tmp_path), "--category", "screw", "--json")
    (row,) = json.loads(done.stdout)
    assert (row["category"], row["train"], row["structural"], row["masks"]) == ("screw", 3, 4, True)


def test_show_says_what_is_wrong_and_shows_the_rest(tmp_path: Path) -> None:
    trees.mvtec(tmp_path / "bottle")
    trees.image(tmp_path / "screw" / "train" / "good" / "000.png")
    done = fmlad_cli("datasets", "show", "mvtec_ad", str(tmp_path))
    assert done.returncode == 1
    assert "bottle: 3 train" in done.stdout
    assert "has no folder test; found: train/" in done.stdout
    done = fmlad_cli("datasets", "show", "mvtec_ad", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert "does not exist" in done.stderr


def test_show_makes_nothing(tmp_path: Path) -> None:
    done = fmlad_cli("datasets", "show", "scenes", str(tmp_path))
    assert done.returncode == 0
    assert "pushpins: Not there yet; it is rendered when needed." in done.stdout
    assert list(tmp_path.iterdir()) == []
