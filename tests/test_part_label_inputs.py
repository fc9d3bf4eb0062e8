"""Labels on their way into a detector: folders, arrays, further shots, and 'auto'."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fmlad
from fmlad.automatic_labels import _recurring
from fmlad.datasets import PartLabels
from fmlad.errors import OptionError
from fmlad.methods import registry
from fmlad.prediction import Segmentation
from tests.chain_models import blobs
from tests.conftest import picture
from tests.datasets.part_labels.support import label, write_json
from tests.datasets.part_labels.test_labelme import content, drawn
from tests.methods.test_protocol import CONTEXTS, METHOD, Learner

SIZE = (24, 32)


@pytest.fixture(autouse=True)
def _plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_METHODS", {**registry._METHODS, "learner": METHOD})
    registry._homes.cache_clear()
    CONTEXTS.clear()
    yield
    registry._homes.cache_clear()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    home = tmp_path / "shots"
    home.mkdir()
    for number in range(4):
        Image.fromarray(picture(number, SIZE)).save(home / f"{number}.png")
    return home


def values(*classes: int) -> np.ndarray:
    """A label with a column for each class, the rest background."""
    found = np.zeros(SIZE, np.uint8)
    for place, number in enumerate(classes):
        found[:, place] = number
    return found


def fitted(shots: Any, **arguments: Any) -> fmlad.Detector:
    options = {"method": "learner", "profile": "builtin", "by": "augmented", **arguments}
    return fmlad.Detector.from_shots(shots, **options)


def test_a_folder_of_labels_and_the_shots_without_one(
    shots: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 3):
        label(tmp_path / "labels" / f"{number}.png", values(1, 2))
    (tmp_path / "labels" / "classes.txt").write_text("pin\ntray\n")
    more = [picture(9, SIZE)]
    with caplog.at_level(logging.WARNING):
        detector = fitted(shots, labels=tmp_path / "labels", unlabeled=more)
    names, context = CONTEXTS[-1]
    assert [Path(name).name for name in names] == ["1.png", "3.png"]
    assert context.label_names == ("background", "pin", "tray")
    assert context.labels is not None
    assert all(np.array_equal(one, values(1, 2)) for one in context.labels)
    assert [Path(view.name).name for view in context.unlabeled][1:] == ["0.png", "2.png"]
    assert "2 of 4 shots have no label and count as unlabeled images" in caplog.text
    assert len(detector.shots) == 2


def test_a_method_without_use_of_unlabeled_images_wants_all_labels(
    shots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "takes", ("labels",))
    label(tmp_path / "labels" / "1.png", values(1))
    with pytest.raises(OptionError, match=r"3 of 4 shots have no label, such as .*0.png"):
        fitted(shots, labels=str(tmp_path / "labels"))


def test_a_method_that_learns_from_no_labels_refuses_a_folder(shots: Path) -> None:
    with pytest.raises(OptionError, match="'banks' makes no use of labels="):
        fmlad.Detector.from_shots(shots, labels=shots, profile="builtin")


def test_a_folder_as_labelme_leaves_it(shots: Path) -> None:
    pin = drawn("pin", [[2, 2], [6, 6]], "rectangle")
    size = {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    for number in range(4):
        write_json(shots / f"{number}.json", content(pin, image=f"{number}.png", **size))
    fitted(shots, labels=shots)
    _, context = CONTEXTS[-1]
    assert context.label_names == ("background", "pin")
    assert context.labels is not None
    assert [int(one.sum()) for one in context.labels] == [16] * 4


def test_arrays_and_part_labels(shots: Path) -> None:
    fitted(shots, labels=[values(1)] * 3 + [values(3)])
    assert CONTEXTS[-1][1].label_names == ("background", "class 1", "class 2", "class 3")
    given = PartLabels(("background", "pin"), (None, values(1), None, values(1)), "by hand")
    fitted(shots, labels=given)
    names, context = CONTEXTS[-1]
    assert len(names) == 2
    assert context.label_names == ("background", "pin")
    one = [picture(0, SIZE)]
    nothing = PartLabels(("background", "pin"), (None,), "by hand")
    for labels, words in (
        ([values(1).astype(int) - 1], "has the class -1; expected 0"),
        ([values(1).astype(int) * 300], "has the class 300"),
        (given, "4 labels for 1 images"),
        (nothing, "no label for any of the shots"),
    ):
        with pytest.raises(OptionError, match=words):
            fitted(one, labels=labels)


def test_labels_of_one_picture_given_twice_count_once() -> None:
    fitted([picture(0, SIZE)] * 2, labels=[values(1), values(1)])
    names, context = CONTEXTS[-1]
    assert len(names) == 1
    assert context.labels is not None
    assert len(context.labels) == 1


def test_further_shots_are_labelled_by_the_names_of_classes(shots: Path, tmp_path: Path) -> None:
    for number in range(4):
        label(tmp_path / "labels" / f"{number}.png", values(1, 2))
    (tmp_path / "labels" / "classes.txt").write_text("pin\ntray\n")
    detector = fitted(shots, labels=tmp_path / "labels")
    Image.fromarray(picture(7, SIZE)).save(tmp_path / "7.png")
    label(tmp_path / "more" / "7.png", values(1, 1, 2))
    (tmp_path / "more" / "classes.txt").write_text("tray\npin\n")
    detector.add_shots(tmp_path / "7.png", labels=tmp_path / "more")
    _, context = CONTEXTS[-1]
    assert context.label_names == ("background", "pin", "tray")
    assert context.labels is not None
    assert np.array_equal(context.labels[-1], values(2, 2, 1))
    detector.add_shots([picture(8, SIZE)], labels=[values(2)])
    (tmp_path / "more" / "classes.txt").write_text("tray\nlid\n")
    for labels, words in (
        (tmp_path / "more", "class 'lid', which the shots so far have not"),
        ([values(3)], "has the class 3; the classes .* are 0 background, 1 pin, 2 tray"),
        ("auto", "for labels='auto', fit again"),
    ):
        with pytest.raises(OptionError, match=words):
            detector.add_shots([tmp_path / "7.png"], labels=labels)
    (tmp_path / "more" / "classes.txt").write_text("tray\npin\n")
    with pytest.raises(OptionError, match=r"0.png has no label in label images"):
        detector.add_shots([tmp_path / "7.png", shots / "0.png"], labels=tmp_path / "more")


def test_classes_without_names_grow_with_further_shots_and_are_kept(tmp_path: Path) -> None:
    shots = [picture(number, SIZE) for number in range(3)]
    detector = fitted(shots, labels=[values(1)] * 3)
    detector.add_shots([picture(7, SIZE)], labels=[values(2)])
    assert CONTEXTS[-1][1].label_names == ("background", "class 1", "class 2")
    detector.save(tmp_path / "saved", originals=True)
    loaded = fmlad.Detector.load(tmp_path / "saved")
    loaded.remove_shot(0)
    assert CONTEXTS[-1][1].label_names == ("background", "class 1", "class 2")


def test_automatic_labels_are_the_parts_that_recur() -> None:
    shots = [blobs(number) for number in range(3)]
    fitted(shots, labels="auto")
    _, context = CONTEXTS[-1]
    names, labels = context.label_names, context.labels
    assert names[:2] == ("background", "part A")
    assert set(names).isdisjoint(("other", "unknown", "object"))
    assert labels is not None
    for pixels, one in zip(shots, labels, strict=True):
        assert one.shape == pixels.shape[:2]
        red = np.abs(pixels.astype(int) - (200, 40, 40)).sum(2) < 60
        blue = np.abs(pixels.astype(int) - (40, 60, 200)).sum(2) < 60
        # Discs and squares are parts, and different ones.
        assert (one[red] > 0).mean() > 0.8
        assert (one[blue] > 0).mean() > 0.8
        most = [np.bincount(one[inside]).argmax() for inside in (red, blue)]
        assert most[0] != most[1]


def test_with_prompts_automatic_labels_have_their_names() -> None:
    prompts = fmlad.PromptSet.from_dict(
        {"coarse": {"background": ["grey"], "foreground": ["colourful"]},
         "fine": {"red disc": ["red"], "blue square": ["blue"]}}
    )  # fmt: skip
    fitted([blobs(number) for number in range(2)], labels="auto", prompts=prompts)
    names = CONTEXTS[-1][1].label_names
    assert names[0] == "background"
    assert set(names[1:]) <= {"red disc", "blue square"}
    assert len(names) > 1


def test_what_recurs_in_too_few_shots_is_background() -> None:
    names = ["background", "part A", "part B", "icon", "other", "unknown"]
    every = np.arange(6, dtype=np.uint16)[None]
    rest = np.array([[0, 1, 0, 0, 0, 5]], np.uint16)
    found = _recurring([Segmentation(one, names) for one in (every, rest, rest)], "banks")
    # One of three: too few for a letter, enough for a name that somebody gave.
    assert found.names == ("background", "icon", "part A")
    assert found.maps[0] is not None
    assert found.maps[0].tolist() == [[0, 2, 0, 1, 0, 0]]
    with pytest.raises(OptionError, match="found no part that recurs"):
        _recurring([Segmentation(every * 0, ["background", "object"])], "banks")
