"""Every backbone once per image, whoever asks; and what the disk cache may and may not do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import fmlad
from fmlad.backbones.embedded.objects import ObjectProposer
from fmlad.backbones.roles import Pyramid
from fmlad.io.cache import DiskCache
from fmlad.views import BackboneSet, encode_together
from tests.conftest import CountingFeatures, picture

Counting = Callable[..., CountingFeatures]


def detector(backbone: CountingFeatures, shots: int = 4) -> fmlad.Detector:
    return fmlad.Detector.from_shots(
        [picture(i) for i in range(shots)],
        profile="builtin",
        backbones={"feature_extractor": backbone},
        banks=("patch",),
    )


def test_fitting_with_leave_one_out_encodes_each_shot_once(counting: Counting) -> None:
    backbone = counting()
    detector(backbone, shots=5)
    assert backbone.images == 5


def test_one_shot_encodes_itself_and_its_four_altered_copies_once(counting: Counting) -> None:
    backbone = counting()
    detector(backbone, shots=1)
    assert backbone.images == 1 + 4


def test_predict_encodes_the_query_once_and_no_shot_again(counting: Counting) -> None:
    backbone = counting()
    fitted = detector(backbone)
    backbone.images = 0
    fitted.predict(picture(9)).overlay()
    assert backbone.images == 1


def test_predict_many_encodes_each_image_once_in_batches(counting: Counting) -> None:
    backbone = counting()
    fitted = detector(backbone)
    backbone.images = backbone.calls = 0
    queries = [picture(i) for i in range(10, 17)] + [picture(20, size=(100, 100))]
    assert len(list(fitted.predict_many(queries, batch_size=4))) == 8
    assert backbone.images == 8
    assert backbone.calls == 3  # 4 alike; 3 alike and one of another size


def test_adding_and_removing_shots_encodes_only_what_is_new(counting: Counting) -> None:
    backbone = counting()
    fitted = detector(backbone)
    backbone.images = 0
    fitted.add_shots([picture(5), picture(6)])
    fitted.remove_shot(0)
    assert backbone.images == 2


def test_symmetric_copies_cost_one_encoding_each(counting: Counting) -> None:
    backbone = counting()
    fmlad.Detector.from_shots(
        [picture(0), picture(1)],
        profile="builtin",
        backbones={"feature_extractor": backbone},
        symmetry="all",
    )
    assert backbone.images == 2 * 8


def test_an_expensive_backbone_is_read_from_disk_in_another_session(counting: Counting) -> None:
    first, second = counting(expensive=True), counting(expensive=True)
    one = detector(first).predict(picture(9))
    two = detector(second).predict(picture(9))
    assert first.images == 5
    assert second.images == 0
    assert one.score == two.score
    np.testing.assert_array_equal(one.anomaly_map, two.anomaly_map)


def test_a_cheap_backbone_leaves_no_trace_on_disk(counting: Counting, tmp_path: Path) -> None:
    detector(counting()).predict(picture(9))
    assert not (tmp_path / "cache").exists()


def test_the_cache_tells_fingerprints_and_pixels_apart(counting: Counting, tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache")
    first, other = counting(expensive=True), counting(expensive=True)
    other.fingerprint = "test:other@1"  # type: ignore[misc]
    BackboneSet({"feature_extractor": first}, cache).view(picture(0)).pyramid()
    BackboneSet({"feature_extractor": other}, cache).view(picture(0)).pyramid()
    BackboneSet({"feature_extractor": first}, cache).view(picture(1)).pyramid()
    assert (first.images, other.images) == (2, 1)


def test_features_lie_on_the_detectors_device_computed_or_read_back(
    counting: Counting, tmp_path: Path
) -> None:
    cache = DiskCache(tmp_path / "cache")
    backbone = counting(expensive=True)
    for _ in range(2):  # the second view reads what the first one stored
        view = BackboneSet({"feature_extractor": backbone}, cache, device="meta").view(picture(0))
        pyramid = view.pyramid()
        tensors = (*pyramid.levels.values(), pyramid.pooled)
        assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert backbone.images == 1


def test_a_batch_gives_what_single_images_give(counting: Counting) -> None:
    backbone_set = BackboneSet({"feature_extractor": counting()})
    together = [backbone_set.view(picture(i)) for i in range(3)]
    encode_together(together)
    for index, view in enumerate(together):
        alone = backbone_set.view(picture(index)).pyramid()
        for stride, level in view.pyramid().levels.items():
            torch.testing.assert_close(level, alone.levels[stride])


def test_masks_are_proposed_once_and_cached_when_dear(tmp_path: Path) -> None:
    class Dear(ObjectProposer):
        expensive = True
        calls = 0

        def propose(self, image: torch.Tensor) -> fmlad.backbones.roles.Masks:
            self.calls += 1
            return super().propose(image)

    cache = DiskCache(tmp_path / "cache")
    first, second = Dear(), Dear()
    view = BackboneSet({"mask_proposer": first}, cache).view(picture(0))
    view.masks()
    again = BackboneSet({"mask_proposer": second}, cache).view(picture(0)).masks()
    assert (first.calls, second.calls) == (1, 0)
    np.testing.assert_array_equal(view.masks().masks, again.masks)
    assert first.calls == 1


def test_pixels_of_a_view_cannot_be_changed() -> None:
    view = BackboneSet({}).view(picture(0))
    with pytest.raises(ValueError, match="read-only"):
        view.pixels[0, 0, 0] = 1


def test_stages_come_back_from_disk_in_order(tmp_path: Path) -> None:
    class Staged(CountingFeatures):
        def encode(self, images: torch.Tensor) -> Pyramid:
            plain = super().encode(images)
            shape = (len(images), 2, 3, 3)
            stages = tuple(torch.full(shape, float(number)) for number in range(12))
            return Pyramid(plain.levels, plain.pooled, stages)

    cache = DiskCache(tmp_path / "cache")
    first, second = Staged(expensive=True), Staged(expensive=True)
    views = [BackboneSet({"feature_extractor": first}, cache).view(picture(i)) for i in range(2)]
    encode_together(views)
    again = BackboneSet({"feature_extractor": second}, cache).view(picture(1)).pyramid()
    assert (first.images, second.images) == (2, 0)
    assert [stage.mean().item() for stage in again.stages] == list(range(12))
    assert again.levels.keys() == views[1].pyramid().levels.keys()
    assert views[0].pyramid().stages[0].shape == (1, 2, 3, 3)


def test_the_appearance_comes_back_from_disk_and_counts_as_memory(tmp_path: Path) -> None:
    class Appearing(CountingFeatures):
        def encode(self, images: torch.Tensor) -> Pyramid:
            plain = super().encode(images)
            finest = plain.levels[min(plain.levels)]
            mean = images.float().mean((1, 2, 3)).view(-1, 1, 1, 1)
            return Pyramid(plain.levels, plain.pooled, appearance=mean.expand_as(finest).clone())

    cache = DiskCache(tmp_path / "cache")
    first, second = Appearing(expensive=True), Appearing(expensive=True)
    views = [BackboneSet({"feature_extractor": first}, cache).view(picture(i)) for i in range(2)]
    encode_together(views)
    again = [BackboneSet({"feature_extractor": second}, cache).view(picture(i)) for i in range(2)]
    encode_together(again)
    assert (first.images, second.images) == (2, 0)
    for view, read, number in zip(views, again, range(2), strict=True):
        found = read.pyramid()
        assert found.appearance is not None
        assert float(found.appearance.mean()) == pytest.approx(picture(number).mean(), abs=1e-2)
        assert found.levels.keys() == view.pyramid().levels.keys()
        assert torch.equal(found.cells, view.pyramid().cells)
        assert torch.equal(found.cells, found.appearance)
    moved = again[0].pyramid().to("meta")
    assert moved.cells.device.type == "meta"
    plain = BackboneSet({"feature_extractor": CountingFeatures()}).view(picture(0))
    level = plain.pyramid().levels[min(plain.pyramid().levels)]
    assert torch.equal(plain.pyramid().cells, level)
    assert again[0].nbytes - plain.nbytes == level.nbytes


def test_other_eyes_share_what_backbones_said_but_no_notes(counting: Counting) -> None:
    backbone, proposer = counting(), ObjectProposer()
    view = BackboneSet({"feature_extractor": backbone}).view(picture(0), "a")
    view.pyramid()
    before = view.nbytes
    copies = view.gentle_copies
    copies[0].pyramid()
    assert view.nbytes > before > view.pixels.nbytes
    view.memo["note"] = 1
    other = view.through(BackboneSet({"feature_extractor": backbone, "mask_proposer": proposer}))
    assert other.pyramid().pooled is view.pyramid().pooled
    assert other.gentle_copies[0].pyramid().pooled is copies[0].pyramid().pooled
    assert backbone.images == 2
    assert other.memo == {}
    assert not view.has("mask_proposer")
    assert len(other.masks()) == len(other.masks().boxes)
    assert (other.name, other.key) == (view.name, view.key)
