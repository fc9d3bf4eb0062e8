"""The patch bank over several shots, and without some of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fmlad.errors import OptionError
from fmlad.memory import free_search
from fmlad.memory.free_search import FreeSearch
from fmlad.memory.patch_features import PatchFeatures, ShotPatches
from fmlad.memory.patch_index import PatchIndex, flatten
from fmlad.memory.patch_memory import PatchMemory
from fmlad.memory.registration import Registration, edges


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


@pytest.mark.parametrize("appearing", [True, False])
def test_the_same_place_is_compared_by_the_appearance_where_there_is_one(appearing: bool) -> None:
    grey = torch.rand(64, 80, generator=torch.Generator().manual_seed(0))
    random = torch.randn(1, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    appearance = random if appearing else None
    shot, query = (
        replace(features(seed), edges=edges(grey), appearance=appearance) for seed in (0, 1)
    )
    memory = PatchMemory(FreeSearch((ShotPatches(0, shot),)), placed=True)
    unmoved = Registration(torch.eye(2, 3), 1.0)
    found = memory.at_place(query, [(memory.memory[0], unmoved)], window=0)
    assert found.shape == ((12, 16) if appearing else (5, 5))
    assert (float(found.max()) < 1e-3) == appearing
    # Anywhere it is the levels that are compared.
    assert float(memory.anywhere(query, frozenset()).min()) > 0.1


def test_at_least_one_shot_must_stay(memory: PatchMemory) -> None:
    with pytest.raises(OptionError, match="at least one must stay"):
        memory.anywhere(features(9), frozenset(range(4)))
