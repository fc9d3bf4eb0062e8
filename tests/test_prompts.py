"""Prompt sets: what they hold, how they are found, and what each mistake is answered with."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import fmlad
from fmlad.errors import PromptError
from fmlad.prompts import Exemplar, Expectation, PromptSet, Relation, list_prompt_sets
from fmlad.prompts.sets import bundled_folder
from fmlad.prompts.text import MOST_BYTES

ROOT = Path(__file__).parents[1]
MINIMAL = "coarse: {background: [background]}\nfine:\n"
SUBTYPES = {
    "breakfast_box",
    *(f"juice_bottle_{fruit}" for fruit in ("banana", "orange", "cherry")),
    "pushpins",
    "screw_bag",
    *(f"splicing_connectors_{colour}" for colour in ("yellow", "blue", "red")),
}


def read(text: str, folder: Path | None = None) -> PromptSet:
    return PromptSet.from_text(text, "my.yaml", folder)


# --- what is in one ------------------------------------------------------------------------------


def test_everything_in_the_example() -> None:
    prompts = PromptSet.load("example")
    assert prompts.name == "example"
    assert prompts.background == ("background",)
    assert prompts.foreground == ("shiny silver screw", "golden brass screw")
    assert prompts.part_names == ("long screw", "short screw", "washer", "nut")
    assert prompts.part("short screw").expect == Expectation((1, 1), (0.02, 0.3))
    assert prompts.part("washer").exemplars[0] == Exemplar("example.jpg", (103, 41, 157, 94))
    assert prompts.part("nut").exemplars == (Exemplar("example-nut.jpg"),)
    assert {part.decide for part in prompts.parts} == {"region"}
    assert prompts.templates[0] == "a photo of a {}."
    assert prompts.normal_states == ("intact {}", "clean {}", "{} in perfect condition")
    words, owners = prompts.phrases()
    assert words == ("long thin screw", "long thin bolt", "short thin elongated screw")
    assert owners == (0, 0, 1)


def test_the_example_comments_every_key() -> None:
    text = (ROOT / "prompts" / "example.yaml").read_text()
    for key in ("name", "description", "coarse", "background", "foreground", "fine", "decide",
                "words", "exemplars", "image", "box", "crop", "expect", "templates", "states",
                "normal", "abnormal"):  # fmt: skip
        assert f"{key}:" in text
    for rule in ("15", "2..3", "30%..40%", "left of", "right of", "above", "below", "inside"):
        assert rule in text


def test_defaults() -> None:
    prompts = read(MINIMAL + "  nut: [nut, hex nut]\n  cap: {words: [cap], decide: region}")
    assert (prompts.name, prompts.description, prompts.templates) == ("", "", ())
    assert prompts.foreground == ("nut", "hex nut", "cap")  # the parts' own words
    assert [part.decide for part in prompts.parts] == ["patch", "region"]
    assert prompts.part("nut").expect is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("15", Expectation((15, 15))),
        ("0", Expectation((0, 0))),
        ("2..3", Expectation((2, 3))),
        ("2 .. 3", Expectation((2, 3))),
        ("30%..40%", Expectation(None, (0.3, 0.4))),
        ("0.5%..33.33%", Expectation(None, (0.005, 0.3333))),
        ("left of b", Expectation(None, None, (Relation("left of", "b"),))),
        ("[2, 1%..2%, above b, left  of b]", Expectation(
            (2, 2), (0.01, 0.02), (Relation("above", "b"), Relation("left of", "b")))),
    ],
)  # fmt: skip
def test_expectations(written: str, expected: Expectation) -> None:
    prompts = read(f"{MINIMAL}  a: {{words: [x], expect: {written}}}\n  b: [y]")
    assert prompts.part("a").expect == expected
    assert PromptSet.from_dict(prompts.to_dict()) == prompts


def test_words_are_trimmed_and_kept_in_order() -> None:
    prompts = read(f"{MINIMAL}  a: ['  long   screw ', Bolt]")
    assert prompts.part("a").words == ("long screw", "Bolt")


def test_it_is_frozen_and_has_no_surprises() -> None:
    prompts = read(f"{MINIMAL}  a: [x]")
    with pytest.raises(dataclasses.FrozenInstanceError):
        prompts.name = "other"  # type: ignore[misc]
    with pytest.raises(PromptError, match="no part named 'b'"):
        prompts.part("b")


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_prompt_sets())
def test_every_bundled_set_survives_json(name: str) -> None:
    prompts = PromptSet.load(name)
    again = PromptSet.from_dict(json.loads(json.dumps(prompts.to_dict())))
    assert again == prompts
    assert prompts.name == name
    assert prompts.description


def test_json_of_others_is_checked_and_the_place_named() -> None:
    data: dict[str, Any] = {"coarse": {"background": ["background"]}, "fine": {"a": ["x", 7]}}
    with pytest.raises(PromptError, match="prompt set > fine > a > 1: expected text, got 7"):
        PromptSet.from_dict(data)
    for bad in (None, [], 3, "text", {1: 2}):
        with pytest.raises(PromptError):
            PromptSet.from_dict(bad)


def test_saved_exemplars_do_not_need_their_pictures() -> None:
    again = PromptSet.from_dict(PromptSet.load("example").to_dict())
    with pytest.raises(PromptError, match=r"example\.jpg"):
        again.exemplar_pixels(again.part("washer").exemplars[0])


def test_exemplar_pixels() -> None:
    prompts = PromptSet.load("example")
    pixels, box = prompts.exemplar_pixels(prompts.part("washer").exemplars[0])
    assert pixels.shape == (200, 260, 3)
    assert box == (103, 41, 157, 94)
    crop, whole = prompts.exemplar_pixels(prompts.part("nut").exemplars[0])
    assert whole == (0, 0, crop.shape[1], crop.shape[0])


# --- finding them --------------------------------------------------------------------------------


def test_the_bundled_sets_are_all_there() -> None:
    names = set(list_prompt_sets())
    assert names == {
        "dice",
        "dice_six",
        "example",
        *(f"{home}/{s}" for home in ("mvtec_loco", "scenes", "scenes/expect") for s in SUBTYPES),
    }
    assert fmlad.PromptSet is PromptSet
    assert fmlad.list_prompt_sets() == list_prompt_sets()


def test_the_sets_with_expectations_are_the_others_and_expectations() -> None:
    for name in (*(f"scenes/{subtype}" for subtype in SUBTYPES), "dice"):
        plain = PromptSet.load(name)
        asking = PromptSet.load(
            name.replace("scenes/", "scenes/expect/").replace("dice", "dice_six")
        )
        assert all(part.expect is None for part in plain.parts)
        assert any(part.expect is not None for part in asking.parts)
        bare = tuple(dataclasses.replace(part, expect=None) for part in asking.parts)
        assert (bare, asking.background, asking.decide) == (
            plain.parts, plain.background, plain.decide,
        )  # fmt: skip


@pytest.mark.parametrize("layout", ["wheel", "checkout"])
def test_the_bundled_folder_of_a_wheel_and_of_a_checkout(tmp_path: Path, layout: str) -> None:
    package = tmp_path / "fmlad"
    home = package / "prompts" / "bundled" if layout == "wheel" else tmp_path / "prompts"
    home.mkdir(parents=True)
    if layout == "checkout":
        (tmp_path / "pyproject.toml").touch()
    assert bundled_folder(package) == home


def test_a_folder_called_prompts_in_site_packages_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    with pytest.raises(PromptError, match="install fmlad again"):
        bundled_folder(tmp_path / "fmlad")


def test_the_wheel_takes_the_folder_to_where_it_is_looked_for() -> None:
    import tomllib

    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["force-include"] == {"prompts": "fmlad/prompts/bundled"}
    assert build["targets"]["wheel"]["packages"] == ["fmlad"]
    assert "/prompts" in build["targets"]["sdist"]["include"]


def test_a_folder_of_scenes_does_not_hide_a_bundled_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scenes" / "pushpins").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert PromptSet.load("scenes/pushpins").part_names[0] == "red pushpin"


def test_a_file_is_taken_by_path_and_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(f"{MINIMAL}  a: [x]", encoding="utf-8-sig")  # with a byte-order mark
    for given in (path, str(path), os.fsencode(path).decode()):
        assert PromptSet.load(given).name == "mine"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("dize", r"Did you mean 'dice'.*with \.yaml"),
        ("", "no bundled prompt set"),
        ("x" * 5000, "no bundled prompt set"),
        ("x" * 5000 + ".yaml", "cannot be read"),
        ("../dice", "no bundled prompt set"),
        ("a\0b", "no bundled prompt set"),
        ("a\0b.yaml", "cannot be read"),
        ("nope.yaml", r"no file nope\.yaml"),
        (Path("dice"), "no file dice"),
        (os.devnull, "no regular file"),
        (7, "got int"),
        (None, "got NoneType"),
    ],
)
def test_what_cannot_be_found(given: Any, said: str) -> None:
    with pytest.raises(PromptError, match=said):
        PromptSet.load(given)


def test_what_is_no_text_file(tmp_path: Path) -> None:
    for content, said in (
        (b"", "is empty"),
        (b"\x89PNG\0\0", "binary data"),
        (b"fine:\n  a: [x]\n# caf\xe9", "line 3: not UTF-8"),
        (b"# " + b"x" * MOST_BYTES, "larger than 64 KiB"),
        ("coarse: {}".encode("utf-16"), "UTF-8|binary"),
    ):
        path = tmp_path / "bad.yaml"
        path.write_bytes(content)
        with pytest.raises(PromptError, match=said) as caught:
            PromptSet.load(path)
        assert str(path) in str(caught.value)
    with pytest.raises(PromptError, match="is a folder"):
        PromptSet.load(tmp_path)


# --- mistakes: each names the file, the line, and what to do -------------------------------------

FINE = "fine:\n"
COARSE = "coarse: {background: [background]}\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        # not YAML, or too much of it
        ("a: b: c", 1, "not valid YAML"),
        ("fine:\n\ta: [x]", 2, "not valid YAML"),
        (COARSE + "fine: [", 2, "not valid YAML"),
        (COARSE + "---\nfine: 1", 2, "not valid YAML"),
        ("a: \x07", 1, r"'\\x07' is not allowed"),
        ("[" * 500, 1, "nested more than"),
        ("a: &x [b]\nc: [*x, *x]", 1, "anchors"),
        ("a: *x", 1, "anchors"),
        ("a: !!python/object/apply:os.system [ls]", 1, "tag"),
        ("fine: !!set {a, b}", 1, "tag"),
        (COARSE + "fine: {a: !mine [x]}", 2, "tag"),
        # shape
        ("- a\n- b", 1, "expected a prompt set"),
        ("just text", 1, "expected a prompt set"),
        (COARSE + FINE + "  a: [x]\nfine: {b: [y]}", 4, "second time.*line 2"),
        (COARSE + FINE + "  a: [x]\n  a: [y]", 4, "second time.*line 3"),
        (COARSE + FINE + "  a: [x]\ncolour: red", 4, "unknown key 'colour'"),
        (COARSE + FINE + "  a: {word: [x]}", 3, "Did you mean 'words'"),
        ("coarse:\n  backgruond: [b]\nfine: {a: [x]}", 2, "Did you mean 'background'"),
        (COARSE + FINE + "  5: [x]", 3, "quotes"),
        (COARSE + FINE + "  [a, b]: [x]", 3, "got a list"),
        # coarse
        ("fine: {a: [x]}", 1, "'coarse' is missing"),
        ("coarse: [background]\nfine: {a: [x]}", 1, "expected 'coarse' as"),
        ("coarse: {foreground: [y]}\nfine: {a: [x]}", 1, "no background word"),
        ("coarse:\n  background: []\nfine: {a: [x]}", 2, "no background word"),
        ("coarse:\n  background: table\nfine: {a: [x]}", 2, "expected a list"),
        ("coarse:\n  background: [b]\n  foreground: []\nfine: {a: [x]}", 3, "is empty"),
        ("coarse:\n  background: [b]\n  foreground: [c, B]\nfine: {a: [x]}", 3, "as well"),
        # fine
        (COARSE, 1, "no parts"),
        (COARSE + "fine:", 2, "no parts"),
        (COARSE + "fine: [a]", 2, "expected 'fine' as"),
        (COARSE + FINE + "  a: []", 3, "'a' is empty"),
        (COARSE + FINE + "  a:", 3, "'a' is empty"),
        (COARSE + FINE + "  a: x", 3, "expected a list"),
        (COARSE + FINE + "  a: {words: []}", 3, "is empty"),
        (COARSE + FINE + "  a: ['']", 3, "got nothing"),
        (COARSE + FINE + "  a: [x, 7]", 3, "got 7; put it in quotes"),
        (COARSE + FINE + "  a:\n    - no", 4, "truth value.*quotes"),
        (COARSE + FINE + "  a: [.nan]", 3, "got nan"),
        (COARSE + FINE + "  a: [12:30:45]", 3, "put it in quotes"),
        (COARSE + FINE + "  a: [2020-01-01]", 3, "put it in quotes"),
        (COARSE + FINE + "  a: [~]", 3, "got nothing"),
        (COARSE + FINE + "  a: [[x]]", 3, "expected text"),
        (COARSE + FINE + '  a: ["x\\ud800"]', 3, "cannot be printed"),
        (COARSE + FINE + f"  a: [{'x' * 201}]", 3, "at most 200"),
        (COARSE + FINE + "  Background: [x]", 3, "called 'background'"),
        (COARSE + FINE + "  a: [x]\n  A: [y]", 4, "differ in case only"),
        (COARSE + FINE + "  a:\n  - x\n  - X", 5, "stands here twice"),
        (COARSE + FINE + "  a: [x]\n  b:\n  - y\n  - x", 6, "word of part 'a'"),
        (COARSE + FINE + "  a: [x]\n  b:\n    words:\n    - y\n    - x", 7, "word of part 'a'"),
        (COARSE + FINE + "  a: [background]", 3, "word of the background"),
        (COARSE + FINE + "  a: {words: [x], exemplars: [{crop: a.png}]}", 3, "both"),
        (COARSE + FINE + "  a: {decide: region}", 3, "neither"),
        (COARSE + FINE + "  a: {words: [x], decide: pixel}", 3, "patch or region, not 'pixel'"),
        ("decide: 3\n" + COARSE + FINE + "  a: [x]", 1, "patch or region"),
        # expect
        *(
            (COARSE + FINE + f"  a:\n    words: [x]\n    expect: {rule}", 5, said)
            for rule, said in (
                ("many", "cannot read 'many'"),
                ("-1", "cannot read -1"),
                ("1.5", "cannot read 1.5"),
                ("yes", "cannot read"),
                (".inf", "cannot read inf"),
                ("99999", "cannot read"),
                ("0x10", "quotes"),
                ("", "cannot read nothing"),
                ("[]", "nothing is expected"),
                ("{}", "cannot read"),
                ("3..2", "impossible"),
                ("50%..40%", "impossible"),
                ("50%..140%", "impossible"),
                ("30%", "cannot read"),
                ("2..", "cannot read"),
                ("[2, 3]", "two rules for the count"),
                ("left a", "cannot read"),
                ("left of b", "no part"),
                ("above a", "contradicts"),
            )
        ),
        (COARSE + FINE + "  a: {words: [x], expect: above bb}\n  bbb: [y]", 3, "mean 'bbb'"),
        (COARSE + FINE + "  a: {words: [x], expect: above b}\n"
         "  b: {words: [y], expect: [1, above a]}", 4, "contradicts"),
        (COARSE + FINE + "  a: {words: [x], expect: left of b}\n"
         "  b: {words: [y], expect: left of c}\n"
         "  c: {words: [z], expect: left of a}", 5, "contradicts"),
        (COARSE + FINE + "  a: {words: [x], expect: [above b, above b]}\n  b: [y]", 3, "twice"),
        # exemplars
        (COARSE + FINE + "  a: {exemplars: []}", 3, "is empty"),
        (COARSE + FINE + "  a: {exemplars: [a.png]}", 3, "expected an exemplar"),
        (COARSE + FINE + "  a: {exemplars: [{image: a.png}]}", 3, "either"),
        (COARSE + FINE + "  a: {exemplars: [{crop: a.png, box: [0, 0, 1, 1]}]}", 3, "either"),
        (COARSE + FINE + "  a: {exemplars: [{file: a.png}]}", 3, "unknown key 'file'"),
        *(
            (COARSE + FINE + f"  a:\n    exemplars:\n    - image: a.png\n      box: {box}", 6, said)
            for box, said in (
                ("[0, 0, 9]", "expected a box"),
                ("[0, 0, 9, x]", "expected a box"),
                ("[0, 0, 9, .nan]", "expected a box"),
                ("[0, 0, 9, yes]", "expected a box"),
                ("5", "expected a box"),
                ("[5, 5, 5, 9]", "empty or outside"),
                ("[-1, 0, 5, 9]", "empty or outside"),
            )
        ),
        # texts
        (COARSE + FINE + "  a: [x]\ntemplates: [a photo]", 4, "needs one {}"),
        (COARSE + FINE + "  a: [x]\ntemplates:\n- a {}\n- 'a {} {}'", 6, "needs one {}"),
        (COARSE + FINE + "  a: [x]\ntemplates: ['a {0} {}']", 4, "needs one {}"),
        (COARSE + FINE + "  a: [x]\ntemplates: a {}", 4, "expected a list"),
        (COARSE + FINE + "  a: [x]\nstates: {normal: [clean]}", 4, "both 'normal' and 'abnormal'"),
        (COARSE + FINE + "  a: [x]\nstates: {normal: [clean], abnormal: ['{} {}']}", 4, "one {}"),
        (COARSE + FINE + "  a: [x]\nstates: {good: [clean]}", 4, "unknown key 'good'"),
        ("name: [a]\n" + COARSE + FINE + "  a: [x]", 1, "expected text"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_line_and_the_fix(text: str, line: int, said: str) -> None:
    with pytest.raises(PromptError, match=said) as caught:
        read(text)
    message = str(caught.value)
    assert message.startswith(f"my.yaml, line {line}: ")
    assert "\n" not in message
    assert len(message) < 500


def test_escapes_that_are_no_character() -> None:
    with pytest.raises(PromptError, match="not valid YAML"):
        read('"\\UFFFFFFFF"')


def test_exemplar_pictures_are_looked_at(tmp_path: Path) -> None:
    text = COARSE + FINE + "  a:\n    exemplars:\n    - {image: a.png, box: [0, 0, 30, 20]}"
    with pytest.raises(PromptError, match=r"my\.yaml, line 5: .*a\.png"):
        read(text, tmp_path)
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(PromptError, match="line 5"):
        read(text, tmp_path)
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(PromptError, match=r"line 5: The box .* reaches out"):
        read(text, tmp_path)
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    assert read(text, tmp_path).part("a").exemplars[0].image == "a.png"


def test_too_many_parts() -> None:
    with pytest.raises(PromptError, match="at most 250"):
        read(MINIMAL + "".join(f"  p{i}: [w{i}]\n" for i in range(251)))


# --- docs ----------------------------------------------------------------------------------------


def test_the_sets_of_the_docs_are_valid() -> None:
    from tests.test_docs import blocks

    text = (ROOT / "docs" / "prompts.md").read_text()
    sets = [block for block in blocks(text, "yaml") if "\nsets:" not in block]
    found = [PromptSet.from_text(block, folder=ROOT / "prompts") for block in sets]
    assert len(found) == 4
    assert dataclasses.replace(found[0], name="dice") == PromptSet.load("dice")


def test_the_words_of_the_docs_are_those_of_the_lexicon() -> None:
    from fmlad.backbones.embedded.lexicon import lexicon

    text = (ROOT / "docs" / "prompts.md").read_text()
    rows = re.findall(r"^\| (?:colour|brightness|texture|size|shape) \| (.*) \|$", text, flags=re.M)
    assert [word for row in rows for word in row.split(", ")] == list(lexicon().words)
