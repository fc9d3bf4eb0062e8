"""Plans: what fits, what does not and says so, and how they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fmlad.bench.model import ALL, Cell, Entry, Task
from fmlad.bench.plan import Plan, load_plan, plan_from_dict
from fmlad.errors import FmladError, OptionError
from tests.bench.support import fake, plan_of

BANKS = Entry("banks", "banks", "builtin")
TASK = Task("board", "somewhere", "")


def test_cells_of_a_task_follow_each_other(pictures: Path) -> None:
    tasks = (Task("board", str(pictures), "a"), Task("board", str(pictures), "b"))
    cells = plan_of(pictures, fake("x"), fake("y"), tasks=tasks).cells()
    assert len(cells) == 2 * 2 * 2 * 2
    assert [cell.task.category for cell in cells] == ["a"] * 8 + ["b"] * 8
    assert len({cell.key for cell in cells}) == len(cells)


def test_defaults_are_those_of_the_protocol() -> None:
    plan = Plan((BANKS,), (TASK,))
    assert plan.shots == (1, 2, 4, 8)
    assert plan.seeds == (0, 1, 2, 3, 4)


def test_pairs_have_one_cell_an_entry(pictures: Path) -> None:
    plan = plan_of(pictures, tasks=(Task("pairs", str(pictures), ""),), shots=(2, 4), seeds=(3, 4))
    assert [(cell.shots, cell.seed) for cell in plan.cells()] == [(1, 3)]


def test_an_entry_takes_part_where_it_is_told(pictures: Path) -> None:
    tasks = (Task("board", str(pictures), "a"), Task("pool", str(pictures), "b"))
    for where in ("board", "board/a"):
        plan = plan_of(pictures, fake("x"), fake("y"), tasks=tasks, only={"y": (where,)})
        mine = {cell.task.title for cell in plan.cells() if cell.entry.label == "y"}
        assert mine == {"board/a"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"entries": ()}, "entries tuple should have at least 1 item"),
        ({"entries": (Entry("a", "bnaks"),)}, "Did you mean 'banks'"),
        ({"entries": (Entry("a", "banks", "bultin"),)}, "Did you mean 'builtin'"),
        ({"entries": (BANKS, BANKS)}, "label 'banks' is in the plan twice"),
        (
            {"entries": (Entry(" ", "banks"),)},
            "label string should match pattern",
        ),
        ({"entries": (Entry("a", "banks", "builtin", {"banks": {1}}),)}, "plain values"),
        ({"entries": (Entry("a", "fake:a", "builtin"),)}, "a peer has no profile"),
        ({"tasks": (TASK, TASK)}, "task 'board' is in the plan twice"),
        (
            {"tasks": (Task("board", "x", "", images=-1),)},
            "images should be greater than or equal to 0",
        ),
        ({"shots": (1, -2)}, r"shots\[1\] should be greater than or equal to 0; got -2"),
        ({"shots": (1, 1)}, "twice"),
        ({"shots": ()}, "shots tuple should have at least 1 item"),
        ({"seeds": (0.5,)}, r"seeds\[0\] should be a valid integer; got 0\.5"),
        ({"threads": -1}, "threads should be greater than or equal to 0; got -1"),
        ({"only": {"banksy": ("board",)}}, "Did you mean 'banks'"),
        ({"only": {"banks": ("bord",)}}, "Did you mean 'board'"),
    ],
)
def test_what_does_not_fit_is_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words) as error:
        Plan(**{"entries": (BANKS,), "tasks": (TASK,), **changes})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entry", "changes", "words"),
    [
        (Entry("a", "banks", "builtin", {"bnks": 1}), {}, "Did you mean 'banks'"),
        (Entry("a", "banks", "builtin", prompts="dice"), {}, "makes no use of prompts"),
        (Entry("a", "clip-lad", "builtin", prompts="category"), {}, "board has none"),
        (fake(), {"shots": (10,)}, "has 9 training images; 10 shots"),
    ],
)
def test_what_cannot_work_is_found_before_the_first_cell(
    pictures: Path, entry: Entry, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        plan_of(pictures, entry, **changes).cells()


def test_a_task_may_name_the_set_of_its_category(pictures: Path) -> None:
    entry = Entry("a", "clip-lad", "builtin", prompts="category")
    task = Task("board", str(pictures), "", prompts="dice")
    assert plan_of(pictures, entry, tasks=(task,)).cells()


def test_the_profile_is_spelt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMLAD_PROFILE", "light")
    assert Plan((Entry("a", "banks"),), (TASK,)).entries[0].profile == "light"


def test_a_folder_may_be_a_path() -> None:
    task = Task("board", Path("some") / "where")  # type: ignore[arg-type]
    assert Plan((BANKS,), (task,)).tasks[0].root == str(Path("some") / "where")


def test_a_plan_survives_json() -> None:
    plan = Plan(
        (Entry("a", "banks", "builtin", {"banks": ("patch",)}), fake()),
        (Task("board", "x", "c", "s", 3, prompts="dice"),),
        (1, ALL),
        (5,),
        "mine",
        2,
        {"a": ("board",)},
    )
    assert plan_from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_a_yaml_plan_is_read_with_its_folders_relative_to_it(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        "entries:\n  - banks\n  - {label: patch, method: banks, options: {banks: [patch]}}\n"
        "tasks:\n  - {dataset: board, root: pictures, images: 3}\nshots: [1, 0]\nseeds: 2\n"
    )
    plan = load_plan(file)
    assert [entry.label for entry in plan.entries] == ["banks", "patch"]
    assert plan.tasks[0] == Task("board", str(tmp_path / "pictures"), "", images=3)
    assert (plan.shots, plan.seeds) == ((1, ALL), (0, 1))


def test_files_of_prompts_are_looked_for_beside_the_plan(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        "entries:\n  - {label: a, method: clip-lad, prompts: mine.yaml}\n"
        "  - {label: b, method: clip-lad, prompts: dice}\n"
        "tasks:\n  - {dataset: board, root: x, prompts: other.yml}\n"
    )
    plan = load_plan(file)
    assert [e.prompts for e in plan.entries] == [str(tmp_path / "mine.yaml"), "dice"]
    assert plan.tasks[0].prompts == str(tmp_path / "other.yml")


def test_the_plan_of_the_docs_is_a_plan(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "bench.md").read_text()
    file = tmp_path / "plan.yaml"
    file.write_text(page.split("```yaml\n")[1].split("```")[0])
    plan = load_plan(file)
    assert [entry.label for entry in plan.entries] == ["banks", "words"]
    assert len(plan.seeds) == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("entries: [", "line 1"),
        ("- a", "should be a mapping"),
        ("entrys: []", "Did you mean 'entries'"),
        ("entries: banks\ntasks: []", "should be a list"),
        ("entries: [{label: a}]\ntasks: []", r"entries\[0\]: method field required"),
        ("entries: [banks]\ntasks: [{dataset: board}]", r"tasks\[0\]: root field required"),
        ("entries: [banks]\ntasks: [{dataset: board, root: x, kategory: y}]", "'category'"),
        (
            "entries: [banks]\ntasks: [{dataset: board, root: x}]\nonly: [a]",
            "only should be a valid dictionary",
        ),
        (
            "entries: [banks]\ntasks: [{dataset: board, root: x}]\nshots: 4",
            "shots should be a valid tuple",
        ),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(FmladError, match=words) as error:
        load_plan(file)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="No such file"):
        load_plan(tmp_path / "plan.yaml")


def test_the_key_tells_work_apart_but_not_places() -> None:
    cell = Cell(BANKS, TASK, 1, 0)
    assert cell.key == Cell(BANKS, Task("board", "elsewhere", ""), 1, 0).key
    assert cell.key != Cell(BANKS, TASK, 1, 1).key
    assert cell.key != Cell(Entry("banks", "banks", "light"), TASK, 1, 0).key


def test_what_yaml_takes_for_numbers_is_text_in_a_task(pictures: Path) -> None:
    plan = plan_from_dict(
        {
            "entries": ["banks"],
            "tasks": [{"dataset": "d", "root": str(pictures), "category": 1, "subtype": 0}],
        }
    )
    assert plan.tasks[0].title == "d/1/0"
    with pytest.raises(OptionError, match="subtype should be a valid string"):
        Plan(plan.entries, (Task("d", "r", "", subtype=[1]),))  # type: ignore[arg-type]


def test_a_value_that_yaml_cannot_read_is_an_error_in_the_plan(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("name: 2024-02-30\nentries: [banks]\ntasks: []\n")
    with pytest.raises(OptionError, match="cannot be read"):
        load_plan(tmp_path / "plan.yaml")
