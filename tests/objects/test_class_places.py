"""Classes that keep to their places, and those that do not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from fmlad.objects.class_places import split_by_place

SIDE = 100


def drawn(*places: tuple[int, int, int], seed: int = 0) -> npt.NDArray[np.int32]:
    """Squares of 6 px: row, column and class of each, moved by up to 2 px."""
    rng, labels = np.random.default_rng(seed), np.zeros((SIDE, SIDE), np.int32)
    for row, column, label in places:
        down, across = rng.integers(-2, 3, 2)
        labels[row + down : row + down + 6, column + across : column + across + 6] = label
    return labels


def test_a_part_in_each_of_its_places_becomes_a_class_a_place() -> None:
    maps = [drawn((20, 20, 1), (20, 70, 1), (70, 45, 2), seed=seed) for seed in range(6)]
    found, origins = split_by_place(maps, 3)
    assert origins == [0, 1, 1, 2]
    for before, after in zip(maps, found, strict=True):
        assert ((before > 0) == (after > 0)).all()
        assert {int(after[20:28, 20:26].max()), int(after[20:28, 70:76].max())} == {1, 2}
        assert after[72, 48] == 3
    left = {int(one[23, 23]) for one in found}
    assert len(left) == 1  # the same number in every image


def test_loose_parts_stay_one_class() -> None:
    rng = np.random.default_rng(3)
    maps = [drawn(*((*rng.integers(5, 90, 2), 1) for _ in range(2)), seed=n) for n in range(6)]
    found, origins = split_by_place(maps, 2)
    assert origins == [0, 1]
    assert all((one == two).all() for one, two in zip(maps, found, strict=True))


def test_an_image_that_lacks_a_part_or_has_one_too_many_keeps_the_places() -> None:
    maps = [drawn((20, 20, 1), (20, 70, 1), seed=seed) for seed in range(8)]
    maps += [drawn((20, 20, 1)), drawn((20, 20, 1), (20, 70, 1), (30, 75, 1))]
    found, origins = split_by_place(maps, 2)
    assert origins == [0, 1, 1]
    assert len(np.unique(found[8])) == 2
    assert found[9][32, 78] == found[9][22, 73]


def test_a_single_image_and_an_absent_class_say_nothing() -> None:
    one = drawn((20, 20, 1), (20, 70, 1))
    assert split_by_place([one], 2)[1] == [0, 1]
    found, origins = split_by_place([np.zeros((5, 5), np.int32)] * 3, 2)
    assert origins == [0, 1]
    assert max(int(each.max()) for each in found) == 0


@pytest.mark.parametrize("shape", [(60, 100), (100, 60)])
def test_specks_do_not_count(shape: tuple[int, int]) -> None:
    maps = []
    for seed in range(5):
        labels = np.zeros(shape, np.int32)
        labels[10:20, 10:20] = labels[40:50, 40:50] = 1
        labels[5 + 10 * (seed % 4), 30] = 1
        maps.append(labels)
    found, origins = split_by_place(maps, 2)
    assert origins == [0, 1, 1]
    assert all(((one > 0) == (two > 0)).all() for one, two in zip(maps, found, strict=True))
