"""What no patch confirms is no deviation where an image registers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from fmlad.memory.change import sureness
from fmlad.methods.banks.differences import Scene, confirmed
from fmlad.methods.banks.parts_model import Deviation

SIZE = (80, 160)  # of the image; the map has a tenth of it


@dataclass
class FakeObjects:
    boxes: np.ndarray


@dataclass
class FakeSeen:
    objects: FakeObjects


@dataclass
class FakeScene:
    """Two objects here, and one of the shots that is absent at the right."""

    size: tuple[int, int] = SIZE
    seen: FakeSeen = field(
        default_factory=lambda: FakeSeen(
            FakeObjects(np.array([[0.0, 0, 20, 20], [60.0, 40, 80, 60]]))
        )
    )

    def boxes_of_absent(self, points: Any) -> np.ndarray:
        return np.array([[140.0, 0, 160, 20]] * len(points)).reshape(-1, 4)


def deviation(kind: str, rows: tuple[int, ...], absent: tuple[int, ...] = ()) -> Deviation:
    return Deviation("histogram", cast(Any, kind), 0, 0, 4.0, rows, absent, 1.0, 2.0)


def check(found: list[Deviation], patches: np.ndarray) -> list[Deviation]:
    return confirmed(found, cast(Scene, FakeScene()), patches.astype(np.float32), alone=False)


@pytest.fixture
def patches() -> np.ndarray:
    """Something changed at the first object, nothing at the second or where one is absent."""
    found = np.full((8, 16), 0.1)
    found[:2, :2] = 1.5
    return found


def test_what_changed_stays_and_what_did_not_goes(patches: np.ndarray) -> None:
    assert check([deviation("extra", (0,))], patches)[0].score == pytest.approx(4.0)
    assert check([deviation("extra", (1,))], patches) == []
    assert check([deviation("missing", (), (7,))], patches) == []
    patches[:2, -2:] = 1.0
    assert check([deviation("missing", (), (7,))], patches)[0].absent == (7,)


def test_of_two_the_changed_one_is_told_at_half_the_score(patches: np.ndarray) -> None:
    (found,) = check([deviation("extra", (0, 1))], patches)
    assert found.rows == (0,)
    assert found.score == pytest.approx(2.0)


def test_a_scratch_on_an_object_does_not_bring_the_object_about(patches: np.ndarray) -> None:
    patches[4, 6] = 9.0  # one cell of the four of the second object
    assert check([deviation("extra", (1,))], patches) == []


def test_without_a_place_nothing_is_taken_out(patches: np.ndarray) -> None:
    same = deviation("missing", ())
    assert check([same], patches) == [same]


def test_the_largest_comes_first_afterwards(patches: np.ndarray) -> None:
    patches[4:6, 6:8] = 0.45  # half changed
    first, second = deviation("extra", (1,)), deviation("extra", (0,))
    assert [d.rows for d in check([first, second], patches)] == [(0,), (1,)]


def test_a_box_outside_the_image_is_not_confirmed(patches: np.ndarray) -> None:
    scene = FakeScene(seen=FakeSeen(FakeObjects(np.array([[200.0, 100, 220, 120]]))))
    found = confirmed(
        [deviation("extra", (0,))], cast(Scene, scene), patches.astype(np.float32), 1.0
    )
    assert found == []


def test_a_single_shot_asks_for_more_than_its_copies_show(patches: np.ndarray) -> None:
    same = deviation("extra", (0,))
    scene, found = cast(Scene, FakeScene()), patches.astype(np.float32)
    (half,) = confirmed([same], scene, found, alone=True)  # 1.5 times the usual
    assert half.score == pytest.approx(2.0)
    assert confirmed([same], scene, found / 1.5, alone=True) == []
    assert confirmed([same], scene, found / 1.5, alone=False)[0].score == pytest.approx(4.0)


def test_sureness_rises_between_the_same_and_clearly_changed() -> None:
    many = np.array([0.0, 0.3, 0.45, 0.6, 1.0, 1.5, 2.0, 9.0])
    assert sureness(many, alone=False) == pytest.approx([0, 0, 0.5, 1, 1, 1, 1, 1])
    assert sureness(many, alone=True) == pytest.approx([0, 0, 0, 0, 0, 0.5, 1, 1])
