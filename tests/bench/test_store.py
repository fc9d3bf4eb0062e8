"""The results folder: exact round trips, and damage that is named."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fmlad.bench.model import Cell, CellResult, FailedCell, ImageRecord, Task
from fmlad.bench.store import COLUMNS, Store
from fmlad.errors import CorruptResultsError, OptionError
from tests.bench.support import fake, plan_of

CELL = Cell(fake("a, b", skill=[1, 2]), Task("board", "x", "ä/ö"), 2, 0)
RESULT = CellResult(
    CELL,
    ("train/1", 'odd, "name"'),
    (
        ImageRecord('good, "quoted"\nline', "good", None, 0.1 + 0.2, None, 1e-9, True),
        ImageRecord("odd", "logical", "a, b", -1e300, 0.1, 3.0, False),
    ),
    {"auroc_micro": 1 / 3},
    {"fpr": [0.0, 1.0], "spro": [0.0, 0.5]},
    {"fit_seconds": 0.1},
    ("note",),
    {"fmlad": "x"},
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "results")
    made.keep(RESULT)
    return made


def the_file(store: Store, suffix: str) -> Path:
    return store.cells / f"{CELL.key}{suffix}"


def test_what_is_read_is_what_was_kept(store: Store) -> None:
    assert store.read() == [RESULT]
    assert store.has(CELL)
    assert not store.has(replace(CELL, seed=1))


def test_the_table_of_rows_is_for_others_to_read(store: Store) -> None:
    with the_file(store, ".csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert float(lines[0]["score"]) == 0.1 + 0.2
    assert lines[1]["defect"] == "a, b"


def test_half_written_files_are_nothing(store: Store) -> None:
    (store.cells / ".1234.partial").write_text("{")
    the_file(store, ".json").rename(store.cells / "..json.partial")
    assert store.read() == []  # rows alone are no cell
    assert not store.has(CELL)


@pytest.mark.parametrize(
    ("suffix", "text", "words"),
    [
        (".json", "{", "not JSON"),
        (".json", "[]", "format"),
        (".json", '{"format": 99}', "format"),
        (".csv", "image\n", "not those that were written"),
    ],
)
def test_damage_names_the_file_and_what_to_do(
    store: Store, suffix: str, text: str, words: str
) -> None:
    the_file(store, suffix).write_text(text)
    with pytest.raises(CorruptResultsError, match=words) as error:
        store.read()
    assert str(the_file(store, suffix)) in str(error.value)
    assert "Delete it" in str(error.value)


def test_missing_rows_and_missing_fields_are_damage(store: Store) -> None:
    path = the_file(store, ".json")
    content = json.loads(path.read_text())
    for change, words in (
        ({"figures": {"auroc_micro": "high"}}, "figures"),
        ({"cell": None}, "cell"),
        ({"cell": {**content["cell"], "seed": 7}}, "holds the cell"),
    ):
        path.write_text(json.dumps({**content, **change}))
        with pytest.raises(CorruptResultsError, match=words):
            store.read()
    path.write_text(json.dumps(content))
    the_file(store, ".csv").unlink()
    with pytest.raises(CorruptResultsError, match="rows cannot be read"):
        store.read()


def test_a_failure_goes_once_the_cell_is_done(store: Store) -> None:
    failed = FailedCell(CELL, "OptionError", "line")
    store.keep_failure(failed)
    assert store.failures() == [failed]
    assert store.read() == [RESULT]
    store.keep(RESULT)
    assert store.failures() == []


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(OptionError, match=r"holds thesis\.tex"):
        Store(tmp_path).check_folder()
    with pytest.raises(OptionError, match="is a file"):
        Store(tmp_path / "thesis.tex").check_folder()
    with pytest.raises(OptionError, match="holds no results"):
        Store(tmp_path).plan()


def test_results_of_other_images_are_not_handed_out(pictures: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    plan = plan_of(pictures, fake("a"))
    cells = plan.cells()
    title = cells[0].task.title
    store.begin(plan, cells, {title: "one"})
    store.begin(plan, cells, {title: "two"})  # nothing is finished yet
    store.keep(replace(RESULT, cell=cells[0]))
    store.begin(plan, cells, {title: "two", "another": "x"})
    with pytest.raises(OptionError, match=f"holds results of '{title}' as it was before"):
        store.begin(plan, cells, {title: "three"})
    assert store.plan() == plan


def test_a_plan_with_a_method_that_is_not_installed_is_no_damage(
    pictures: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "results")
    store.begin(plan_of(pictures, fake("a")), [])
    path = store.folder / "plan.json"
    content = json.loads(path.read_text())
    content["entries"][0]["method"] = "somebodys-plugin"
    path.write_text(json.dumps(content))
    with pytest.raises(OptionError, match=r"cannot be read here: .*'somebodys-plugin'") as error:
        store.plan()
    assert "Delete" not in str(error.value)


def test_one_label_is_one_entry_within_a_folder(pictures: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    first = plan_of(pictures, fake("a", skill=1))
    store.begin(first, first.cells())
    store.keep(replace(RESULT, cell=first.cells()[0]))
    for plan, words in (
        (plan_of(pictures, fake("a", skill=2)), "the entry 'a' stands for"),
        (
            plan_of(pictures, fake("b"), tasks=(Task("board", str(pictures), "", images=2),)),
            "the task 'board' stands for",
        ),
    ):
        with pytest.raises(OptionError, match=words):
            store.begin(plan, plan.cells())
    more = plan_of(pictures, fake("a", skill=1), fake("b"), seeds=(0, 1, 2))
    store.begin(more, more.cells())
    assert store.plan() == more
    assert store.order() == [cell.key for cell in more.cells()]
