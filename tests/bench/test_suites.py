"""Suites: who takes part and on what, with and without photographs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmlad.bench import suites
from fmlad.bench.plan import PEERS
from fmlad.bench.suites import make_suite
from fmlad.datasets.catalogue import load
from fmlad.errors import DatasetError, MissingDependencyError, UnknownNameError
from fmlad.methods import registry

CATEGORIES = ("breakfast_box", "pushpins", "screw_bag")  # those that have prompts


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmlad.datasets.load", load)  # the real one
    monkeypatch.setattr("fmlad.datasets.SCENE_CATEGORIES", CATEGORIES)
    for name, value in {
        "IMAGES": 1,
        "PAGES": 1,
        "TRAIN": 4,
        "TRAINED_TRAIN": 1,
        "SEEDS": (0,),
    }.items():
        monkeypatch.setattr(suites, name, value)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered by the first test that needs it."""
    return tmp_path_factory.mktemp("suites") / "data"


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FMLAD_SHARED", str(tmp_path / "nothing here"))


@pytest.mark.slow
@pytest.mark.usefixtures("_alone")
def test_training_free_makes_its_pictures_and_is_runnable(data: Path) -> None:
    plan = make_suite("training-free", data)
    assert [task.title for task in plan.tasks] == [
        *(f"scenes/{category}" for category in CATEGORIES),
        "digits",
    ]
    prompted = [entry for entry in plan.entries if entry.prompts]
    assert len(plan.cells()) == (3 * 4 + 3 * len(prompted)) * 2
    pictures = {path: path.stat().st_mtime_ns for path in data.rglob("*.png")}
    assert pictures
    assert make_suite("training-free", data) == plan
    assert {path: path.stat().st_mtime_ns for path in pictures} == pictures


@pytest.mark.shared
def test_photographs_take_part_where_they_are(data: Path, shared) -> None:  # type: ignore[no-untyped-def]
    root = shared("data", "deeppcb").parents[1]
    plan = make_suite("training-free", data, root)
    dice, boards = plan.tasks[-2:]
    assert (dice.dataset, boards.dataset) == ("boxes", "deeppcb")
    cells = [cell for cell in plan.cells() if cell.task == boards]
    assert {(cell.shots, cell.seed) for cell in cells} == {(1, 0)}
    names = {cell.entry.label for cell in plan.cells() if cell.task == dice}
    assert "clip-lad, category prompts" in names


def test_a_folder_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="leave --shared out"):
        make_suite("training-free", tmp_path / "data", tmp_path / "gone")


def test_trained_without_anybody_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(registry, "list_methods", lambda: ["banks"])
    with pytest.raises(MissingDependencyError, match="nobody to take part") as error:
        make_suite("trained", tmp_path / "data")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("_alone")
def test_trained_takes_what_is_registered(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "list_methods", lambda: ["banks", "psad"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    plan = make_suite("trained", data)
    assert plan.entries[0].method == "psad"
    assert {entry.method.partition(":")[0] for entry in plan.entries[1:]} <= PEERS.keys()
    assert plan.entries[1:]
    penalty = Path(plan.entries[1].options["penalty"])
    assert next(penalty.rglob("*.png"))
    # None of what is to be judged: the student would be punished for knowing it.
    assert not any(Path(task.root).is_relative_to(penalty) for task in plan.tasks)
    assert not any(penalty.is_relative_to(Path(task.root).resolve()) for task in plan.tasks)


def test_peers_says_what_it_lacks(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"fmlad\[bench\]"):
        make_suite("peers", data, tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    plan = make_suite("peers", data, tmp_path)
    assert [task.dataset for task in plan.tasks] == ["scenes"] * len(CATEGORIES)
    assert {cell.shots for cell in plan.cells()} == {4}
    assert [entry.options for entry in plan.entries[1:]] == [
        {"backbone": "squeezenet"},
        {"backbone": "efficientnet-lite0"},
    ]


def test_no_such_suite(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'trained'"):
        make_suite("traind", tmp_path)
