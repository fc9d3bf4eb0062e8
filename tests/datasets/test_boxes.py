"""Rules about boxes: their grammar, and what they make of photographs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmlad.datasets import categories, load
from fmlad.datasets.box_rules import BoxRule, Condition, Range
from fmlad.errors import DatasetError, OptionError
from tests.datasets import trees

NUMBERS = st.integers(0, 999_999)
RANGES = st.tuples(NUMBERS, NUMBERS).map(lambda pair: Range(*sorted(pair)))
CONDITIONS = st.builds(Condition, RANGES, st.none() | NUMBERS)
FILES = st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True)
RULES = st.builds(
    BoxRule,
    st.lists(CONDITIONS, min_size=1, max_size=4).map(tuple),
    st.none() | RANGES,
    st.none() | FILES,
)


@given(RULES)
def test_every_rule_can_be_written_and_read(rule: BoxRule) -> None:
    assert BoxRule.parse(str(rule)) == rule


@given(RULES, st.sampled_from(["", "x", "-", ";", " in", " without", " 3", "class", "in 3 in"]))
def test_rubbish_behind_a_rule_is_refused(rule: BoxRule, rubbish: str) -> None:
    text = str(BoxRule(rule.conditions)) + f" {rubbish}"
    if rubbish == "":
        assert BoxRule.parse(text).conditions == rule.conditions
        return
    with pytest.raises(OptionError, match="no rule about boxes"):
        BoxRule.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_a_rule_or_an_error_that_lists_the_forms(text: str) -> None:
    try:
        rule = BoxRule.parse(text)
    except OptionError as error:
        told = str(error)
    else:
        told = "exactly six boxes" if BoxRule.parse(str(rule)) == rule else "another rule"
    assert "exactly six boxes" in told or "smaller number first" in told


@given(RULES, st.lists(st.integers(0, 3), max_size=8))
def test_a_rule_holds_when_each_condition_does(rule: BoxRule, classes: list[int]) -> None:
    def holds(condition: Condition) -> bool:
        found = [c for c in classes if condition.label in (None, c)]
        return condition.number.low <= len(found) <= condition.number.high

    assert (rule.broken(Counter(classes)) is None) == all(map(holds, rule.conditions))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("6", "6"),
        (" 4 - 8 ", "4-8"),
        ("6-6", "6"),
        ("class 2:1-3", "class 2: 1-3"),
        ("6;class 0:0;class 1 : 2 in 3-10", "6; class 0: 0; class 1: 2 in 3-10"),
        ("6 in 3 - 10  without trays.txt ", "6 in 3-10 without trays.txt"),
        ("6 without in.txt", "6 without in.txt"),
    ],
)
def test_spellings(text: str, canonical: str) -> None:
    assert str(BoxRule.parse(text)) == canonical


@pytest.mark.parametrize(
    "text",
    ["", "six", "-6", "6.5", "class: 2", "class 2 3", "6;", ";6", "in 3-10", "6 in", "6 without",
     "6 without a in 3", "6 without a b", "6 7", "1234567", "6 in 3-10 in 4"],
)  # fmt: skip
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(OptionError, match=r"expected one of: \"6\" \(exactly six boxes\)"):
        BoxRule.parse(text)


def test_ranges_run_upwards() -> None:
    with pytest.raises(OptionError, match="smaller number first"):
        BoxRule.parse("8-4")


LABELS = {
    "a.jpg": [0, 0, 1],
    "b.jpg": [0, 1, 1],
    "c.jpg": [0, 0, 0, 1],
    "d.JPG": [],
    "e.jpg": [1, 1],
}


def names(root: Path, rule: str) -> tuple[list[str], list[str], dict[str, str | None]]:
    found = load("boxes", root, rule)
    test = {s.name: s.defect for s in found.test}
    for sample in found.test:
        assert sample.kind == ("good" if sample.defect is None else "logical")
        assert sample.annotation() is None
    return [s.name for s in found.train], sorted(test), test


def test_images_that_follow_the_rule_are_normal(tmp_path: Path) -> None:
    root = trees.boxes(tmp_path / "r", LABELS)
    train, test, defects = names(root, "3")
    assert train == ["a", "b"]
    assert test == ["a", "b", "c", "d", "e"]
    assert defects == {"a": None, "b": None, "c": "4 boxes", "d": "0 boxes", "e": "2 boxes"}


def test_only_some_are_considered(tmp_path: Path) -> None:
    root = trees.boxes(tmp_path / "r", LABELS)
    train, test, _ = names(root, "3 in 2-3")
    assert (train, test) == (["a", "b"], ["a", "b", "e"])
    notes = load("boxes", root, "3 in 2-3").notes
    assert "Left out, since they have other numbers of boxes than 2-3: 2 images." in notes
    assert any("One pool" in note for note in notes)


def test_classes_and_several_conditions(tmp_path: Path) -> None:
    root = trees.boxes(tmp_path / "r", LABELS)
    train, _, defects = names(root, "class 0: 2-3; class 1: 1")
    assert train == ["a", "c"]
    assert defects["b"] == "1 box of class 0"
    assert load("boxes", root, "class 0:2 -3;class 1:1").category == "class 0: 2-3; class 1: 1"


def test_images_are_left_out_by_a_list(tmp_path: Path) -> None:
    root = trees.boxes(tmp_path / "r", LABELS)
    (root / "out.txt").write_text("a.jpg\nd nowhere.jpg\n")
    train, test, _ = names(root, "3 without out.txt")
    assert (train, test) == (["b"], ["b", "c", "e"])
    notes = load("boxes", root, "3 without out.txt").notes
    assert "Left out, as listed in out.txt: 2 images." in notes
    assert "Of no image: 1 name in out.txt." in notes
    with pytest.raises(DatasetError, match=r"other.txt cannot be read"):
        load("boxes", root, "3 without other.txt")


def test_labels_is_another_name_for_boxes(tmp_path: Path) -> None:
    root = trees.boxes(tmp_path / "r", LABELS)
    (root / "boxes").rename(root / "Labels")
    assert categories("boxes", root) == ["0", "2", "3", "4"]


@pytest.mark.parametrize("rule", ["9", "0-9"])
def test_a_rule_that_tells_nothing_apart(tmp_path: Path, rule: str) -> None:
    root = trees.boxes(tmp_path / "r", LABELS)
    with pytest.raises(DatasetError, match=r"Numbers of boxes found: 0 \(1 image\), 2 \(1"):
        load("boxes", root, rule)


@pytest.mark.parametrize(
    "line", ["1 0.5 0.5 0.1", "x 0 0 1 1", "1 5 5 20 20", "-1 0 0 1 1", "1 nan 0 0 0"]
)
def test_a_line_that_is_no_box(tmp_path: Path, line: str) -> None:
    root = trees.boxes(tmp_path / "r", LABELS)
    (root / "boxes" / "b.txt").write_text(f"0 0.5 0.5 0.1 0.1\n\n{line}\n")
    with pytest.raises(DatasetError, match=r"b.txt, line 3: .* is no YOLO box"):
        load("boxes", root, "3")


def test_an_image_without_a_file_of_boxes(tmp_path: Path) -> None:
    root = trees.boxes(tmp_path / "r", LABELS)
    (root / "boxes" / "c.txt").unlink()
    with pytest.raises(DatasetError, match=r"c.jpg has no boxes; expected .*boxes/c.txt"):
        load("boxes", root, "3")


def test_folders_that_are_missing(tmp_path: Path) -> None:
    root = trees.boxes(tmp_path / "r", LABELS)
    with pytest.raises(DatasetError, match="has no folder images; found: r/"):
        load("boxes", tmp_path, "3")
    (root / "boxes").rename(root / "other")
    with pytest.raises(DatasetError, match="has no folder boxes or labels; found: images/, other/"):
        load("boxes", root, "3")


@pytest.mark.shared
def test_the_dice_are_those_of_the_benchmark(shared: Callable[..., Path]) -> None:
    root = shared("data", "dice")
    from benchmarks.dice import NORMAL, photographs

    dice = photographs()
    found = load("boxes", root, "6 in 3-10 without trays.txt")
    assert {s.path.name for s in found.test} == dice.keys()
    assert [s.path.name for s in found.train] == [n for n, six in dice.items() if six == NORMAL]
    assert all((s.kind == "good") == (dice[s.path.name] == NORMAL) for s in found.test)
