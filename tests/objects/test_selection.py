"""Which proposals are objects: filters learned from the shots."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray

from fmlad.backbones.roles import Masks
from fmlad.objects.appearance import Proposals, describe_proposals
from fmlad.objects.selection import Selection


def proposals(
    boxes: list[tuple[int, int, int, int]], preferred: list[bool] | None = None
) -> Proposals:
    """Rectangles ``x0, y0, x1, y1`` on 100 x 100 pixels, all of good quality."""
    import torch

    masks: NDArray[np.bool_] = np.zeros((len(boxes), 100, 100), bool)
    for row, (x0, y0, x1, y1) in enumerate(boxes):
        masks[row, y0:y1, x0:x1] = True
    found = Masks(
        masks,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(boxes), 0.9, np.float32),
        None if preferred is None else np.array(preferred),
    )
    return describe_proposals(
        np.full((100, 100, 3), 90, np.uint8), found, torch.zeros(1, 3, 10, 10)
    )


DIGIT = [(10, 10, 30, 40), (10, 10, 30, 24), (10, 26, 30, 40)]  # a whole and its two pieces


def test_wholes_parts_and_areas() -> None:
    page = proposals(DIGIT)
    assert Selection("wholes", 0.001, 0.6).taken(page).tolist() == [True, False, False]
    assert Selection("parts", 0.001, 0.6).taken(page).tolist() == [False, True, True]
    assert Selection("wholes", 0.001, 0.05).taken(page).tolist() == [False, True, True]
    assert not Selection("wholes", 0.1, 0.6).taken(page).any()
    own = proposals(DIGIT, [False, True, False])
    assert Selection("own", 0.001, 0.6).taken(own).tolist() == [False, True, False]


def test_the_filter_is_chosen_whose_counts_differ_least() -> None:
    def page(broken: int) -> Proposals:
        boxes, preferred = [], []
        for number in range(4):
            shift = 24 * number
            offered = DIGIT if number < broken else DIGIT[:1]
            boxes += [(x0 - 8 + shift, y0, x1 - 12 + shift, y1) for x0, y0, x1, y1 in offered]
            preferred += [False, True, True] if number < broken else [True]
        boxes += [(3 * i, 80, 3 * i + 2, 81 + i % 2) for i in range(broken * 3)]  # crumbs
        return proposals(boxes, preferred + [True] * (broken * 3))

    shots = [page(broken) for broken in (0, 2, 1, 3)]
    learned = Selection.learn(shots)
    assert learned.grain == "wholes"
    assert [int(learned.taken(shot).sum()) for shot in shots] == [4, 4, 4, 4]


def test_as_many_miscounts_of_wholes_and_of_pieces() -> None:
    # Nine objects a shot. Two always fall into two pieces each, at another place in every shot, so
    # that eleven pieces come with no more miscounts than nine wholes, and more of them recur.
    def page(number: int) -> Proposals:
        boxes, preferred = [], []
        for place in range(9):
            x, y = 4 + 32 * (place % 3), 4 + 32 * (place // 3)
            broken = place in (number, number + 4)
            boxes.append((x, y, x + 20, y + 24))
            preferred.append(not broken)
            if broken:
                boxes += [(x, y, x + 20, y + 8), (x, y + 10, x + 20, y + 24)]
                preferred += [True, True]
        if number == 3:  # a miscount, whatever is chosen
            boxes.append((4, 29, 84, 35))
            preferred.append(True)
        return proposals(boxes, preferred)

    shots = [page(number) for number in range(4)]
    assert [int(Selection("own", 0.0005, 0.15).taken(s).sum()) for s in shots] == [11, 11, 11, 12]
    learned = Selection.learn(shots)
    assert learned.grain == "wholes"
    assert [int(learned.taken(shot).sum()) for shot in shots] in ([9, 9, 9, 10], [9, 9, 9, 9])


def test_few_and_empty_shots() -> None:
    assert Selection.learn([proposals(DIGIT)]) == Selection()
    nothing = Selection.learn([proposals([]), proposals([])])
    assert nothing == Selection()
    assert nothing.taken(proposals([])).shape == (0,)


def test_round_trip_and_refusal() -> None:
    selection = Selection("parts", 0.01, 0.3)
    assert Selection(**asdict(selection)) == selection
    for data in (
        {"grain": "crumbs", "least": 0.1, "most": 0.2},
        {"grain": "own", "least": -0.3},
    ):
        with pytest.raises((ValueError, LookupError)):
            Selection(**data)  # type: ignore[arg-type]
