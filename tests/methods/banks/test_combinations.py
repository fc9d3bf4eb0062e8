"""The combination bank: types of a product, of which every attribute is known."""

from __future__ import annotations

import numpy as np
import pytest

from fmlad.methods.banks.combinations import Combinations, Unlike
from fmlad.objects.appearance import (
    ELONGATION_UNIT,
    SIZE_UNIT,
    SOLIDITY_UNIT,
    YELLOW_BLUE,
    Objects,
)

SMALL, MEDIUM, LARGE = 30.0, 60.0, 90.0  # heights of two bodies, pixels
YELLOW, RED, BLUE = 3.0, 1.0, -2.0  # colours of what joins them
TYPES = ((SMALL, YELLOW), (MEDIUM, BLUE), (LARGE, RED))


def image(
    heights: tuple[float, float] = (MEDIUM, MEDIUM),
    colours: tuple[float, float, float] = (0, 0, BLUE),
    seed: int = 0,
    cable: float = 15.0,
    spread: float = 0.02,
) -> Objects:
    """Two bodies, left and right, and a cable between them."""
    rng = np.random.default_rng(seed)
    widths, tall = np.array([60.0, 60.0, 200.0]), np.array([*heights, cable])
    tall = tall * np.exp(rng.normal(0, 0.01, 3))
    appearance = np.zeros((3, 7))
    appearance[:, YELLOW_BLUE] = np.array(colours) + rng.normal(0, 0.1, 3)
    appearance[:, 4] = np.log(widths * np.array([*tall[:2], 10.0]) / 512**2) / SIZE_UNIT
    appearance[:, 5] = np.array([0.3, 0.3, 2.0]) / ELONGATION_UNIT
    appearance[:, 6] = 0.95 / SOLIDITY_UNIT
    places = np.array([[-0.6, 0], [0.6, 0], [0, 0.05]]) + rng.normal(0, spread, (3, 2))
    centres = 256 + 256 * places
    half = np.column_stack([widths, tall]) / 2
    boxes = np.concatenate([centres - half, centres + half], axis=1)
    return Objects(appearance, np.ones((3, 4)), boxes, places, np.ones(3))


def of_type(kind: int, seed: int) -> Objects:
    height, colour = TYPES[kind]
    return image((height, height), (0, 0, colour), seed)


def shots(*kinds: int) -> Combinations:
    return Combinations([of_type(kind, seed) for seed, kind in enumerate(kinds)])


def worst(found: list[Unlike]) -> Unlike:
    nothing = Unlike("resized", 0.0, (), ())
    return max(found, key=lambda one: one.score, default=nothing)


@pytest.mark.parametrize("kinds", [(0, 1, 2, 2), (0, 0, 1, 1), (0, 1, 2) * 5])
def test_an_image_of_a_known_type_is_like_the_shots(kinds: tuple[int, ...]) -> None:
    known = shots(*kinds)
    for kind in set(kinds):
        found = known.unlike(of_type(kind, 100 + kind))
        assert worst(found).score < 0.25


def test_a_known_colour_with_a_known_size_of_another_type_is_recoloured() -> None:
    known = shots(0, 0, 1, 1, 2, 2)
    query = image((SMALL, SMALL), (0, 0, BLUE), 100)
    found = worst(known.unlike(query))
    assert found.score > 1
    assert found.kind == "recoloured"
    assert found.rows == found.slots == (2,)
    assert worst(known.unlike(query, together=False)).score < 0.25


def test_two_sizes_that_are_always_equal_must_be_equal() -> None:
    known = shots(0, 0, 1, 1)
    found = worst(known.unlike(image((SMALL, MEDIUM), (0, 0, YELLOW), 100), together=False))
    assert found.score > 1
    assert found.kind == "resized"
    assert set(found.rows) == {0, 1}
    # It holds for a type that the shots do not have as well.
    unknown = known.unlike(of_type(2, 100), extents=False, together=False)
    assert worst(unknown).score < 0.25


def test_sizes_that_vary_each_on_its_own_have_no_relation() -> None:
    rng = np.random.default_rng(5)
    draws = [tuple(rng.uniform(SMALL, LARGE, 2)) for _ in range(8)]
    known = Combinations([image((a, b), seed=i) for i, (a, b) in enumerate(draws)])
    found = known.unlike(image((SMALL, LARGE), seed=100), extents=False)
    assert worst(found).score < 0.25


def test_other_proportions_are_resized_and_no_more_than_a_count() -> None:
    known = shots(1, 1, 1, 1)
    slanted = image(seed=100, cable=60.0)
    found = worst(known.unlike(slanted))
    assert found.kind == "resized"
    assert found.rows == (2,)
    assert 1 < found.score <= 3
    assert worst(known.unlike(slanted, extents=False, relations=False)).score < 0.25


def test_where_objects_lie_freely_nothing_goes_together() -> None:
    strict = Combinations([of_type(1, seed) for seed in range(4)])
    loose = Combinations([image(seed=seed, spread=0.3) for seed in range(4)])
    query = image(seed=100, cable=60.0)
    assert worst(loose.unlike(query)).score < 0.3 * worst(strict.unlike(query)).score


def test_a_single_shot_and_an_empty_image_say_nothing() -> None:
    assert shots(0).unlike(of_type(1, 1)) == []
    assert shots(0, 0).unlike(of_type(1, 1).rows(np.zeros(3, bool))) == []
    none = of_type(0, 0).rows(np.zeros(3, bool))
    assert Combinations([none, none]).unlike(of_type(0, 1)) == []


def test_a_missing_object_is_left_to_the_counts() -> None:
    known = shots(0, 0, 1, 1)
    found = known.unlike(of_type(1, 100).rows(np.array([True, True, False])))
    assert all(0 <= row < 2 for one in found for row in one.rows)
    assert worst(found).score < 0.25


def test_doubtful_objects_weigh_less() -> None:
    known, query = shots(1, 1, 1, 1), image(seed=100, cable=60.0)
    sure = worst(known.unlike(query)).score
    query.objectness[:] = 0.5
    assert worst(known.unlike(query)).score == pytest.approx(sure / 2)
