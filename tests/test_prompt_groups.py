"""Groups of prompt sets: found by name or file, checked, and turned into plain data and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fmlad.commands.main import cli
from fmlad.errors import PromptError
from fmlad.prompts import (
    PromptGroup,
    PromptSet,
    list_prompt_groups,
    list_prompt_sets,
    load_prompts,
    prompts_from_dict,
)

SET = "coarse: {background: [background]}\nfine:\n  part: [%s part]\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for colour in ("red", "blue"):
        (tmp_path / f"{colour}.yaml").write_text(SET % colour)
    return tmp_path


def write(home: Path, text: str) -> Path:
    path = home / "both.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", list_prompt_groups())
def test_bundled_groups_are_their_sets(name: str) -> None:
    group = PromptGroup.load(name)
    assert group.name == name
    for kind, one in group.sets.items():
        assert one == PromptSet.load(f"{name}_{kind}")
    assert len({len(one.parts) for one in group.sets.values()}) == 1  # so that words can compete


def test_which_are_bundled() -> None:
    assert set(list_prompt_groups()) == {
        f"{home}/{product}"
        for home in ("mvtec_loco", "scenes", "scenes/expect")
        for product in ("juice_bottle", "splicing_connectors")
    }
    assert not set(list_prompt_groups()) & set(list_prompt_sets())
    assert list(PromptGroup.load("mvtec_loco/juice_bottle").sets) == ["banana", "cherry", "orange"]
    shown = CliRunner().invoke(cli, ["prompts", "list"])
    assert "scenes/juice_bottle: the group of banana, cherry, orange" in shown.output


def test_a_file_names_sets_beside_it_and_bundled_ones(home: Path) -> None:
    path = write(
        home,
        "description: Two and one more.\n"
        "sets: {crimson: red.yaml, navy: blue.yaml, die: dice}\n"
        "shots: {navy: [3.png, 4.png], crimson: [5.png]}\n",
    )
    group = load_prompts(str(path))
    assert isinstance(group, PromptGroup)
    assert (group.name, group.description) == ("both", "Two and one more.")
    assert group.sets["crimson"].part("part").words == ("red part",)
    assert group.sets["die"] == PromptSet.load("dice")
    assert group.shots == {"3.png": "navy", "4.png": "navy", "5.png": "crimson"}
    again = prompts_from_dict(json.loads(json.dumps(group.to_dict())))
    assert again == group
    assert list(again.sets) == list(group.sets)
    one = prompts_from_dict(PromptSet.load(home / "red.yaml").to_dict())
    assert one == PromptSet.load(home / "red.yaml")


def test_the_group_of_the_docs_is_valid(home: Path) -> None:
    from tests.test_docs import blocks

    text = (Path(__file__).parents[1] / "docs" / "prompts.md").read_text()
    (block,) = [block for block in blocks(text, "yaml") if "\nsets:" in block]
    for kind in ("banana", "cherry"):
        (home / f"{kind}.yaml").write_text(SET % "red")
    group = load_prompts(write(home, block))
    assert isinstance(group, PromptGroup)
    assert list(group.sets) == ["banana", "cherry", "orange"]
    assert group.shots == {"012.png": "cherry", "013.png": "cherry"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sets: {one: red.yaml}", "has 1 prompt sets; expected 2 or more"),
        ("sets: {}", "has 0 prompt sets"),
        ("sets: [red.yaml, blue.yaml]", "line 1: expected 'sets' as 'kind: set' pairs"),
        ("sets: {a: red.yaml, b: [blue.yaml]}", "line 1: expected text for each kind"),
        ("sets: {a: red.yaml, b: no.yaml}", "There is no file .*no.yaml"),
        ("sets: {a: red.yaml, b: no such}", "no bundled prompt set named 'no such'"),
        ("sets: {a: red.yaml, b: blue.yaml}\nshot: {a: [1.png]}", "line 2: .*Did you mean 'shots'"),
        ("sets: {a: red.yaml, b: blue.yaml}\nshots: {c: [1.png]}", "no kind named 'c'"),
        ("sets: {a: red.yaml, b: blue.yaml}\nshots: {a: 1.png}", "a list of file names"),
        ("sets: {a: red.yaml, b: blue.yaml}\nshots: {a: [1.png], b: [1.png]}", "of two kinds"),
    ],
)
def test_mistakes_are_told(home: Path, text: str, message: str) -> None:
    with pytest.raises(PromptError, match=message) as error:
        load_prompts(write(home, text))
    assert "\n" not in str(error.value)


def test_a_set_is_no_group_and_a_group_no_set(home: Path) -> None:
    with pytest.raises(PromptError, match="is one prompt set; expected a group"):
        PromptGroup.load("dice")
    with pytest.raises(PromptError, match=r"group of prompt sets.*scenes/juice_bottle_banana"):
        PromptSet.load("scenes/juice_bottle")
    with pytest.raises(PromptError, match="sets"):
        PromptSet.load(write(home, "sets: {a: red.yaml, b: blue.yaml}"))
    assert load_prompts("dice") == PromptSet.load("dice")
    for bad in (3, None):
        with pytest.raises(PromptError, match="Expected the name"):
            load_prompts(bad)  # type: ignore[arg-type]


def test_pictures_of_one_name_in_two_folders_stay_apart(tmp_path: Path) -> None:
    for kind, value in (("light", 240), ("dark", 20)):
        folder = tmp_path / kind
        folder.mkdir()
        Image.fromarray(np.full((8, 9, 3), value, np.uint8)).save(folder / "part.png")
        (folder / "set.yaml").write_text(
            "coarse: {background: [background]}\nfine: {part: {exemplars: [{crop: part.png}]}}\n"
        )
    path = write(tmp_path, "sets: {light: light/set.yaml, dark: dark/set.yaml}")
    group = PromptGroup.load(path)
    pictures = group.exemplar_pictures()
    assert {name: int(pixels[0, 0, 0]) for name, pixels in pictures.items()} == {
        "light/part.png": 240,
        "dark/part.png": 20,
    }
    apart = PromptGroup.from_dict(group.to_dict()).with_pictures(pictures)
    for kind, one in apart.sets.items():
        pixels, _ = one.exemplar_pixels(one.parts[0].exemplars[0])
        np.testing.assert_array_equal(pixels, pictures[f"{kind}/part.png"])
