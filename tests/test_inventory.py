"""Parts of a detector: listed, shown, named; names hold in findings and after saving."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fmlad import Detector
from fmlad.commands.main import cli
from fmlad.errors import OptionError, UnknownNameError
from tests.methods.banks.test_differences import discs, render


@pytest.fixture(scope="module")
def detector() -> Detector:
    shots = [render(discs("three kinds"), seed) for seed in range(4)]
    return Detector.from_shots(shots, profile="builtin", banks=["histogram", "composition"])


@pytest.fixture
def fresh(detector: Detector, tmp_path: Path) -> Detector:
    return Detector.load(detector.save(tmp_path / "saved", originals=True), device="cpu")


def test_each_part_has_a_letter_its_looks_its_number_and_a_picture(detector: Detector) -> None:
    parts = [part for part in detector.parts if set(part.counts) == {2}]
    assert len(parts) == 3
    assert len({part.name for part in parts}) == 3
    assert any("blue" in part.description for part in parts)
    for part in parts:
        assert part.describe() == f"{part.name} ({part.description}): 2"
        assert json.loads(json.dumps(part.to_dict()))["counts"] == [2, 2, 2, 2]
        picture = detector.part_picture(part.name)
        assert picture is not None
        if "blue" in part.description:
            middle = np.asarray(picture)[picture.height // 2, picture.width // 2].astype(int)
            assert middle[2] > middle[0] + 30


def test_names_hold_in_sentences_segmentation_and_after_saving(fresh: Detector) -> None:
    blue = next(part.name for part in fresh.parts if "blue" in part.description)
    query = render(discs("three kinds")[1:], 9)  # a blue disc is missing
    assert f"{blue} (" in fresh.predict(query).findings[0].text
    fresh.name_parts({blue: "cap"})
    verdict = fresh.predict(query)
    assert verdict.findings[0].part == "cap"
    assert verdict.findings[0].text.startswith("cap missing")
    assert verdict.segmentation is not None
    assert verdict.segmentation.counts()["cap"] == 1
    fresh.name_parts({"cap": "lid"})
    assert {part.name for part in fresh.parts} >= {"lid"}


def test_names_survive_saving_and_further_shots(fresh: Detector, tmp_path: Path) -> None:
    blue = next(part.name for part in fresh.parts if "blue" in part.description)
    fresh.name_parts({blue: "cap"})
    loaded = Detector.load(fresh.save(tmp_path / "again", originals=True), device="cpu")
    assert "cap" in {part.name for part in loaded.parts}
    loaded.add_shots([render(discs("three kinds"), 20)])
    named = next(part for part in loaded.parts if part.name == "cap")
    assert "blue" in named.description


def test_undo_brings_names_back(fresh: Detector) -> None:
    names = {part.name: f"thing {number}" for number, part in enumerate(fresh.parts)}
    fresh.name_parts(names)
    before = [part.describe() for part in fresh.parts]
    fresh.add_shots([render(discs("one kind"), 30)])  # six blue ones: letters change
    fresh.undo()
    assert [part.describe() for part in fresh.parts] == before


def test_names_of_a_prompt_set_are_changed_there(tmp_path: Path) -> None:
    prompts = "coarse: {background: [grey board]}\nfine: {cap: [blue disc]}\n"
    (tmp_path / "set.yaml").write_text(prompts)
    shots = [render(discs("one kind"), seed) for seed in range(2)]
    fitted = Detector.from_shots(shots, prompts=tmp_path / "set.yaml", profile="builtin")
    assert [part.name for part in fitted.parts] == ["cap"]
    with pytest.raises(OptionError, match="from the prompt set"):
        fitted.name_parts({"cap": "lid"})


def test_what_is_no_part_or_no_name_is_refused(fresh: Detector) -> None:
    names = [part.name for part in fresh.parts]
    with pytest.raises(UnknownNameError, match="part Z"):
        fresh.name_parts({"part Z": "pin"})
    with pytest.raises(OptionError, match="give it some letters"):
        fresh.name_parts({names[0]: " "})
    with pytest.raises(OptionError, match="Two parts"):
        fresh.name_parts({names[0]: "pin", names[1]: "pin"})
    with pytest.raises(OptionError, match="cannot be the name"):
        fresh.name_parts({names[0]: names[1]})
    with pytest.raises(OptionError, match="cannot be the name"):
        fresh.name_parts({names[0]: "two\nlines"})
    with pytest.raises(OptionError, match="Names of parts are"):
        fresh.name_parts("pin")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError):
        fresh.part_picture("pin")
    assert [part.name for part in fresh.parts] == names


def test_the_command_lists_names_and_draws(detector: Detector, tmp_path: Path) -> None:
    folder = detector.save(tmp_path / "saved")
    first = detector.parts[0].name
    done = CliRunner().invoke(
        cli, ["parts", str(folder), "--name", f"{first}=pin", "-o", str(tmp_path / "pictures")]
    )
    assert done.exit_code == 0, done.output
    assert done.output.startswith("pin (")
    assert (tmp_path / "pictures" / "pin.png").is_file()
    told = CliRunner().invoke(cli, ["parts", str(folder), "--json"])
    assert json.loads(told.output)[0]["name"] == "pin"


def test_a_detector_without_parts_says_so(tmp_path: Path) -> None:
    shots = [render(discs("one kind"), seed) for seed in range(2)]
    folder = Detector.from_shots(shots, profile="builtin", banks="patch").save(tmp_path / "saved")
    done = CliRunner().invoke(cli, ["parts", str(folder)])
    assert "tells no parts apart" in done.output
