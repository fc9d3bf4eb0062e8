"""Prompts of SAM, SAM-HQ and SAM 2: several points for one mask, as their own code answers them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fmlad.backbones.roles import Masks
from fmlad.backbones.sam import sam
from fmlad.backbones.sam.sam_models import TransformersSam
from fmlad.errors import OptionError
from tests.backbones.test_sam import FAMILIES, photo
from tests.backbones.tiny_sam_models import (
    original,
    save_original,
    save_transformers,
    transformers_model,
)
from tests.conftest import picture

segment_anything = pytest.importorskip("segment_anything")

SETS = np.array(
    [
        [[20, 30], [150, 100], [0, 0]],
        [[100, 75], [0, 0], [0, 0]],
        [[60, 110], [130, 20], [180, 140]],
        [[170, 60], [30, 30], [90, 90]],
    ],
    np.float32,
)
LABELS = np.array([[1, 1, -1], [1, -1, -1], [1, 0, 1], [1, 1, 0]])


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backbone(tmp_path: Path, family: str) -> sam.SAM:
    return sam.load(f"{family}:{save_transformers(tmp_path / 'm', FAMILIES[family])}")


def like(found: np.ndarray, expected: np.ndarray) -> float:
    return float((found == expected).mean())


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Within float32's rounding, whose measure is the largest logit: they go into the thousands."""
    scale = expected.abs().amax()
    torch.testing.assert_close(found / scale, expected / scale, atol=5e-5, rtol=0)


def alone(backbone: sam.SAM, points: np.ndarray, labels: np.ndarray) -> Masks:
    real = labels >= 0
    return backbone.prompt(photo(), points=points[None, real], labels=labels[None, real])


def test_a_set_of_points_is_answered_as_by_segment_anything(tmp_path: Path) -> None:
    backbone = sam.load(f"sam:{save_original(tmp_path / 'sam.pth')}")
    predictor = segment_anything.SamPredictor(original())
    predictor.set_image(picture(0, (150, 200)))
    found = backbone.prompt(photo(), points=SETS, labels=LABELS)
    assert len(found) == len(SETS)
    for index, (points, labels) in enumerate(zip(SETS, LABELS, strict=True)):
        real = labels >= 0
        # One point is ambiguous; of several the network has one mask.
        masks, quality, _ = predictor.predict(
            points[real], labels[real], multimask_output=real.sum() == 1
        )
        best = quality.argmax()
        assert found.scores[index] == pytest.approx(np.clip(quality[best], 0, 1), abs=1e-4)
        assert like(found.masks[index], masks[best]) > 0.999


def test_a_set_of_points_is_answered_as_by_transformers(backbone: sam.SAM, family: str) -> None:
    model = transformers_model(FAMILIES[family])
    points, labels = SETS[2:], LABELS[2:]
    network = TransformersSam(model, "cpu")
    encoded = network.encode(picture(0, (150, 200)))
    scale = np.array([encoded.inner[1] / 200, encoded.inner[0] / 150], np.float32)
    maps = encoded.maps
    given: dict[str, Any] = {"image_embeddings": list(maps) if family == "sam2" else maps[0]}
    if family == "sam-hq":
        given["intermediate_embeddings"] = [maps[1]]
    with torch.inference_mode():
        out = model(
            input_points=torch.from_numpy(points * scale)[None],
            input_labels=torch.from_numpy(labels)[None],
            multimask_output=False,
            **given,
        )
    assert out.pred_masks.shape[2] == 1
    expected = network.enlarge(out.pred_masks[0, :, 0], encoded) > 0
    found = backbone.prompt(photo(), points=points, labels=labels)
    assert like(found.masks, expected.numpy()) > 0.9999
    np.testing.assert_allclose(found.scores, out.iou_scores[0, :, 0].clamp(0, 1), atol=1e-4)


def test_sets_are_answered_as_if_each_were_asked_alone(backbone: sam.SAM) -> None:
    boxes = np.array([[10, 20, 90, 110], [100, 30, 190, 140]], np.float32)
    together = backbone.prompt(photo(), boxes, SETS, LABELS)
    assert len(together) == 6
    each = [backbone.prompt(photo(), boxes[n : n + 1]) for n in range(2)]
    each += [alone(backbone, points, labels) for points, labels in zip(SETS, LABELS, strict=True)]
    for index, single in enumerate(each):
        assert like(together.masks[index], single.masks[0]) > 0.9999
        assert together.scores[index] == pytest.approx(float(single.scores[0]), abs=1e-5)
        np.testing.assert_allclose(together.boxes[index], single.boxes[0], atol=2)
    # What fills a set may stand anywhere, and be anywhere.
    turned = SETS[:, ::-1].copy()
    turned[LABELS[:, ::-1] < 0] = 77
    again = backbone.prompt(photo(), points=turned, labels=LABELS[:, ::-1])
    assert like(again.masks, together.masks[2:]) > 0.999
    # Points are no masks of their own, and a point beside the object says something.
    assert like(together.masks[2], together.masks[4]) < 0.999
    beside = backbone.prompt(photo(), points=SETS[2:3], labels=np.array([[1, 1, 1]]))
    assert like(together.masks[4], beside.masks[0]) < 0.999


def test_a_filling_point_is_a_token_for_the_network(family: str) -> None:
    """Which is why sets of unlike sizes are asked apart."""
    network = TransformersSam(transformers_model(FAMILIES[family]), "cpu")
    encoded = network.encode(picture(0, (150, 200)))
    plain, _ = network.decode(encoded, points=SETS[:1, :2], labels=LABELS[:1, :2], several=False)
    filled, _ = network.decode(encoded, points=SETS[:1], labels=LABELS[:1], several=False)
    assert float((plain - filled).abs().amax() / plain.abs().amax()) > 1e-3


