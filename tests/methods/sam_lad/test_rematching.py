"""Pieces of one object, objects that were not cut out, and one proposal over two objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from fmlad.methods.sam_lad.comparison import (
    Comparison,
    Matcher,
    before,
    learn_statistics,
)
from fmlad.methods.sam_lad.matching import Affinity, Assignment, MatchStatistics
from fmlad.methods.sam_lad.object_maps import ObjectMaps
from fmlad.methods.sam_lad.pooled_gaussian import PooledGaussian
from fmlad.methods.sam_lad.rematching import Rematcher, rematched
from fmlad.methods.sam_lad.templates import TemplateIndex, image_vector
from fmlad.objects.appearance import Objects

SIDE, CELL = 36, 12  # px of a picture with nine places in three rows
Box = tuple[float, float, float, float]
PLACES: list[Box] = [
    (CELL * (i % 3) + 1, CELL * (i // 3) + 1, CELL * (i % 3) + 11, CELL * (i // 3) + 11)
    for i in range(9)
]
RNG = torch.Generator().manual_seed(3)
KINDS = torch.rand(9, 4, 10, 10, generator=RNG)


def page(boxes: Sequence[Box], seed: int, kinds: torch.Tensor = KINDS) -> ObjectMaps:
    """Nine objects, and how they were cut: by boxes."""
    noise = torch.Generator().manual_seed(seed)
    level = torch.zeros(1, 4, SIDE, SIDE)
    for place, (left, top, right, bottom) in enumerate(PLACES):
        level[0, :, int(top) : int(bottom), int(left) : int(right)] = kinds[place]
    level += 0.03 * torch.randn(level.shape, generator=noise)
    array = np.array(boxes, float)
    masks = torch.zeros(len(boxes), SIDE, SIDE)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[int(top) : int(bottom), int(left) : int(right)] = 1
    areas = (array[:, 2] - array[:, 0]) * (array[:, 3] - array[:, 1])
    appearance = np.zeros((len(boxes), 7))
    appearance[:, 4] = np.log(areas / SIDE**2) / np.log(1.5)
    places = (array[:, :2] + array[:, 2:]) / SIDE - 1
    objects = Objects(appearance, np.zeros((len(boxes), 1)), array, places, np.ones(len(boxes)))
    return ObjectMaps(level, objects, masks, (SIDE, SIDE), image_vector(level))


class Bench:
    """Four normal templates, and queries before them."""

    def __init__(self, pooled: bool) -> None:
        self.templates = [page(PLACES, seed) for seed in range(4)]
        described = [template.described("gap") for template in self.templates]
        self.affinity = Affinity.learn(described)
        assert self.affinity.spread is not None
        self.matcher = Matcher(self.affinity, "gap", 1.0)
        index = TemplateIndex([template.vector for template in self.templates])
        found = learn_statistics(self.templates, index, self.matcher, "box", 0.01)
        self.statistics: MatchStatistics = found[0]
        self.baseline, self.likes = found[1], found[2]
        self.gaussian = None
        if pooled:
            self.gaussian = PooledGaussian.learn(self.templates, self.likes, self.affinity.reach)

    def rematcher(self, query: ObjectMaps) -> Rematcher:
        comparisons: list[Comparison] = [
            before(query, number, template, self.matcher, self.statistics, frozenset())
            for number, template in enumerate(self.templates)
        ]
        scorer = None
        if self.gaussian is not None:
            among = range(len(self.templates))
            scorer = partial(self.gaussian.z_scores_of_boxes, query, among, frozenset())
        return Rematcher(query, comparisons, self.affinity, "box", 0.01, self.baseline, scorer)


@pytest.fixture(scope="module", params=[True, False], ids=["pooled", "by places"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def halves(place: int) -> list[Box]:
    left, top, right, bottom = PLACES[place]
    return [(left, top, right, top + 5), (left, top + 5, right, bottom)]


def test_pieces_that_are_one_object_are_measured_as_matched_with_its_likes(bench: Bench) -> None:
    others = [box for place, box in enumerate(PLACES) if place != 4]
    rematcher = bench.rematcher(page([*others, *halves(4)], 20))
    together = rematcher.together((8, 9))
    assert together is not None
    assert together.matched
    assert together.z_score < 1.5
    whole = bench.rematcher(page(PLACES, 20)).alone(4)
    assert whole is not None
    assert together.z_score == pytest.approx(whole.z_score, abs=1e-6)
    np.testing.assert_allclose(together.measured.distances, whole.measured.distances, atol=1e-4)
    alone = [rematcher.alone(row) for row in range(10)]
    one = rematched(rematcher, alone)[0]
    assert (8, 9) in one.joined
    assert one.comparison.cost == 0
    objects = rematcher.reconsidered(alone, one)
    assert objects[9] is None
    assert objects[8] is one.joined[(8, 9)]


def test_an_object_that_was_not_cut_out_is_not_missing(bench: Bench) -> None:
    rematcher = bench.rematcher(page([box for i, box in enumerate(PLACES) if i != 6], 21))
    for one in rematched(rematcher, [rematcher.alone(row) for row in range(8)]):
        assert one.comparison.cost == 0
        assert not one.absent


def test_an_object_cut_out_of_place_has_not_moved_but_one_that_moved_has() -> None:
    bench = Bench(pooled=True)
    left, top, right, _ = PLACES[4]
    half = [*PLACES[:4], (left, top, right, top + 4), *PLACES[5:]]
    cut = bench.rematcher(page(half, 25))
    kinds = KINDS.clone()
    kinds[4] = 0
    gone = bench.rematcher(page(half, 26, kinds))
    order = np.arange(9)
    for rematcher, free in ((cut, True), (gone, False)):
        told = [
            replace(
                one,
                moved=np.where(order == 4, 2.0, 0.0),
                found=Assignment(np.stack([order, order], 1), order, np.eye(10)),
            )
            for one in rematcher.comparisons
        ]
        rematcher = replace(rematcher, comparisons=told)
        alone = [rematcher.alone(row) for row in range(9)]
        for one in rematched(rematcher, alone):
            assert (one.comparison.moved[4] == 0) == free


def test_an_object_that_is_gone_stays_missing_and_its_place_is_odd(bench: Bench) -> None:
    kinds = KINDS.clone()
    kinds[6] = 0
    rematcher = bench.rematcher(page([box for i, box in enumerate(PLACES) if i != 6], 22, kinds))
    for one in rematched(rematcher, [rematcher.alone(row) for row in range(8)]):
        assert one.comparison.missing[6] > 0
        assert one.absent[6].z_score > 3


def test_one_proposal_over_two_objects_is_measured_in_their_places() -> None:
    bench = Bench(pooled=True)
    joined: Box = (PLACES[0][0], PLACES[0][1], PLACES[1][2], PLACES[1][3])
    query = page([joined, *PLACES[2:]], 23)
    rematcher = bench.rematcher(query)
    alone = [rematcher.alone(row) for row in range(8)]
    assert alone[0] is not None
    assert alone[0].z_score > 3
    second = rematched(rematcher, alone)
    chosen = min(second, key=lambda one: one.comparison.cost)
    found = rematcher.reconsidered(alone, chosen)[0]
    assert found is not None
    assert found.z_score < 1.5
    assert all(not one.comparison.missing.any() for one in second)


def test_a_changed_object_stays_odd_however_it_is_cut() -> None:
    bench = Bench(pooled=True)
    kinds = KINDS.clone()
    kinds[4] = kinds[4].flip(-1)
    rematcher = bench.rematcher(page(PLACES, 24, kinds))
    alone = [rematcher.alone(row) for row in range(9)]
    objects = rematcher.reconsidered(alone, rematched(rematcher, alone)[0])
    z_score = [one.z_score for one in objects if one is not None]
    assert len(z_score) == 9
    assert z_score[4] > 3 > max(z_score[:4] + z_score[5:])
