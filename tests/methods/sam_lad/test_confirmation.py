"""Where an image registers to the shots, objects in unchanged pixels are normal."""

from __future__ import annotations

import numpy as np
import pytest
from torch import Tensor

import fmlad
from fmlad.backbones.roles import Masks
from fmlad.methods.sam_lad.rematching import Confirmation
from tests.methods.sam_lad.test_method import BLUE, TRAY, Blobs, draw, kinds, without


class Unsteady(Blobs):
    """Loses an object and cuts another one in half, when it is told to."""

    name = fingerprint = "test:unsteady@1"
    unsteady = False

    def propose(self, image: Tensor) -> Masks:
        found = super().propose(image)
        if not self.unsteady:
            return found
        masks, boxes = found.masks[1:].copy(), found.boxes[1:].copy()
        middle = int(boxes[-1, [1, 3]].mean())
        masks[-1, middle:] = False
        boxes[-1, 3] = middle
        return Masks(masks, boxes, found.scores[1:])


def fit(proposer: Unsteady, count: int, **options: object) -> fmlad.Detector:
    return fmlad.Detector.from_shots(
        [draw(TRAY, seed) for seed in range(count)],
        method="sam-lad",
        profile="builtin",
        backbones={"mask_proposer": proposer},
        device="cpu",
        **options,  # type: ignore[arg-type]
    )


def test_an_image_that_was_cut_differently_is_normal() -> None:
    query = draw(TRAY, 10)
    for background in (True, False):
        proposer = Unsteady()
        detector = fit(proposer, 4, background=background)
        proposer.unsteady = True
        verdict = detector.predict(query)
        assert verdict.is_anomalous is not background  # nothing else contradicts
        assert (verdict.branch_scores["matching"] == 0) is background
        assert any("same place" in note for note in detector.notes) is background


@pytest.mark.parametrize("shots", [1, 4])
def test_what_did_change_is_found_all_the_same(shots: int) -> None:
    detector = fit(Unsteady(), shots)
    gone = detector.predict(draw(without(4), 0))
    assert gone.is_anomalous
    assert "missing" in kinds(gone)
    more = detector.predict(draw([*TRAY, (BLUE, 70.0, 70.0, 10.0)], 0))
    assert more.is_anomalous
    # One shot knows too little of its clutter: there patches score higher than the count.
    assert shots == 1 or "extra" in kinds(more)


def test_with_one_shot_patches_decide_on_its_objects() -> None:
    large = [((60, 60, 60), 100.0, 70.0, 50.0)]
    detector = fmlad.Detector.from_shots(
        [draw(large, 0)],
        method="sam-lad",
        profile="builtin",
        backbones={"mask_proposer": Blobs()},
        device="cpu",
    )
    query = draw(large, 0)
    query[60:68, 96:104] = 150
    verdict = detector.predict(query)
    assert verdict.is_anomalous
    row, column = np.unravel_index(verdict.anomaly_map.argmax(), verdict.anomaly_map.shape)
    assert 52 <= row < 76
    assert 88 <= column < 112
    assert verdict.threshold is not None
    assert verdict.anomaly_map[95, 75] < verdict.threshold  # the same disc, elsewhere


def test_a_scratch_within_an_object_is_seen_by_the_measure_of_places() -> None:
    large = [((60, 60, 60), 100.0, 70.0, 50.0)]
    detector = fmlad.Detector.from_shots(
        [draw(large, seed) for seed in range(4)],
        method="sam-lad",
        profile="builtin",
        backbones={"mask_proposer": Blobs()},
        device="cpu",
    )
    query = draw(large, 10)
    query[66:72, 92:110] = (150, 60, 60)
    verdict = detector.predict(query)
    assert any("same place" in note for note in detector.notes)
    assert verdict.is_anomalous
    row, column = np.unravel_index(verdict.anomaly_map.argmax(), verdict.anomaly_map.shape)
    assert 58 <= row < 80
    assert 84 <= column < 118


def test_maps_keep_only_cells_that_changed() -> None:
    patches = np.zeros((4, 4), np.float32)
    patches[1, 2] = 9
    maps = Confirmation(patches, alone=False).of_maps({"object": np.full((4, 4), 3, np.float32)})
    assert maps["object"][1, 2] == 3
    assert maps["object"].sum() == 3


def test_there_is_no_confirmation_without_a_bank() -> None:
    assert Confirmation.of(None, None) is None