def test_one_point_is_ambiguous_and_several_are_not(backbone: sam.SAM, family: str) -> None:
    network = TransformersSam(transformers_model(FAMILIES[family]), "cpu")
    encoded = network.encode(picture(0, (150, 200)))
    middle = np.array([[[100, 75]]], np.float32)
    logits, quality = network.decode(encoded, points=middle)
    best = quality[0].argmax()
    found = backbone.prompt(photo(), points=middle)
    assert found.scores[0] == pytest.approx(float(quality[0, best].clamp(0, 1)), abs=1e-5)
    expected = network.enlarge(logits[:, best], encoded)[0] > 0
    assert like(found.masks[0], expected.numpy()) > 0.9999
    filled = np.concatenate([middle, middle], axis=1)
    same = backbone.prompt(photo(), points=filled, labels=np.array([[1, -1]]))
    np.testing.assert_array_equal(same.masks, found.masks)
    one, _ = network.decode(encoded, points=filled, several=False)
    twice = backbone.prompt(photo(), points=filled)
    assert like(twice.masks[0], (network.enlarge(one[:, 0], encoded)[0] > 0).numpy()) > 0.9999


def test_sam_hq_refines_the_best_of_each_prompts_own_masks() -> None:
    """Early releases of transformers chose over the prompts of a call instead of over the masks."""
    model = transformers_model("sam_hq")
    network = TransformersSam(model, "cpu")
    encoded = network.encode(picture(0, (150, 200)))
    points = np.random.default_rng(0).uniform((0, 0), (200, 150), (12, 1, 2))
    logits, quality = network.decode(encoded, points=points)
    assert logits.shape[:2] == quality.shape == (12, 1)
    given = {
        "input_points": torch.from_numpy(points * 256 / 200).float()[None],
        "input_labels": torch.ones(1, 12, 1, dtype=torch.int),
        "image_embeddings": encoded.maps[0],
        "intermediate_embeddings": [encoded.maps[1]],
    }
    raw: list[torch.Tensor] = []  # the predicted quality of masks 0 to 3, before any choice
    hook = model.mask_decoder.iou_prediction_head.register_forward_hook(
        lambda module, inputs, output: raw.append(output)
    )
    with torch.inference_mode():
        several = model(multimask_output=True, **given)
        refined = model(multimask_output=True, hq_token_only=True, **given).pred_masks[0, :, 0]
    hook.remove()
    guessed = raw[0][0, :, 1:4]
    torch.testing.assert_close(quality[:, 0], guessed.amax(1))
    assert len(set(guessed.argmax(1).tolist())) > 1  # or the wrong axis would do as well
    # SAM's own best mask, plus what the additional token says.
    tokens: list[torch.Tensor] = []
    handles = [
        head.register_forward_hook(lambda module, inputs, output: tokens.append(output))
        for head in model.mask_decoder.output_hypernetworks_mlps
    ]
    maps: list[torch.Tensor] = []
    handles.append(
        model.mask_decoder.upscale_conv2.register_forward_hook(
            lambda module, inputs, output: maps.append(output)
        )
    )
    with torch.inference_mode():
        model(multimask_output=True, **given)
    for handle in handles:
        handle.remove()
    upscaled = model.mask_decoder.activation(maps[0])
    for prompt in range(12):
        best = 1 + int(guessed[prompt].argmax())
        plain = torch.einsum("c,chw->hw", tokens[best][0, prompt], upscaled[prompt])
        close(logits[prompt, 0], plain + refined[prompt])
    torch.testing.assert_close(logits[:, 0], several.pred_masks[0, :, 0])


def test_sam_hq_answers_a_box_with_its_first_mask() -> None:
    model = transformers_model("sam_hq")
    network = TransformersSam(model, "cpu")
    encoded = network.encode(picture(0, (150, 200)))
    boxes = np.array([[10, 20, 90, 110], [100, 30, 190, 140], [5, 5, 60, 60]], np.float32)
    logits, quality = network.decode(encoded, boxes=boxes, several=False)
    for index, box in enumerate(boxes):
        with torch.inference_mode():
            out = model(
                input_boxes=torch.from_numpy(box.astype(float) * 1.28).float()[None, None],
                image_embeddings=encoded.maps[0],
                intermediate_embeddings=[encoded.maps[1]],
                multimask_output=False,
            )
        close(logits[index], out.pred_masks[0, 0])
        close(quality[index], out.iou_scores[0, 0])


def test_more_prompts_than_are_answered_at_a_time(backbone: sam.SAM) -> None:
    points = np.random.default_rng(1).uniform((0, 0), (200, 150), (70, 2)).astype(np.float32)
    many = backbone.prompt(photo(), points=points)
    assert len(many) == 70
    for index in (0, 63, 64, 69):
        single = backbone.prompt(photo(), points=points[index : index + 1])
        assert like(many.masks[index], single.masks[0]) > 0.9999


def test_wrong_prompts_are_refused(tmp_path: Path) -> None:
    backbone = sam.load(f"sam:{save_original(tmp_path / 'sam.pth')}")
    with pytest.raises(OptionError, match="Points are"):
        backbone.prompt(photo(), points=np.zeros((3, 3), np.float32))
    with pytest.raises(OptionError, match="Labels are"):
        backbone.prompt(photo(), points=SETS, labels=LABELS[:2])
    with pytest.raises(OptionError, match="labelled 1"):
        backbone.prompt(photo(), points=SETS[:, :1], labels=np.zeros((4, 1)))
