"""SAM, SAM-HQ and SAM 2 from their on-disk formats, with tiny random weights."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fmlad.backbones.roles import MaskProposer
from fmlad.backbones.sam import sam
from fmlad.backbones.sam.sam_original import renamed
from fmlad.errors import OptionError, WeightsUnavailableError
from fmlad.io.cache import DiskCache
from fmlad.views import BackboneSet
from tests.backbones.tiny_sam_models import (
    original,
    save_original,
    save_transformers,
    transformers_model,
)
from tests.conftest import picture

segment_anything = pytest.importorskip("segment_anything")
FAMILIES = {"sam": "sam", "sam-hq": "sam_hq", "sam2": "sam2"}
# Random weights make masks that span the picture: suppression would leave one.
OPEN = "points=5,iou=0,stability=0.6,nms=1"


def photo(seed: int = 0, size: tuple[int, int] = (150, 200)) -> torch.Tensor:
    return torch.from_numpy(picture(seed, size)).permute(2, 0, 1)[None]


def fake_cv2() -> SimpleNamespace:
    """The one function of OpenCV's that segment-anything calls."""
    from skimage.measure import label

    def components(image: np.ndarray, connectivity: int) -> tuple[object, ...]:
        regions = label(image, connectivity={4: 1, 8: 2}[connectivity])
        sizes = np.bincount(regions.ravel())
        return len(sizes), regions, np.stack([sizes * 0, sizes], axis=1), None

    return SimpleNamespace(connectedComponentsWithStats=components)


