"""Boxes by the lexicon: on drawn pictures, and on scenes whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from fmlad.backbones.embedded.lexicon_boxes import LexiconBoxes
from fmlad.backbones.roles import Grounder
from fmlad.datasets import render_scene
from fmlad.datasets.scenes import Scene
from fmlad.errors import OptionError, PromptError
from fmlad.profiles import PROFILES, load_backbones
from fmlad.prompts import PromptSet
from tests.backbones.test_lexicon_scenes import SETS, TYPES, kinds
from tests.backbones.test_objects import disc, ground, tensor

RED, BLUE, YELLOW = (190, 30, 30), (40, 60, 170), (220, 200, 40)


@pytest.fixture(scope="module")
def grounder() -> LexiconBoxes:
    return LexiconBoxes()


def around(x: float, y: float, radius: float) -> tuple[float, ...]:
    return x - radius, y - radius, x + radius, y + radius


def iou(a: np.ndarray, b: tuple[float, ...]) -> float:
    width, height = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(width * height / (sum(areas) - width * height))


def balls() -> torch.Tensor:
    image = ground("plain")
    for x, y, radius, colour in ((80, 80, 20, RED), (240, 70, 20, RED), (160, 160, 26, BLUE)):
        disc(image, x, y, radius, colour)
    return tensor(image)


def test_each_phrase_finds_its_own_objects(grounder: LexiconBoxes) -> None:
    assert isinstance(grounder, Grounder)
    found = grounder.find(balls(), ["blue ball", "yellow ball", "red ball"])
    assert sorted(found.phrases.tolist()) == [0, 2, 2]
    for phrase, truth in ((0, (160, 160, 26)), (2, (80, 80, 20)), (2, (240, 70, 20))):
        same = found.boxes[found.phrases == phrase]
        assert max(iou(box, around(*truth)) for box in same) > 0.7
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.min() > 0.5
    assert found.scores.max() <= 1
    assert (found.boxes.dtype, found.phrases.dtype, found.scores.dtype) == (
        np.float32, np.int64, np.float32,
    )  # fmt: skip


def test_sizes_are_those_of_the_objects_beside_it(grounder: LexiconBoxes) -> None:
    image = ground("plain")
    for x, radius in ((60, 12), (140, 12), (240, 44)):
        disc(image, x, 120, radius, RED)
    found = grounder.find(tensor(image), ["large round thing", "small round thing"])
    (large,) = found.boxes[found.phrases == 0]
    assert iou(large, around(240, 120, 44)) > 0.7
    assert (found.phrases == 1).sum() == 2


def test_nothing_fits(grounder: LexiconBoxes) -> None:
    found = grounder.find(balls(), ["green ball", "huge striped board"])
    assert (found.boxes.shape, found.phrases.shape, found.scores.shape) == ((0, 4), (0,), (0,))
    empty = torch.full((1, 3, 100, 140), 128, dtype=torch.uint8)
    assert len(grounder.find(empty, ["red ball"])) == 0


def test_boxes_are_in_pixels_of_any_size(grounder: LexiconBoxes) -> None:
    image = ground("plain")
    disc(image, 100, 150, 30, YELLOW)
    double = torch.nn.functional.interpolate(tensor(image).float(), scale_factor=2).byte()
    found = grounder.find(double, ["yellow ball"])
    (box,) = found.boxes
    assert iou(box, around(200, 300, 60)) > 0.7


@pytest.mark.parametrize(
    ("phrases", "why"),
    [
        ([], "one phrase at least"),
        ("red ball", "a list of phrases"),
        ([3], "Phrase 0 is 3, not text"),
        (["red ball", "screw"], "'screw' has no word for what it looks like"),
        ([""], "has no word for what it looks like"),
        (["not red"], "cannot negate"),
    ],
)
def test_what_the_lexicon_cannot_see_is_refused(
    grounder: LexiconBoxes, phrases: list[str], why: str
) -> None:
    with pytest.raises(PromptError, match=why):
        grounder.find(balls(), phrases)


def test_one_image_at_a_time(grounder: LexiconBoxes) -> None:
    with pytest.raises(OptionError, match="takes one image"):
        grounder.find(torch.cat([balls(), balls()]), ["red ball"])


def test_it_is_the_grounder_of_the_embedded_profile(grounder: LexiconBoxes) -> None:
    loaded = load_backbones({"grounder": PROFILES["builtin"]["grounder"]}, "cpu")["grounder"]
    assert isinstance(loaded, Grounder)
    assert loaded.name == "builtin:lexicon-boxes@1"
    assert loaded.fingerprint == grounder.fingerprint
    assert "builtin:objects@3" in loaded.fingerprint
    assert "builtin:lexicon@1" in loaded.fingerprint
    assert loaded.expensive


# --- on scenes ------------------------------------------------------------------------------------


def normal_scenes(name: str, world: int, images: int) -> Iterator[Scene]:
    for category, turns in TYPES.items():
        if name.startswith(category):
            turn = turns.index(name.removeprefix(f"{category}_"))
            for index in range(images):
                yield render_scene(category, world, "train", "good", 3 * index + turn)
            return
    for index in range(images):
        yield render_scene(name, world, "train", "good", index)


def counted(grounder: LexiconBoxes, name: str, world: int, images: int) -> np.ndarray:
    """Boxes, those of them on an object of their part, true objects, those of them with a box."""
    prompts = PromptSet.load(f"scenes/{name}")
    words, owners = prompts.phrases()
    part_of = {kind: part for part in prompts.part_names for kind in kinds(part)}
    counts = np.zeros(4, int)
    for scene in normal_scenes(name, world, images):
        image = torch.from_numpy(scene.image.transpose(2, 0, 1).copy())[None]
        found = grounder.find(image, words)
        parts = [prompts.part_names[owners[phrase]] for phrase in found.phrases]
        known = [item for item in scene.objects if item.kind in part_of]
        truths = {part_of[item.kind] for item in known}  # a lever is a part without a true object
        said = [(box, part) for box, part in zip(found.boxes, parts, strict=True) if part in truths]
        right = [
            [part_of[item.kind] == part and iou(box, item.box) > 0.5 for item in known]
            for box, part in said
        ]
        hits = np.array(right, bool).reshape(len(said), len(known))
        counts += [len(said), hits.any(axis=1).sum(), len(known), hits.any(axis=0).sum()]
    return counts


@pytest.mark.parametrize("name", ["pushpins", "screw_bag"])
def test_parts_of_scenes_are_found_by_their_words(grounder: LexiconBoxes, name: str) -> None:
    boxes, right, objects, found = counted(grounder, name, world=2, images=2)
    assert right / boxes > 0.7
    assert found / objects > 0.8


@pytest.mark.soak
def test_most_boxes_on_scenes_have_the_right_phrase(grounder: LexiconBoxes) -> None:
    """The figures of ``docs/backbones.md``."""
    counts = sum(counted(grounder, name, world, 4) for name in SETS for world in (1, 2))
    boxes, right, objects, found = counts
    print(f"{right} of {boxes} boxes, {found} of {objects} objects")
    assert right / boxes == pytest.approx(0.89, abs=0.03)
    assert found / objects == pytest.approx(0.90, abs=0.03)


def test_grounder_and_proposer_look_through_an_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from fmlad.backbones.embedded.learned_objects import LearnedProposer
    from fmlad.profiles import load_backbones, resolve
    from fmlad.views import BackboneSet
    from tests.conftest import picture

    passes: list[int] = []
    whole = LearnedProposer.tree

    def counted(self: LearnedProposer, image: torch.Tensor) -> object:
        passes.append(1)
        return whole(self, image)

    monkeypatch.setattr(LearnedProposer, "tree", counted)
    found = load_backbones(resolve(["grounder", "mask_proposer"], "builtin"), "cpu")
    for seed in (31, 32):
        view = BackboneSet(found).view(picture(seed))
        boxes = view.boxes(["red", "blue"])
        view.masks()
        view.prompted(boxes.boxes)
    assert len(passes) == 2
