"""The shots' objects: saved and restored, left out, and brought into one frame."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fmlad.backbones.roles import Masks
from fmlad.errors import CorruptDetectorError
from fmlad.io.tensors import TensorReader
from fmlad.methods.banks.object_memory import ObjectMemory, read_together
from fmlad.methods.banks.parts_model import Deviation, PartsModel
from fmlad.objects.appearance import (
    COLOUR,
    FORM,
    Objects,
    Proposals,
    describe_proposals,
)
from fmlad.objects.arrangement import moved
from fmlad.objects.choices import Choices

Floats = npt.NDArray[np.float64]
PLACES = np.array([[-0.6, -0.4], [0.1, -0.5], [0.6, -0.3], [-0.5, 0.4], [0.0, 0.2], [0.6, 0.5]])


def rounded(values: Floats) -> Floats:
    """To what is kept, as ``described`` does."""
    return values.astype(np.float32).astype(np.float64)


def objects(seed: int, places: Floats, objectness: float = 1.0, kind: float = 2.0) -> Objects:
    """Compact things of one look at some places."""
    n, rng = len(places), np.random.default_rng(seed)
    appearance = np.tile([kind, 0, 0, 0.5, -10, 0.2, 9.7], (n, 1)) + rng.normal(0, 0.02, (n, 7))
    centres = (places + 1) * 160
    boxes = np.concatenate([centres - 10, centres + 10], axis=1)
    return Objects(
        rounded(appearance),
        rounded(appearance[:, :3]),
        rounded(boxes),
        rounded(places),
        np.full(n, np.float64(np.float32(objectness))),
    )


def arranged(seed: int, places: Floats = PLACES) -> Objects:
    """Shifted and turned a little as a whole, and each a very little."""
    rng = np.random.default_rng(seed)
    turn, shift = rng.uniform(-0.1, 0.1), rng.uniform(-0.05, 0.05, 2)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return objects(seed, places @ matrix.T + shift + rng.normal(0, 0.005, places.shape))


def heap(seed: int) -> Objects:
    return objects(seed, np.random.default_rng(seed + 50).uniform(-0.8, 0.8, PLACES.shape))


def kinds(of: Objects) -> Choices:
    columns = [of.appearance[:, COLOUR[:3]], of.appearance[:, FORM], np.zeros(len(of))]
    points = np.column_stack(columns)
    return Choices(rounded(points), rounded(np.full(len(of), 0.9)), np.ones(len(of), bool))


def remembered(shots: list[Objects], place: bool = True, hierarchy: bool = True) -> ObjectMemory:
    return ObjectMemory.learn(shots, [kinds(shot) for shot in shots], hierarchy, place)


def again(
    memory: ObjectMemory,
    tensors: dict[str, torch.Tensor] | None = None,
    meta: dict[str, Any] | None = None,
) -> ObjectMemory:
    """Through JSON and the reader, as from disk."""
    reader = TensorReader(memory.tensors() if tensors is None else tensors, "cpu")
    described = json.loads(json.dumps(memory.meta() if meta is None else meta))
    with reader.description("objects"):
        return ObjectMemory.restore(reader, described)


def judged(memory: ObjectMemory, query: Objects) -> list[Deviation]:
    framed = memory.model()
    settled = framed.model.pooled(query)
    into = framed.transform(settled)
    return framed.model.deviations(settled, None if into is None else moved(query.places, into))


NOTHING = objects(0, np.zeros((0, 2)))


@pytest.mark.parametrize(
    "memory",
    [
        remembered([arranged(i) for i in range(4)]),
        remembered([heap(i) for i in range(3)]),
        remembered([arranged(0)]),
        remembered([NOTHING, NOTHING]),
        remembered([arranged(0), NOTHING, arranged(1)]),
        remembered([arranged(0), arranged(1)], hierarchy=False),
        remembered([arranged(0), arranged(1)], place=False),
        remembered([*(arranged(i) for i in range(4)), heap(0)]),
    ],
    ids=[
        "arranged",
        "heaps",
        "one shot",
        "nothing",
        "one without",
        "no hierarchy",
        "no place",
        "one odd",
    ],
)
def test_restored_it_thinks_the_same(memory: ObjectMemory) -> None:
    restored = again(memory)
    assert restored.meta() == memory.meta()
    for first, second in zip(memory.frames, restored.frames, strict=True):
        assert (first is None) == (second is None)
        if first is not None:
            np.testing.assert_array_equal(first, second)
    queries = [arranged(9), arranged(9, PLACES[1:]), heap(9), objects(9, PLACES, kind=8), NOTHING]
    for query in queries:
        assert judged(restored, query) == judged(memory, query)
    for one, other in zip(memory.choices, restored.choices, strict=True):
        np.testing.assert_array_equal(one.points, other.points)
        np.testing.assert_array_equal(one.quality, other.quality)
        np.testing.assert_array_equal(one.kept, other.kept)


def test_all_tensors_are_float32() -> None:
    tensors = remembered([arranged(i) for i in range(3)]).tensors()
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    assert len(tensors) == 3 * 5 + 3 + 3


def test_all_tensors_are_laid_out_as_safetensors_asks() -> None:
    tensors = remembered([arranged(i) for i in range(3)]).tensors()
    assert all(t.is_contiguous() for t in tensors.values())


WRONG: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "float64": lambda t: t.double(),
    "flat": lambda t: t.flatten(),
    "a column less": lambda t: t[:, :-1],
    "a row more": lambda t: torch.cat([t, t[:1]]),
    "NaN": lambda t: t * torch.nan,
}


@pytest.mark.parametrize("how", WRONG)
def test_wrong_tensors_are_refused(how: str) -> None:
    memory = remembered([arranged(i) for i in range(3)])
    tensors = memory.tensors()
    for name, tensor in tensors.items():
        if how == "a row more" and name.startswith("choices"):
            continue  # as if the image had one proposal more
        with pytest.raises(CorruptDetectorError):
            again(memory, {**tensors, name: WRONG[how](tensor)})


def test_missing_and_unknown_tensors_are_refused() -> None:
    memory = remembered([arranged(i) for i in range(3)])
    tensors = memory.tensors()
    for name in tensors:
        with pytest.raises(CorruptDetectorError):
            again(memory, {other: t for other, t in tensors.items() if other != name})
    for name in ("frames.7", "objects.3.appearance"):
        with pytest.raises(CorruptDetectorError):
            again(memory, {**tensors, name: torch.zeros(2, 3)})


@pytest.mark.parametrize(
    "change",
    [
        {"shots": 2},
        {"shots": 4},
        {"shots": 0},
        {"shots": -1},
        {"shots": "many"},
        {"shots": None},
        {"framed": [True, True]},
        {"framed": [True, True, False]},
        {"framed": []},
        {"framed": None},
        {"framed": [True] * 4},
    ],
)
def test_a_lying_description_is_refused(change: dict[str, Any]) -> None:
    memory = remembered([arranged(i) for i in range(3)])
    with pytest.raises(CorruptDetectorError):
        again(memory, meta=memory.meta() | change)


def test_a_description_that_lacks_something_is_refused() -> None:
    memory = remembered([arranged(i) for i in range(3)])
    for name in memory.meta():
        with pytest.raises(CorruptDetectorError):
            again(memory, meta={key: v for key, v in memory.meta().items() if key != name})


def test_a_shot_left_out_is_as_if_it_had_never_been_given() -> None:
    shots = [objects(i, PLACES[: 4 + (i == 3)], kind=6.0 * (i == 3)) for i in range(5)]
    memory = remembered(shots, place=False)
    without = memory.model(frozenset({3}))
    alone = PartsModel([shot for i, shot in enumerate(shots) if i != 3], None, True)
    assert without.shots == (0, 1, 2, 4)
    settled = alone.pooled(shots[3])
    found = without.model.deviations(without.model.pooled(shots[3]), None)
    assert found == alone.deviations(settled, None)
    assert found[0].score > 2
    with_all = memory.model().model
    known = with_all.deviations(with_all.pooled(shots[3]), None)
    assert max(d.score for d in known) < max(d.score for d in found)


def test_leaving_one_out_does_not_change_what_all_say() -> None:
    memory = remembered([arranged(i) for i in range(4)])
    before = judged(memory, heap(3))
    for number in range(4):
        memory.model(frozenset({number}))
    assert judged(memory, heap(3)) == before
    assert memory.model() is memory.model()


@pytest.mark.parametrize("seed", range(3))
def test_shots_arranged_alike_have_frames_that_bring_them_together(seed: int) -> None:
    shots = [arranged(10 * seed + i) for i in range(4)]
    memory = remembered(shots)
    assert len(memory.frames) == 4
    placed = [
        moved(shot.places, frame)
        for shot, frame in zip(shots, memory.frames, strict=True)
        if frame is not None
    ]
    assert len(placed) == 4
    raw = np.std([shot.places for shot in shots], axis=0).mean()
    assert np.std(placed, axis=0).mean() < 0.6 * raw


@pytest.mark.parametrize("seed", range(5))
def test_heaps_have_no_frames(seed: int) -> None:
    memory = remembered([heap(10 * seed + i) for i in range(4)])
    assert memory.frames == ()
    assert memory.model().frames is None
    assert memory.model().transform(heap(99)) is None


def test_one_shot_too_few_objects_or_no_wish_for_places_give_no_frames() -> None:
    assert remembered([arranged(0)]).frames == ()
    assert remembered([arranged(i, PLACES[:2]) for i in range(4)]).frames == ()
    assert remembered([NOTHING] * 4).frames == ()
    assert remembered([arranged(i) for i in range(4)], place=False).frames == ()


def test_one_shot_that_does_not_fit_leaves_the_others_arranged() -> None:
    memory = remembered([*(arranged(i) for i in range(4)), heap(0)])
    assert [frame is not None for frame in memory.frames] == [True] * 4 + [False]
    framed = memory.model()
    assert framed.placed == (0, 1, 2, 3)
    assert framed.frames is not None


def test_a_query_arranged_alike_is_placed_and_what_moved_is_named() -> None:
    memory = remembered([arranged(i) for i in range(4)])
    framed = memory.model()
    assert framed.transform(arranged(9)) is not None
    assert not judged(memory, arranged(9)) or judged(memory, arranged(9))[0].score < 1
    places = PLACES.copy()
    places[0] += (0.3, 0.25)
    first = judged(memory, arranged(9, places))[0]
    assert (first.kind, first.rows) == ("misplaced", (0,))
    assert framed.transform(NOTHING) is None


def test_a_missing_object_is_boxed_where_it_would_lie() -> None:
    memory = remembered([arranged(i) for i in range(4)])
    query = arranged(9)
    fewer = query.rows(np.arange(6) != 2)
    framed = memory.model()
    missing = next(d for d in judged(memory, fewer) if d.kind == "missing")
    assert len(missing.absent) == 1
    into = framed.transform(framed.model.pooled(fewer))
    box = framed.box_in(missing.absent[0], into, np.array([1.0, 1.0]), 320)
    np.testing.assert_allclose(box, query.boxes[2], atol=10)
    assert (box[2:] > box[:2]).all()


def test_faint_ones_of_a_sure_kind_are_sure() -> None:
    sure, faint = objects(0, PLACES, 1.0), objects(1, PLACES[:1], 0.2)
    memory = remembered([sure, objects(2, PLACES), objects(3, PLACES)], place=False)
    model = memory.model().model
    np.testing.assert_array_equal(model.pooled(faint).objectness, [1.0])
    stranger = objects(1, PLACES[:1], 0.2, kind=30.0)
    np.testing.assert_allclose(model.pooled(stranger).objectness, [0.2], atol=1e-6)
    both = replace(faint, objectness=np.array([0.2]))
    model.pooled(both)
    assert both.objectness[0] == 0.2  # the original is left alone
    assert len(model.pooled(NOTHING)) == 0


def test_sure_ones_of_a_doubtful_kind_are_doubtful() -> None:
    memory = remembered([objects(i, PLACES, 0.2) for i in range(3)], place=False)
    settled = memory.model().model.pooled(objects(9, PLACES[:2], 1.0))
    assert settled.objectness.max() < 0.01


def test_one_shot_settles_nothing() -> None:
    model = remembered([objects(0, PLACES)]).model().model
    np.testing.assert_allclose(model.pooled(objects(1, PLACES, 0.2)).objectness, 0.2, atol=1e-6)


def test_a_sliver_of_the_colour_of_a_sure_kind_stays_faint() -> None:
    memory = remembered([objects(i, PLACES) for i in range(4)], place=False)
    model = memory.model().model
    sliver = objects(5, PLACES[:1], 0.2)
    appearance = sliver.appearance.copy()
    appearance[:, FORM[1]] += 5.0  # eight times as long for its width
    settled = model.pooled(replace(sliver, appearance=appearance))
    np.testing.assert_allclose(settled.objectness, [0.2], atol=1e-6)


def test_faint_slivers_of_its_colour_do_not_make_a_kind_doubtful() -> None:
    def with_slivers(seed: int) -> Objects:
        things, slivers = objects(seed, PLACES), objects(seed + 20, PLACES, 0.01)
        slivers.appearance[:, FORM[1]] += 5.0
        pairs = zip(vars(things).values(), vars(slivers).values(), strict=True)
        return Objects(*(np.concatenate(pair) for pair in pairs))

    model = remembered([with_slivers(i) for i in range(4)], place=False).model().model
    objectness = model.pooled(with_slivers(9)).objectness
    np.testing.assert_array_equal(objectness[: len(PLACES)], 1.0)
    assert objectness[len(PLACES) :].max() < 0.05


def page(gaps: int, wholes: int, offered: bool = True) -> Proposals:
    """Four pairs of dice that touch, of which ``wholes`` are read as one; offered as two as well.

    ``gaps`` moves the pairs, so that no shot is another's copy.
    """
    masks, preferred = [], []
    for number in range(4):
        top, left = 4 + 14 * number, 4 + 3 * ((number + gaps) % 4)
        for start, stop, whole in ((0, 8, False), (8, 16, False), (0, 16, True)):
            mask = np.zeros((64, 64), bool)
            mask[top : top + 8, left + start : left + stop] = True
            if whole or number >= wholes or offered:
                masks.append(mask)
                preferred.append(whole == (number < wholes))
    boxes = np.zeros((len(masks), 4), np.float32)
    found = Masks(np.array(masks), boxes, np.full(len(masks), 0.9, np.float32), np.array(preferred))
    pixels = np.full((64, 64, 3), 120, np.uint8)
    return describe_proposals(pixels, found, torch.ones(1, 2, 8, 8))


def numbers(shots: list[Proposals]) -> list[int]:
    return [int(rows.sum()) for rows in read_together(shots, True)]


@pytest.mark.parametrize("odd", range(4))
@pytest.mark.parametrize("wholes", [1, 4])
def test_one_misread_shot_of_four_is_read_again(odd: int, wholes: int) -> None:
    shots = [page(number, wholes if number == odd else 0) for number in range(4)]
    assert numbers(shots) == [8] * 4
    # The order of the shots does not matter.
    assert numbers(shots[::-1]) == [8] * 4
    shots = [page(number, 4 - wholes if number == odd else 4) for number in range(4)]
    assert numbers(shots) == [4] * 4


def test_what_is_not_offered_is_not_read() -> None:
    shots = [page(number, int(number == 2), offered=False) for number in range(4)]
    assert numbers(shots) == [8, 8, 7, 8]


def test_one_shot_and_none_to_read_it_by() -> None:
    assert numbers([page(0, 1)]) == [7]
    assert numbers([]) == []


def test_a_shot_left_out_is_read_again_and_a_query_is_not() -> None:
    shots = [page(number, 0) for number in range(4)]
    kept = read_together(shots, True)
    both = list(zip(shots, kept, strict=True))
    memory = ObjectMemory.learn(
        [one.objects.rows(rows) for one, rows in both],
        [Choices.of(one, rows) for one, rows in both],
        True,
        False,
    )
    # So good a whole that consensus by appearance leaves it.
    image = page(1, 1)
    misread = replace(image, quality=np.where(image.areas > 0.02, 1.0, 0.42))
    assert int(memory.select(misread, frozenset()).sum()) == 7
    assert int(memory.select(misread, frozenset({1})).sum()) == 8
