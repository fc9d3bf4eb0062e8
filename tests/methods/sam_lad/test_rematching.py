"""Pieces of one object, objects that were not cut out, and one proposal over two objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from fmlad.memory.templates import image_vector
from fmlad.methods.sam_lad.config import SamLadConfig
from fmlad.methods.sam_lad.measurement import ObjectScorer
from fmlad.methods.sam_lad.method import SamLad
from fmlad.methods.sam_lad.rematching import Rematcher
from fmlad.methods.sam_lad.state import SamLadState
from fmlad.objects.appearance import Objects
from fmlad.objects.assignment import Assignment
from fmlad.objects.feature_maps import ObjectMaps
from fmlad.objects.selection import Selection

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


class Templates:
    """Four normal templates, and queries matched with them."""

    def __init__(self, pooled: bool) -> None:
        self.method = SamLad(SamLadConfig(pooled=pooled))
        templates = tuple(page(PLACES, seed) for seed in range(4))
        state = SamLadState(4, (0, 1, 2, 3), templates, Selection(), None, None)
        self.learned = self.method._learned(state, [])
        assert self.learned.affinity.arranged
        assert (self.learned.gaussian is not None) is pooled
        self.state = replace(state, learned=self.learned)

    def rematcher(self, query: ObjectMaps) -> Rematcher:
        learned, matches = self.learned, self.method.matched(query, self.state)
        matches.sort(key=lambda one: one.number)
        scorer = ObjectScorer("box", 0.01, learned.baseline, learned.gaussian, range(4))
        return Rematcher(query, matches, scorer, learned.affinity.reach)


@pytest.fixture(scope="module", params=[True, False], ids=["pooled", "by places"])
def known(request: pytest.FixtureRequest) -> Templates:
    return Templates(request.param)


def halves(place: int) -> list[Box]:
    left, top, right, bottom = PLACES[place]
    return [(left, top, right, top + 5), (left, top + 5, right, bottom)]


def test_pieces_that_are_one_object_are_measured_as_matched_with_its_counterparts(
    known: Templates,
) -> None:
    others = [box for place, box in enumerate(PLACES) if place != 4]
    rematcher = known.rematcher(page([*others, *halves(4)], 20))
    together = rematcher.together((8, 9))
    assert together is not None
    assert together.matched
    assert together.z_score < 1.5
    whole = known.rematcher(page(PLACES, 20)).alone()[4]
    assert whole is not None
    assert together.z_score == pytest.approx(whole.z_score, abs=1e-6)
    np.testing.assert_allclose(together.measured.distances, whole.measured.distances, atol=1e-4)
    alone = rematcher.alone()
    one = rematcher.rematched(alone)[0]
    assert (8, 9) in one.joined
    assert one.match.cost == 0
    objects = rematcher.reconsidered(alone, one)
    assert objects[9] is None
    assert objects[8] is one.joined[(8, 9)]


def test_an_object_that_was_not_cut_out_is_not_missing(known: Templates) -> None:
    rematcher = known.rematcher(page([box for i, box in enumerate(PLACES) if i != 6], 21))
    for one in rematcher.rematched(rematcher.alone()):
        assert one.match.cost == 0
        assert not one.absent


def test_an_object_cut_out_of_place_has_not_moved_but_one_that_moved_has() -> None:
    known = Templates(pooled=True)
    left, top, right, _ = PLACES[4]
    half = [*PLACES[:4], (left, top, right, top + 4), *PLACES[5:]]
    cut = known.rematcher(page(half, 25))
    kinds = KINDS.clone()
    kinds[4] = 0
    gone = known.rematcher(page(half, 26, kinds))
    order = np.arange(9)
    for rematcher, free in ((cut, True), (gone, False)):
        told = [
            replace(
                one,
                moved=np.where(order == 4, 2.0, 0.0),
                assignment=Assignment(np.stack([order, order], 1), order, np.eye(10)),
            )
            for one in rematcher.matches
        ]
        rematcher = replace(rematcher, matches=told)
        alone = rematcher.alone()
        for one in rematcher.rematched(alone):
            assert (one.match.moved[4] == 0) == free


def test_an_object_that_is_gone_stays_missing_and_its_place_is_anomalous(known: Templates) -> None:
    kinds = KINDS.clone()
    kinds[6] = 0
    rematcher = known.rematcher(page([box for i, box in enumerate(PLACES) if i != 6], 22, kinds))
    for one in rematcher.rematched(rematcher.alone()):
        assert one.match.missing[6] > 0
        assert one.absent[6].z_score > 3


def test_one_proposal_over_two_objects_is_measured_in_their_places() -> None:
    known = Templates(pooled=True)
    joined: Box = (PLACES[0][0], PLACES[0][1], PLACES[1][2], PLACES[1][3])
    query = page([joined, *PLACES[2:]], 23)
    rematcher = known.rematcher(query)
    alone = rematcher.alone()
    assert alone[0] is not None
    assert alone[0].z_score > 3
    second = rematcher.rematched(alone)
    chosen = min(second, key=lambda one: one.match.cost)
    found = rematcher.reconsidered(alone, chosen)[0]
    assert found is not None
    assert found.z_score < 1.5
    assert all(not one.match.missing.any() for one in second)


def test_a_changed_object_stays_anomalous_however_it_is_cut() -> None:
    known = Templates(pooled=True)
    kinds = KINDS.clone()
    kinds[4] = kinds[4].flip(-1)
    rematcher = known.rematcher(page(PLACES, 24, kinds))
    alone = rematcher.alone()
    objects = rematcher.reconsidered(alone, rematcher.rematched(alone)[0])
    z_score = [one.z_score for one in objects if one is not None]
    assert len(z_score) == 9
    assert z_score[4] > 3 > max(z_score[:4] + z_score[5:])