@pytest.mark.parametrize(
    ("more", "settings", "least"),
    [
        ("", {}, 30),
        ("stability=0.9", {"stability_score_thresh": 0.9}, 10),
        ("nms=0.97", {"box_nms_thresh": 0.97, "crop_nms_thresh": 0.97}, 1),
        ("iou=0.4", {"pred_iou_thresh": 0.4}, 10),
        ("specks=60", {"min_mask_region_area": 60}, 30),
        ("crops=1,points=3", {"crop_n_layers": 1, "points_per_side": 3}, 10),
    ],
)
def test_the_masks_are_those_of_segment_anything(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: str,
    settings: dict[str, float],
    least: int,
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", fake_cv2())
    options = ",".join(filter(None, (OPEN, "specks=0", more)))
    backbone = sam.load(f"sam:{save_original(tmp_path / 'sam.pth')}#{options}")
    given = {
        "points_per_side": 5,
        "points_per_batch": 10,
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.6,
        "box_nms_thresh": 1.0,
        "crop_nms_thresh": 1.0,
    }
    generator = segment_anything.SamAutomaticMaskGenerator(original(), **{**given, **settings})
    expected = sorted(
        generator.generate(picture(0, (150, 200))), key=lambda found: -found["predicted_iou"]
    )
    found = backbone.propose(photo())
    assert len(found) == len(expected) >= least
    assert isinstance(backbone, MaskProposer)
    scores = np.clip([one["predicted_iou"] for one in expected], 0, 1)
    np.testing.assert_allclose(found.scores, scores, atol=1e-4)
    same = [
        (mask == one["segmentation"]).mean()
        for mask, one in zip(found.masks, expected, strict=True)
    ]
    assert min(same) > 0.999  # a logit of nearly 0 may fall to either side
    assert np.mean(same) > 0.9999


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_of_transformers_is_read(tmp_path: Path, family: str) -> None:
    folder = save_transformers(tmp_path / "m", FAMILIES[family])
    backbone = sam.load(f"{family}:{folder}#{OPEN}")
    assert isinstance(backbone, MaskProposer)
    found = backbone.propose(photo())
    assert len(found) > 0
    assert found.masks.shape[1:] == (150, 200)
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.min() >= 0
    assert found.scores.max() <= 1
    again = sam.load(f"{family}:{folder}#{OPEN},batch=7").propose(photo())
    assert (again.masks == found.masks).mean() > 0.9999

    # Its processor and model, asked for the middle, give the same.
    middle = np.array([[100, 75]], np.float32)
    prompted = backbone.prompt(photo(), points=middle)
    logits, quality = through_the_library(family, folder, [[[100.0, 75.0]]])
    best = 0 if family == "sam-hq" else int(quality.argmax())
    assert prompted.scores[0] == pytest.approx(float(quality[best].clamp(0, 1)), abs=1e-4)
    assert (prompted.masks[0] == (logits[best] > 0).numpy()).mean() > 0.999


def through_the_library(
    family: str, folder: Path, points: list[list[list[float]]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks and qualities of one point by transformers' own processing."""
    import transformers as t
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    image = Image.fromarray(picture(0, (150, 200)))
    if family == "sam2":
        model = t.Sam2Model.from_pretrained(folder).eval()
        resized = np.array(image.resize((256, 256), Image.Resampling.BILINEAR))
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        pixels = torch.from_numpy((resized / 255 - mean) / std).permute(2, 0, 1)[None].float()
        scaled = torch.tensor([[points]]) * torch.tensor([256 / 200, 256 / 150])
        with torch.inference_mode():
            out = model(pixel_values=pixels, input_points=scaled[0])
        logits = torch.nn.functional.interpolate(
            out.pred_masks[0], (150, 200), mode="bilinear", align_corners=False
        )
        return logits[0], out.iou_scores[0, 0]
    model = (t.SamModel if family == "sam" else t.SamHQModel).from_pretrained(folder).eval()
    processor = t.SamProcessor(
        SamImageProcessorPil(size={"longest_edge": 256}, pad_size={"height": 256, "width": 256})
    )
    inputs = processor(image, input_points=points, return_tensors="pt")
    sizes = (inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes"))
    with torch.inference_mode():
        out = model(**inputs)
    logits = processor.image_processor.post_process_masks(
        out.pred_masks, *sizes, binarize=False, pad_size={"height": 256, "width": 256}
    )
    return logits[0][0], out.iou_scores[0, 0]


def test_the_video_model_of_sam2_is_read_for_pictures(tmp_path: Path) -> None:
    import json

    folder = save_transformers(tmp_path / "m", "sam2")
    expected = sam.load(f"sam2:{folder}#{OPEN}").propose(photo())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "sam2_video"}))
    found = sam.load(f"sam2:{folder}#{OPEN}").propose(photo())
    np.testing.assert_array_equal(found.masks, expected.masks)


def original_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """SAM-HQ's tensors under the names of its own repository, written out from its layout."""
    pairs = {
        "vision_encoder.layers.": "image_encoder.blocks.",
        "vision_encoder.neck.conv1": "image_encoder.neck.0",
        "vision_encoder.neck.layer_norm1": "image_encoder.neck.1",
        "vision_encoder.neck.conv2": "image_encoder.neck.2",
        "vision_encoder.neck.layer_norm2": "image_encoder.neck.3",
        "vision_encoder.patch_embed.projection": "image_encoder.patch_embed.proj",
        "vision_encoder.": "image_encoder.",
        "mask_embed.conv1": "mask_downscaling.0",
        "mask_embed.layer_norm1": "mask_downscaling.1",
        "mask_embed.conv2": "mask_downscaling.3",
        "mask_embed.layer_norm2": "mask_downscaling.4",
        "mask_embed.conv3": "mask_downscaling.6",
        "encoder.point_embed.": "encoder.point_embeddings.",
        "upscale_conv1": "output_upscaling.0",
        "upscale_layer_norm": "output_upscaling.1",
        "upscale_conv2": "output_upscaling.3",
        "hq_token": "hf_token",
        "hq_mask_mlp": "hf_mlp",
        "compress_vit_conv1": "compress_vit_feat.0",
        "compress_vit_norm": "compress_vit_feat.1",
        "compress_vit_conv2": "compress_vit_feat.3",
        "decoder.encoder_conv1": "decoder.embedding_encoder.0",
        "decoder.encoder_norm": "decoder.embedding_encoder.1",
        "decoder.encoder_conv2": "decoder.embedding_encoder.3",
        "decoder.mask_conv1": "decoder.embedding_maskfeature.0",
        "decoder.mask_norm": "decoder.embedding_maskfeature.1",
        "decoder.mask_conv2": "decoder.embedding_maskfeature.3",
        "layer_norm_final_attn": "norm_final_attn",
        "layer_norm": "norm",
        ".proj_in.": ".layers.0.",
        ".layers.0.weight": ".layers.1.weight",
        ".layers.0.bias": ".layers.1.bias",
        ".proj_out.": ".layers.2.",
    }
    result = {}
    for name, tensor in state.items():
        if "shared_embedding" in name:
            continue
        if name == "shared_image_embedding.positional_embedding":
            name = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
        for ours, theirs in pairs.items():
            if ours.startswith(".layers.0.") and ".proj_" in name:
                continue
            if ours == ".proj_in." and ours in name:
                name = name.replace(ours, theirs)
                break
            name = name.replace(ours, theirs)
        result[name] = tensor
    return result


def test_an_original_checkpoint_of_sam_hq_is_read(tmp_path: Path) -> None:
    model = transformers_model("sam_hq")
    state = model.state_dict()
    theirs = original_names(state)
    assert "mask_decoder.hf_mlp.layers.2.bias" in theirs
    back = renamed(theirs)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)

    torch.save(theirs, tmp_path / "sam_hq_vit_t.pth")
    model.save_pretrained(tmp_path / "m")
    ours = sam.load(f"sam-hq:{tmp_path / 'sam_hq_vit_t.pth'}#{OPEN}").propose(photo())
    expected = sam.load(f"sam-hq:{tmp_path / 'm'}#{OPEN}").propose(photo())
    # The epsilon of the decoder's norms differs: 1e-5 in the original, 1e-6 in the folder.
    np.testing.assert_allclose(ours.scores, expected.scores, atol=1e-3)
    assert (ours.masks == expected.masks).mean() > 0.995


