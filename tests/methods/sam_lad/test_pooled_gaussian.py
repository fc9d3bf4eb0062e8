"""The pooled Gaussian: variation shared by all objects, rivals, exclusion, saving."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from fmlad.errors import CorruptDetectorError
from fmlad.io.tensors import TensorReader
from fmlad.memory.templates import image_vector
from fmlad.methods.sam_lad.measurement import (
    CELLS,
    NOBODY,
    Counterpart,
    PooledGaussian,
    box_vectors,
)
from fmlad.objects.appearance import Objects
from fmlad.objects.feature_maps import ObjectMaps

SIDE, CELL = 36, 12  # px of a picture with nine places in three rows
CENTRES = [(CELL * (place % 3) + 6, CELL * (place // 3) + 6) for place in range(9)]


def maps(level: torch.Tensor, boxes: Sequence[Sequence[float]]) -> ObjectMaps:
    """Objects with nothing but a box, on a picture whose cells are pixels."""
    count = len(boxes)
    array = np.array(boxes, float).reshape(-1, 4)
    places = (array[:, :2] + array[:, 2:]) / SIDE - 1
    objects = Objects(np.zeros((count, 7)), np.zeros((count, 1)), array, places, np.ones(count))
    return ObjectMaps(
        level, objects, torch.ones(count, SIDE, SIDE), (SIDE, SIDE), image_vector(level)
    )


def box(place: int, radius: float = 5.0) -> list[float]:
    x, y = CENTRES[place]
    return [x - radius, y - radius, x + radius, y + radius]


def page(
    kinds: Sequence[torch.Tensor], lean: float = 0.0, way: torch.Tensor | None = None, seed: int = 0
) -> ObjectMaps:
    """Nine objects ``(C, CELL, CELL)``, all changed along one way, with a little noise."""
    rng = torch.Generator().manual_seed(seed)
    level = torch.zeros(1, len(kinds[0]), SIDE, SIDE)
    for place, kind in enumerate(kinds):
        x, y = CENTRES[place]
        shown = kind + (0 if way is None else lean * way)
        level[0, :, y - 6 : y + 6, x - 6 : x + 6] = shown
    level += 0.02 * torch.randn(level.shape, generator=rng)
    return maps(level, [box(place) for place in range(9)])


RNG = torch.Generator().manual_seed(5)
KINDS = [torch.randn(3, CELL, CELL, generator=RNG) for _ in range(9)]
WAY, OTHER_WAY = (torch.randn(3, CELL, CELL, generator=RNG) for _ in range(2))
LEANS = (-1.0, -0.4, 0.3, 1.1)


def known(reach: float = 0.3) -> PooledGaussian:
    templates = [page(KINDS, lean, WAY, seed) for seed, lean in enumerate(LEANS)]
    counterparts = [np.tile(np.arange(9)[:, None], (1, len(templates))) for _ in templates]
    found = PooledGaussian.learn(templates, counterparts, reach)
    assert found is not None
    return found


def z_score(
    gaussian: PooledGaussian, query: ObjectMaps, place: int, own: int | None = None
) -> float:
    row, count = place if own is None else own, len(LEANS)
    rows = gaussian.rows([Counterpart(number, query, row) for number in range(count)])
    vectors = box_vectors(query, np.array([box(place)]) / SIDE)
    return float(gaussian.z_score(vectors, rows, range(count), frozenset())[0])


def test_boxes_are_brought_to_one_grid() -> None:
    rng = torch.Generator().manual_seed(1)
    patch = torch.randn(2, CELL, CELL, generator=rng)
    here, there = torch.zeros(1, 2, SIDE, SIDE), torch.zeros(1, 2, SIDE, SIDE)
    here[0, :, :12, :12], there[0, :, 12:24, 24:] = patch, patch
    first = box_vectors(maps(here, [box(0)]), np.array([box(0)]) / SIDE)
    second = box_vectors(maps(there, [box(5)]), np.array([box(5)]) / SIDE)
    assert first.shape == (1, CELLS * CELLS * 2)
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert box_vectors(maps(here, []), np.zeros((0, 4))).shape == (0, CELLS * CELLS * 2)


def test_what_one_object_shows_holds_for_the_others() -> None:
    # Object 0 has never leaned this far, but all objects lean; none was ever changed the other way.
    baseline, unseen = page(KINDS, 1.6, WAY, 20), page(KINDS, 1.6, OTHER_WAY, 21)
    gaussian = known()
    assert z_score(gaussian, baseline, 0) < 2 < z_score(gaussian, unseen, 0)


def test_a_good_object_in_the_wrong_place() -> None:
    swapped = page([KINDS[1], KINDS[0], *KINDS[2:]], 0.1, WAY, 30)
    right = page(KINDS, 0.1, WAY, 31)
    rivals, alone = known(), known(reach=np.inf)
    assert z_score(rivals, right, 0) < 1
    assert z_score(rivals, swapped, 0) > z_score(alone, swapped, 0) + 2


def test_equal_objects_are_no_rivals_of_each_other() -> None:
    same = [KINDS[0]] * 9
    templates = [page(same, lean, WAY, seed) for seed, lean in enumerate(LEANS)]
    counterparts = [np.tile(np.arange(9)[:, None], (1, 4)) for _ in templates]
    gaussian = PooledGaussian.learn(templates, counterparts, 0.3)
    assert gaussian is not None
    assert z_score(gaussian, page(same, 0.2, WAY, 40), 4) < 2


def test_excluded_templates_do_not_count() -> None:
    templates = [page(KINDS, lean, WAY, seed) for seed, lean in enumerate(LEANS)]
    counterparts = [np.tile(np.arange(9)[:, None], (1, 4)) for _ in templates]
    spoilt = [*templates[:3], page([5 * kind for kind in reversed(KINDS)], 0, None, 9)]
    query = box_vectors(page(KINDS, 0.1, WAY, 50), np.array([box(2)]) / SIDE)
    own = np.array([2, 9 + 2, 18 + 2])
    values = []
    for shown in (templates, spoilt):
        gaussian = PooledGaussian.learn(shown, counterparts, 0.3)
        assert gaussian is not None
        values.append(gaussian.surprise(query, own, range(3), frozenset({3}))[0])
    assert values[0] == pytest.approx(values[1], abs=1e-9)


def test_an_object_cut_wrongly_in_one_shot_does_not_count() -> None:
    templates = [page(KINDS, lean, WAY, seed) for seed, lean in enumerate(LEANS)]
    wrong = maps(templates[3].level, [box(0, 1.5), *(box(place) for place in range(1, 9))])
    counterparts = [np.tile(np.arange(9)[:, None], (1, 4)) for _ in templates]
    gaussian = PooledGaussian.learn([*templates[:3], wrong], counterparts, 0.3)
    assert gaussian is not None
    assert z_score(gaussian, page(KINDS, 0.1, WAY, 60), 0) < 2


def test_too_few_shots_or_no_counterparts() -> None:
    templates = [page(KINDS, lean, WAY, seed) for seed, lean in enumerate(LEANS)]
    counterparts = [np.tile(np.arange(9)[:, None], (1, 2)) for _ in range(2)]
    assert PooledGaussian.learn(templates[:2], counterparts, 0.3) is None
    nobody = [np.full((9, 3), NOBODY) for _ in range(3)]
    assert PooledGaussian.learn(templates[:3], nobody, 0.3) is None


def test_saved_and_restored() -> None:
    templates = [page(KINDS, lean, WAY, seed) for seed, lean in enumerate(LEANS)]
    counterparts = [np.tile(np.arange(9)[:, None], (1, 4)) for _ in templates]
    counterparts[2][3] = NOBODY
    gaussian = PooledGaussian.learn(templates, counterparts, 0.3)
    assert gaussian is not None
    assert np.isnan(gaussian.baseline).sum() == 1
    named = {f"gaussian.{name}": tensor for name, tensor in gaussian.tensors().items()}
    again = PooledGaussian.restore(TensorReader(named, "cpu"), templates, 0.3)
    query = page(KINDS, 0.4, WAY, 70)
    assert z_score(again, query, 3) == z_score(gaussian, query, 3)
    far = {**named, "gaussian.pairs": torch.tensor([[0.0, 36.0]])}
    with pytest.raises(ValueError, match="do not exist"):
        PooledGaussian.restore(TensorReader(far, "cpu"), templates, 0.3)
    with pytest.raises(CorruptDetectorError):
        PooledGaussian.restore(
            TensorReader({"gaussian.pairs": named["gaussian.pairs"]}, "cpu"), templates, 0.3
        )
