"""The patch bank over several shots, and without some of them."""

from __future__ import annotations

import pytest
import torch

from fmlad.errors import OptionError
from fmlad.memory import free_search
from fmlad.memory.free_search import FreeSearch
from fmlad.memory.patch_features import PatchFeatures, ShotPatches
from fmlad.memory.patch_index import PatchIndex, flatten
from fmlad.memory.patch_memory import PatchMemory


def features(seed: int) -> PatchFeatures:
    generator = torch.Generator().manual_seed(seed)
    levels = tuple(torch.randn(1, 6, side, side, generator=generator) for side in (5, 3))
    return PatchFeatures(levels, torch.zeros(6), None)


@pytest.fixture
def memory() -> PatchMemory:
    shots = tuple(ShotPatches(i, features(i)) for i in range(4))
    return PatchMemory(FreeSearch(shots), placed=False)


@pytest.mark.parametrize("exclude", [frozenset(), frozenset({1}), frozenset({0, 2, 3})])
def test_distances_are_to_the_nearest_patch_of_the_shots_left(
    memory: PatchMemory, exclude: frozenset[int]
) -> None:
    query = features(9)
    expected = []
    for level, here in enumerate(query.levels):
        kept = [item for item in memory.memory if item.shot not in exclude]
        bank = torch.cat([flatten(item.features.levels[level]) for item in kept]).double()
        gaps = torch.cdist(flatten(here).double(), bank).amin(1).view(1, 1, *here.shape[-2:])
        expected.append(torch.nn.functional.interpolate(gaps, (5, 5), mode="bilinear")[0, 0])
    found = memory.anywhere(query, exclude).double()
    torch.testing.assert_close(found, torch.stack(expected).mean(0), atol=1e-4, rtol=0)


def test_leaving_shots_out_indexes_nothing_anew(
    memory: PatchMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []

    class Counted(PatchIndex):
        def __init__(self, patches: torch.Tensor) -> None:
            built.append(len(patches))
            super().__init__(patches)

    monkeypatch.setattr(free_search, "PatchIndex", Counted)
    for left_out in range(4):
        memory.anywhere(features(9), frozenset({left_out}))
    assert len(built) == 4 * 2  # shots times levels


def test_at_least_one_shot_must_stay(memory: PatchMemory) -> None:
    with pytest.raises(OptionError, match="at least one must stay"):
        memory.anywhere(features(9), frozenset(range(4)))