def test_prompts_are_in_input_pixels_and_boxes_are_prompts(tmp_path: Path) -> None:
    backbone = sam.load(f"sam:{save_original(tmp_path / 'sam.pth')}")
    predictor = segment_anything.SamPredictor(original())
    predictor.set_image(picture(0, (150, 200)))
    points = np.array([[20, 30], [150, 100]], np.float32)
    boxes = np.array([[10, 20, 90, 110]], np.float32)
    found = backbone.prompt(photo(), boxes=boxes, points=points)
    assert found.masks.shape == (3, 150, 200)
    masks, quality, _ = predictor.predict(box=boxes[0], multimask_output=False)
    assert (found.masks[0] == masks[0]).mean() > 0.999
    for index, point in enumerate(points, start=1):
        masks, quality, _ = predictor.predict(point[None], np.ones(1))
        assert (found.masks[index] == masks[quality.argmax()]).mean() > 0.999
    nothing = backbone.prompt(photo())
    assert nothing.masks.shape == (0, 150, 200)
    assert nothing.boxes.shape == (0, 4)


def test_the_image_encoder_runs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = sam.load(f"sam:{save_original(tmp_path / 'sam.pth')}#{OPEN}")
    encodings = []
    encode = backbone._model.encode
    monkeypatch.setattr(
        backbone._model, "encode", lambda pixels: encodings.append(1) or encode(pixels)
    )
    backbone.propose(photo())
    backbone.prompt(photo(), points=np.array([[5, 5]], np.float32))
    backbone.propose(photo())
    assert len(encodings) == 1
    backbone.propose(photo(1))
    assert len(encodings) == 2


def test_masks_come_from_the_disk_until_picture_weights_or_settings_change(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache")
    path = save_original(tmp_path / "sam.pth")

    def encodings(name: str, seed: int = 0) -> int:
        backbone = sam.load(name)
        count = []
        encode = backbone._model.encode
        backbone._model.encode = lambda pixels: count.append(1) or encode(pixels)  # type: ignore[method-assign]
        BackboneSet({"mask_proposer": backbone}, cache).view(picture(seed, (150, 200))).masks()
        return len(count)

    assert encodings(f"sam:{path}#{OPEN}") == 1
    assert encodings(f"sam:{path}#{OPEN}") == 0
    assert encodings(f"sam:{path.rename(tmp_path / 'moved.pth')}#{OPEN}") == 0
    path = tmp_path / "moved.pth"
    assert encodings(f"sam:{path}#{OPEN}", seed=1) == 1
    assert encodings(f"sam:{path}#{OPEN},stability=0.7") == 1
    assert encodings(f"sam:{save_original(tmp_path / 'other.pth', seed=1)}#{OPEN}") == 1


def test_weights_and_settings_make_the_fingerprint(tmp_path: Path) -> None:
    path = save_original(tmp_path / "sam.pth")
    first = sam.load(f"sam:{path}")
    assert sam.load(f"sam:{path}#batch=3").fingerprint == first.fingerprint
    names = {sam.load(f"sam:{path}#{more}").fingerprint for more in ("", "points=8", "iou=0.5")}
    other = sam.load(f"sam:{save_original(tmp_path / 'other.pth', seed=1)}")
    assert len({first.fingerprint, other.fingerprint, *names}) == 4
    assert first.expensive


@pytest.mark.parametrize(
    "option",
    ["points=0", "points=x", "iou=1.5", "side=3", "crops=9", "batch=0", "nms", "specks=-1"],
)
def test_other_options_are_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(OptionError, match="has an option"):
        sam.load(f"sam:nowhere#{option}")


def test_what_is_something_else_is_refused(tmp_path: Path) -> None:
    path = save_original(tmp_path / "sam.pth")
    with pytest.raises(WeightsUnavailableError, match="checkpoint of sam; write sam:"):
        sam.load(f"sam-hq:{path}")
    with pytest.raises(WeightsUnavailableError, match=r"folder with its config\.json"):
        sam.load(f"sam2:{path}")
    folder = save_transformers(tmp_path / "m", "sam_hq")
    with pytest.raises(WeightsUnavailableError, match="'sam_hq' model, and 'sam' was expected"):
        sam.load(f"sam:{folder}")
    state = original().state_dict()
    state.pop("mask_decoder.iou_token.weight")
    torch.save(state, path)
    with pytest.raises(WeightsUnavailableError, match=r"iou_token"):
        sam.load(f"sam:{path}")
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsUnavailableError, match="no checkpoint of the original"):
        sam.load(f"sam:{path}")
    path.write_bytes(b"PK damaged")
    with pytest.raises(WeightsUnavailableError, match="tensors alone"):
        sam.load(f"sam:{path}")
