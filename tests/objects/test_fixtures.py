"""Fixtures: what lies at the same place in every shot while other objects move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fmlad.errors import CorruptDetectorError
from fmlad.objects.appearance import Objects
from fmlad.objects.fixtures import Fixture, at_fixtures, fixtures, overlaps

SIZE = (100, 200)
BOLTS = [(10.0, 10.0, 20.0, 20.0), (170.0, 70.0, 184.0, 84.0)]


def objects(boxes: list[tuple[float, ...]], colour: float = 2.0, size: float = -12.0) -> Objects:
    n = len(boxes)
    appearance = np.tile([colour, 0.0, 0.0, 0.5, size, 0.2, 9.5], (n, 1))
    return Objects(
        appearance, appearance[:, :3].copy(), np.array(boxes, float).reshape(-1, 4),
        np.zeros((n, 2)), np.ones(n),
    )  # fmt: skip


def pins(seed: int, count: int = 4) -> list[tuple[float, ...]]:
    """Boxes that lie elsewhere for every seed."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform((30, 5), (150, 60), (count, 2))
    return [(x, y, x + 8, y + 8) for x, y in corners.tolist()]


def tray(seed: int, jitter: float = 0.5) -> Objects:
    moved = np.random.default_rng(100 + seed).uniform(-jitter, jitter, (2, 4))
    bolts = [tuple(box) for box in (np.array(BOLTS) + moved).tolist()]
    return objects([*pins(seed), *bolts])


SHOTS = [tray(seed) for seed in range(4)]


def test_bolts_are_found_and_pins_are_not() -> None:
    found = fixtures(SHOTS, [SIZE] * 4)
    assert len(found) == 2
    for fixture, bolt in zip(found, BOLTS, strict=True):
        assert fixture.box == pytest.approx(np.array(bolt) / [200, 100, 200, 100], abs=0.01)
        assert "grey" in fixture.description


def test_the_order_of_objects_and_the_size_of_images_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    mixed = []
    for shot in SHOTS:
        order = rng.permutation(len(shot))
        mixed.append(Objects(**{name: getattr(shot, name)[order] for name in vars(shot)}))
    assert fixtures(mixed, [SIZE] * 4) == fixtures(SHOTS, [SIZE] * 4)
    doubled = [replace(SHOTS[0], boxes=2 * SHOTS[0].boxes), *SHOTS[1:]]
    assert fixtures(doubled, [(200, 400), *[SIZE] * 3]) == fixtures(SHOTS, [SIZE] * 4)


def test_two_shots_are_too_few() -> None:
    assert fixtures(SHOTS[:2], [SIZE] * 2) == ()
    assert len(fixtures(SHOTS[:3], [SIZE] * 3)) == 2


def test_where_most_objects_stay_nothing_is_a_fixture() -> None:
    held = [objects([*BOLTS, *pins(0, 2), *pins(seed, 1)]) for seed in range(4)]
    assert fixtures(held, [SIZE] * 4) == ()
    assert fixtures([objects(BOLTS)] * 4, [SIZE] * 4) == ()


@pytest.mark.parametrize(
    "other",
    [
        objects([*pins(9), BOLTS[0]]),  # one is gone
        objects([*pins(9), BOLTS[0], (160.0, 60.0, 174.0, 74.0)]),  # one has moved
        replace(
            objects([*pins(9), *BOLTS]),
            appearance=np.concatenate([tray(9).appearance[:-1], tray(9).appearance[-1:] + 2]),
        ),  # one has another size and colour
    ],
)
def test_it_must_be_so_in_every_shot(other: Objects) -> None:
    (left,) = fixtures([*SHOTS, other], [SIZE] * 5)
    assert left.box == pytest.approx(np.array(BOLTS[0]) / [200, 100, 200, 100], abs=0.01)


def test_faint_proposals_and_empty_shots_are_no_evidence() -> None:
    faint = [replace(shot, objectness=np.r_[np.ones(4), 0.1, 0.1]) for shot in SHOTS]
    assert fixtures(faint, [SIZE] * 4) == ()
    assert fixtures([*SHOTS, objects([])], [SIZE] * 5) == ()
    assert fixtures([], []) == ()


def test_what_lies_at_their_places() -> None:
    known = fixtures(SHOTS, [SIZE] * 4)
    query = objects([*pins(50), *BOLTS, (30.0, 10.0, 40.0, 20.0)], colour=4.0)
    assert at_fixtures(query, SIZE, known).tolist() == [False] * 4 + [True, True, False]
    assert not at_fixtures(query, SIZE, ()).any()
    assert at_fixtures(objects([]), SIZE, known).shape == (0,)


def test_overlaps() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6.0]])
    expected = [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]]
    assert overlaps(boxes, boxes) == pytest.approx(np.array(expected))


def test_they_come_back_from_json_and_rubbish_is_refused() -> None:
    fixture = Fixture((0.1, 0.2, 0.3, 0.4), "small part")
    assert Fixture.from_dict(fixture.to_dict()) == fixture
    for change in ({"box": [0.1, 0.2, 0.3]}, {"box": [0.3, 0.2, 0.1, 0.4]}, {"description": 5},
                   {"box": "abcd"}, {"box": [0, 0, float("inf"), 1]}):  # fmt: skip
        with pytest.raises(CorruptDetectorError, match="saved fixture"):
            Fixture.from_dict({**fixture.to_dict(), **change})
    with pytest.raises(CorruptDetectorError, match="saved fixture"):
        Fixture.from_dict({})
