"""The search anywhere against brute force: variation, background, several levels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate

from fmlad.memory.free_search import (
    LEAST_SHOTS,
    FreeSearch,
    Join,
    excess,
    joined,
    without_background,
)
from fmlad.memory.patch_features import PatchFeatures, ShotPatches
from fmlad.memory.patch_index import flatten

SIDES = (5, 3)  # of the two levels


def features(seed: int, sides: tuple[int, ...] = SIDES) -> PatchFeatures:
    generator = torch.Generator().manual_seed(seed)
    levels = tuple(torch.randn(1, 6, side, side + 1, generator=generator) for side in sides)
    return PatchFeatures(levels, torch.zeros(6), None)


def remembered(shots: int, copies: int = 0) -> tuple[ShotPatches, ...]:
    """Shots, and so many symmetric copies of each, of other sizes."""
    originals = [ShotPatches(shot, features(shot)) for shot in range(shots)]
    more = [
        ShotPatches(shot, features(100 + 10 * shot + number, (4, 2)))
        for shot in range(shots)
        for number in range(copies)
    ]
    return (*originals, *more)


def gaps(patches: Tensor, bank: Tensor) -> npt.NDArray[np.float64]:
    """All distances ``(n, m)``."""
    a, b = (flatten(level).double().numpy() for level in (patches, bank))
    found: npt.NDArray[np.float64] = np.linalg.norm(a[:, None] - b[None], axis=2)
    return found


def oracle(
    memory: tuple[ShotPatches, ...],
    query: PatchFeatures,
    exclude: frozenset[int],
    share: float,
    join: Join,
) -> Tensor:
    """The map as :mod:`fmlad.memory.free_search` describes it, patch by patch."""
    maps = []
    for number, level in enumerate(query.levels):
        kept = [item for item in memory if item.shot not in exclude]
        expected = []  # of each patch of each member
        for item in kept:
            own = next(one for one in memory if one.shot == item.shot).features.levels[number]
            others = [one for one in kept if one.shot != item.shot]
            variation = np.zeros(own.shape[-2] * own.shape[-1])
            if others:
                all_gaps = [gaps(own, one.features.levels[number]) for one in others]
                variation = np.concatenate(all_gaps, axis=1).min(1)
            if item.features.levels[number] is not own:
                cells = flatten(item.features.levels[number])
                middle = np.sort(variation)[(len(variation) - 1) // 2]
                variation = np.full(len(cells), middle)
            expected.append(variation)
        table = np.concatenate([gaps(level, one.features.levels[number]) for one in kept], axis=1)
        nearest = table.argmin(1)
        distances = table.min(1) - share * np.concatenate(expected)[nearest]
        one = torch.from_numpy(distances.clip(0)).view(1, 1, *level.shape[-2:])
        maps.append(interpolate(one, query.levels[0].shape[-2:], mode="bilinear")[0, 0])
    stack = torch.stack(maps)
    if join == "mean" or len(maps) == 1:
        return stack.mean(0)
    return stack.clamp_min(1e-6).prod(0) ** (1 / len(maps))


joins = pytest.mark.parametrize("join", ["mean", "product"])


@joins
@pytest.mark.parametrize("copies", [0, 2])
@pytest.mark.parametrize(
    "exclude", [frozenset(), *(frozenset({shot}) for shot in range(4)), frozenset({0, 2})]
)
def test_maps_are_those_of_brute_force(join: Join, copies: int, exclude: frozenset[int]) -> None:
    memory, query = remembered(4, copies), features(9)
    found = FreeSearch(memory, 0.4, join).map(query, exclude, 0.0)
    expected = oracle(memory, query, exclude, 0.4, join)
    torch.testing.assert_close(found.double(), expected, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("shot", range(4))
def test_a_left_out_shot_is_judged_as_any_other_picture(shot: int) -> None:
    memory = remembered(4)
    search = FreeSearch(memory, 0.4, "product")
    own, exclude = memory[shot].features, frozenset({shot})
    again = PatchFeatures(tuple(level.clone() for level in own.levels), own.pooled, None)
    for _ in range(2):  # computed, and remembered
        assert torch.equal(search.map(own, exclude, 1.0), search.map(again, exclude, 1.0))
    # As if it had never been given.
    rest = [ShotPatches(n, m.features) for n, m in enumerate(memory[:shot] + memory[shot + 1 :])]
    never = FreeSearch(tuple(rest), 0.4, "product").map(again, frozenset(), 1.0)
    torch.testing.assert_close(search.map(own, exclude, 1.0), never, atol=2e-3, rtol=1e-3)


def test_of_what_leaves_a_single_shot_nothing_is_taken_off() -> None:
    memory, query, exclude = remembered(3), features(9), frozenset({0, 1})
    found = FreeSearch(memory, 0.4).map(query, exclude, 0.0)
    assert torch.equal(found, FreeSearch(memory).map(query, exclude, 0.0))
    assert float(found.min()) > 0


@pytest.mark.parametrize("shots", [1, 2, LEAST_SHOTS])
def test_fewer_than_three_shots_take_nothing_off(shots: int) -> None:
    memory, query = remembered(shots, copies=1), features(9)
    plain = FreeSearch(memory).map(query, frozenset(), 0.0)
    less = FreeSearch(memory, 0.4).map(query, frozenset(), 0.0)
    assert torch.equal(plain, less) == (shots < LEAST_SHOTS)
    assert (less <= plain).all()
    assert not FreeSearch(memory).varies


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 20))
def test_a_larger_share_never_raises_a_distance(one: float, other: float, seed: int) -> None:
    memory, query = remembered(3), features(50 + seed)
    little, much = sorted((one, other))
    maps = [FreeSearch(memory, share).map(query, frozenset(), 0.0) for share in (little, much)]
    assert (maps[1] <= maps[0] + 1e-6).all()
    assert (maps[1] >= 0).all()


def test_a_variation_tells_which_shot_is_near() -> None:
    search = FreeSearch(remembered(4, copies=1), 0.4)
    found = search.variation(1, 0)
    others = [n for n, item in enumerate(search.memory) if item.shot != 1]
    here = search.memory[1].features.levels[0]
    table = {n: gaps(here, search.memory[n].features.levels[0]).min(1) for n in others}
    for patch in range(30):
        near = min(others, key=lambda n: table[n][patch])
        assert int(found.owner[patch]) == search.memory[near].shot
        rest = [n for n in others if search.memory[n].shot != search.memory[near].shot]
        second = min(table[n][patch] for n in rest)
        assert float(found.second[patch]) == pytest.approx(second, abs=2e-3)
        assert float(found.nearest[patch]) == pytest.approx(table[near][patch], abs=2e-3)


# --- several levels -------------------------------------------------------------------------------


def test_what_is_odd_on_one_level_alone_is_not_odd() -> None:
    quiet, loud = torch.zeros(4, 4), torch.full((4, 4), 9.0)
    assert float(joined([quiet, loud], "product").max()) < 0.01
    assert float(joined([quiet, loud], "mean").min()) == 4.5
    torch.testing.assert_close(joined([torch.full((4, 4), 4.0), loud], "product"), loud * 2 / 3)


@joins
def test_levels_that_agree_and_one_level_alone_stay_as_they_are(join: Join) -> None:
    one = torch.rand(6, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(joined([one, one], join), one)
    assert torch.equal(joined([one], join), one)
    coarse = torch.full((3, 4), 2.0)
    torch.testing.assert_close(joined([coarse.new_full((6, 8), 2.0), coarse], join, 1.0),
                               torch.full((6, 8), 2.0))  # fmt: skip


# --- background -----------------------------------------------------------------------------------

maps = st.integers(0, 1000).map(
    lambda seed: torch.rand(12, 17, generator=torch.Generator().manual_seed(seed)) ** 3
)


@given(maps, st.floats(0, 10))
def test_a_map_without_background_is_never_below_0_nor_above_itself(
    distances: Tensor, most: float
) -> None:
    found = without_background(distances, most)
    assert (found >= 0).all()
    assert (found <= distances).all()
    assert float(found.max()) > 0
    # Order stays.
    order = distances.flatten().argsort()
    assert (found.flatten()[order].diff() >= 0).all()


@given(maps, st.floats(0, 10), st.floats(0, 100))
def test_a_constant_added_to_a_map_changes_nothing(
    distances: Tensor, most: float, constant: float
) -> None:
    found = without_background(distances + constant, most)
    torch.testing.assert_close(found, without_background(distances, most), atol=1e-4, rtol=1e-4)


def test_a_defect_on_a_quarter_of_the_image_survives() -> None:
    normal = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
    usual = excess(normal)
    defect = normal.clone()
    defect[:8, :8] += 3
    kept = without_background(defect, 1.5 * usual)
    assert float(kept[:8, :8].min()) > 1
    assert float((kept[8:] > 0).float().mean()) < 0.3
    # Without the limit most of it would be taken for background.
    assert float(without_background(defect, 100.0)[:8, :8].mean()) < 1


def test_excess_is_that_of_the_definition() -> None:
    distances = torch.arange(101.0).view(1, 101)
    assert excess(distances) == pytest.approx(40)
    assert excess(torch.ones(3, 3)) == 0
