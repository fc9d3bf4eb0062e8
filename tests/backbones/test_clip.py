"""CLIP through open_clip, with tiny random weights in open_clip's real formats."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.clip import clip
from fmlad.backbones.clip.clip_towers import quarters, resize_positions
from fmlad.backbones.clip.naclip import neighbourhood_bias
from fmlad.backbones.pooling import area_shares
from fmlad.backbones.roles import FeatureExtractor, TextAligner
from fmlad.errors import OptionError, PromptError
from tests.backbones import tiny_clip_models as tiny
from tests.conftest import picture

open_clip = pytest.importorskip("open_clip")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_open_clip(tmp_path_factory.mktemp("clip") / "m")


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    """The same model, loaded by open_clip itself."""
    return open_clip.create_model(f"local-dir:{folder}").eval()


def image(seed: int = 0, size: int = tiny.SIDE) -> Tensor:
    return torch.from_numpy(picture(seed, size=(size, size))).permute(2, 0, 1)[None]


def by_hand(model: Any, tokens: Tensor, bias: Tensor) -> Tensor:
    """The reduced last block of an open_clip model, head by head, normed and projected."""
    block = model.visual.transformer.resblocks[-1]
    normed = block.ln_1(tokens)
    joint = F.linear(normed, block.attn.in_proj_weight, block.attn.in_proj_bias)
    _, keys, values = joint.chunk(3, dim=-1)
    size = tiny.WIDTH // block.attn.num_heads
    heads = []
    for start in range(0, tiny.WIDTH, size):
        k, v = keys[..., start : start + size], values[..., start : start + size]
        heads.append((k @ k.mT / math.sqrt(size) + bias).softmax(-1) @ v)
    out = torch.cat(heads, -1) @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
    return model.visual.ln_post(out) @ model.visual.proj


# --- images --------------------------------------------------------------------------------------


@torch.inference_mode()
def test_tokens_are_the_formula_on_the_models_own_weights(folder: Path, model: Any) -> None:
    backbone = clip.load(f"clip:local-dir:{folder}#side={tiny.SIDE}")
    assert isinstance(backbone, TextAligner)
    assert isinstance(backbone, FeatureExtractor)
    pixels = tiny.native_pixels(image())
    out = model.visual.forward_intermediates(pixels, output_fmt="NLC", output_extra_tokens=True)
    parts = out["image_intermediates_prefix"][-2], out["image_intermediates"][-2]
    expected = by_hand(model, torch.cat(parts, 1), neighbourhood_bias(4, 4))[:, 1:]
    pyramid = backbone.encode(image())
    assert list(pyramid.levels) == [tiny.PATCH]
    level = pyramid.levels[tiny.PATCH]
    assert level.shape == (1, tiny.DIMENSIONS, 4, 4)
    torch.testing.assert_close(
        level.flatten(2).mT, F.normalize(expected, dim=-1), atol=1e-5, rtol=0
    )


@torch.inference_mode()
def test_pooled_and_stages_are_the_models_own(folder: Path, model: Any) -> None:
    pixels = tiny.native_pixels(image())
    pyramid = clip.load(f"clip:local-dir:{folder}#side={tiny.SIDE}").encode(image())
    torch.testing.assert_close(
        pyramid.pooled, model.encode_image(pixels, normalize=True), atol=1e-5, rtol=0
    )
    theirs = model.visual.forward_intermediates(pixels)["image_intermediates"]
    assert len(pyramid.stages) == 4
    for ours, stage in zip(pyramid.stages, theirs, strict=True):
        assert ours.shape == (1, tiny.WIDTH, 4, 4)
        torch.testing.assert_close(ours, stage, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_plain_attention_projects_the_class_token_to_the_image_embedding(
    folder: Path, model: Any
) -> None:
    pixels = tiny.native_pixels(image())
    backbone = clip.load(f"clip:local-dir:{folder}#side={tiny.SIDE},attention=plain")
    vision = backbone._vision
    projected = vision.project(vision.encode(pixels).stages[-1])
    torch.testing.assert_close(projected[:, 0], model.encode_image(pixels), atol=1e-5, rtol=0)
    level = backbone.encode(image()).levels[tiny.PATCH]
    torch.testing.assert_close(
        level.flatten(2).mT, F.normalize(projected[:, 1:], dim=-1), atol=1e-5, rtol=0
    )


@torch.inference_mode()
def test_a_larger_input_gets_positions_stretched_by_size(folder: Path, model: Any) -> None:
    table = model.visual.positional_embedding
    grid = table[1:].T.reshape(1, tiny.WIDTH, 4, 4)
    stretched = F.interpolate(grid, (8, 8), mode="bicubic", align_corners=False)
    ours = resize_positions(table, 8, prefix=1)
    torch.testing.assert_close(ours[0], table[0])
    torch.testing.assert_close(ours[1:], stretched[0].flatten(1).T)
    assert resize_positions(table, 4, prefix=1) is table

    backbone = clip.load(f"clip:local-dir:{folder}")
    assert (backbone.side, backbone.grid) == (64, 8)  # twice the model's own
    pyramid = backbone.encode(image(size=64))
    original, model.visual.positional_embedding = table, torch.nn.Parameter(ours)
    try:
        expected = model.encode_image(tiny.native_pixels(image(size=64)), normalize=True)
    finally:
        model.visual.positional_embedding = original
    torch.testing.assert_close(pyramid.pooled, expected, atol=1e-5, rtol=0)
    assert pyramid.stages[0].shape == (1, tiny.WIDTH, 8, 8)


def test_a_batch_is_its_images(folder: Path) -> None:
    backbone = clip.load(f"clip:local-dir:{folder}")
    both = backbone.encode(torch.cat([image(0), image(1)]))
    for index in range(2):
        alone, one = backbone.encode(image(index)), both[index]
        torch.testing.assert_close(one.pooled, alone.pooled, atol=1e-5, rtol=0)
        torch.testing.assert_close(one.levels[8], alone.levels[8], atol=1e-5, rtol=0)
        for ours, theirs in zip(one.stages, alone.stages, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_any_shape_of_image_is_squashed(folder: Path) -> None:
    backbone = clip.load(f"clip:local-dir:{folder}")
    pyramid = backbone.encode(torch.zeros(1, 3, 50, 200, dtype=torch.uint8))
    assert pyramid.levels[8].shape == (1, tiny.DIMENSIONS, 8, 8)
    lengths = pyramid.levels[8].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [(24, (6, 12, 18, 24)), (12, (3, 6, 9, 12)), (27, (7, 14, 21, 27)), (2, (1, 1, 2, 2))],
)
def test_quarters(blocks: int, expected: tuple[int, ...]) -> None:
    assert quarters(blocks) == expected


# --- words ---------------------------------------------------------------------------------------


def test_the_ensemble_is_open_clips_zero_shot_recipe(folder: Path, model: Any) -> None:
    words = ["red cable", "pushpin", "a glass of {juice}"]
    theirs = open_clip.build_zero_shot_classifier(
        model,
        open_clip.get_tokenizer(f"local-dir:{folder}"),
        words[:2],
        open_clip.OPENAI_IMAGENET_TEMPLATES,
    )
    ours = clip.load(f"clip:local-dir:{folder}").text(words)
    assert ours.shape == (3, tiny.DIMENSIONS)
    torch.testing.assert_close(ours[:2], theirs.T, atol=1e-5, rtol=0)


def test_words_are_read_once_and_kept_on_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = clip.load(f"clip:local-dir:{folder}")
    embeddings = first.text(["red", "screw"])
    second = clip.load(f"clip:local-dir:{folder}")

    def refuse(*args: object) -> Tensor:
        raise AssertionError("embedded again")

    monkeypatch.setattr(second._towers.text, "embed", refuse)
    torch.testing.assert_close(second.text(["screw", "red"]), embeddings.flip(0), atol=0, rtol=0)
    with pytest.raises(AssertionError, match="embedded again"):
        second.text(["red"], templates=["{}"])  # other templates, another embedding


def test_bad_words_and_templates_are_refused(folder: Path) -> None:
    backbone = clip.load(f"clip:local-dir:{folder}")
    with pytest.raises(PromptError, match="at least one word"):
        backbone.text([])
    with pytest.raises(PromptError, match="list of"):
        backbone.text("red")
    with pytest.raises(PromptError, match="empty"):
        backbone.text(["red", " "])
    with pytest.raises(OptionError, match="must hold"):
        backbone.text(["red"], templates=["a photo"])


# --- grounding -----------------------------------------------------------------------------------


def test_every_place_gets_its_cosine_on_a_grid_twice_as_fine(folder: Path) -> None:
    backbone = clip.load(f"clip:local-dir:{folder}")
    pyramid = backbone.encode(image())
    maps = backbone.ground(pyramid, ["red", "screw", "bottle"])
    assert maps.shape == (3, 16, 16)
    assert maps.abs().max() <= 1 + 1e-6
    fine = F.interpolate(pyramid.levels[8], (16, 16), mode="bilinear", align_corners=False)
    word = backbone.text(["screw"])[0]
    expected = F.cosine_similarity(fine[0, :, 3, 9], word, dim=0)
    torch.testing.assert_close(maps[1, 3, 9], expected)


def test_regions_get_the_mean_of_their_tokens(folder: Path) -> None:
    backbone = clip.load(f"clip:local-dir:{folder}")
    pyramid = backbone.encode(image())
    tokens = pyramid.levels[8][0]
    regions = np.zeros((3, 24, 24), bool)  # three pixels a token
    regions[0, 3:6, 6:9] = True  # exactly token (1, 2)
    regions[1, 0:3, 0:3] = regions[1, 0:3, 3:4] = True  # token (0, 0), a third of token (0, 1)
    similar = backbone.ground(pyramid, ["red", "screw"], regions)
    assert similar.shape == (2, 3)
    words = backbone.text(["red", "screw"])
    torch.testing.assert_close(similar[:, 0], words @ tokens[:, 1, 2])
    mixed = F.normalize(tokens[:, 0, 0] + tokens[:, 0, 1] / 3, dim=0)
    torch.testing.assert_close(similar[:, 1], words @ mixed)
    assert (similar[:, 2] == 0).all()  # nothing is there


def test_area_shares_are_exact_on_coarser_and_finer_grids() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((2, 15, 20)) < 0.4
    shares = area_shares(masks, 4, 6)
    assert shares.shape == (2, 4, 6)
    fine = torch.from_numpy(np.kron(masks, np.ones((1, 4, 6))))  # lcm grid: 60 x 120
    expected = F.avg_pool2d(fine, (15, 20)).float()
    torch.testing.assert_close(shares, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(area_shares(masks, 15, 20).bool(), torch.from_numpy(masks))
    doubled = torch.from_numpy(np.kron(masks, np.ones((1, 2, 2)))).float()
    torch.testing.assert_close(area_shares(masks, 30, 40), doubled, atol=0, rtol=0)


def test_bad_regions_and_pyramids_are_refused(folder: Path) -> None:
    backbone = clip.load(f"clip:local-dir:{folder}")
    two = backbone.encode(torch.cat([image(0), image(1)]))
    with pytest.raises(OptionError, match="of one image, got 2"):
        backbone.ground(two, ["red"])
    with pytest.raises(OptionError, match=r"\(R, h, w\)"):
        backbone.ground(two[0], ["red"], np.ones((4, 4), bool))


# --- names and fingerprints ----------------------------------------------------------------------


def test_the_fingerprint_follows_what_changes_the_output(folder: Path, tmp_path: Path) -> None:
    def of(name: str) -> str:
        return clip.load(f"clip:{name}").fingerprint

    here = of(f"local-dir:{folder}")
    moved = tiny.save_open_clip(tmp_path / "moved")
    assert of(f"local-dir:{moved}") == of(f"{moved}") == here
    assert of(f"local-dir:{folder}#side=64") == here  # the default, spelled out
    others = {
        of(f"local-dir:{folder}#side=32"),
        of(f"local-dir:{folder}#attention=plain"),
        of(f"local-dir:{tiny.save_open_clip(tmp_path / 'other', seed=1)}"),
        here,
    }
    assert len(others) == 4


@pytest.mark.parametrize("options", ["size=64", "side=big", "attention=none", "side=64,x"])
def test_unknown_options_are_refused(folder: Path, options: str) -> None:
    with pytest.raises(OptionError, match="has an option"):
        clip.load(f"clip:local-dir:{folder}#{options}")


def test_an_input_smaller_than_a_patch_is_refused(folder: Path) -> None:
    with pytest.raises(OptionError, match="less than a patch"):
        clip.load(f"clip:local-dir:{folder}#side=7")


def test_the_side_is_rounded_down_to_whole_patches(folder: Path) -> None:
    backbone = clip.load(f"clip:local-dir:{folder}#side=63")
    assert (backbone.side, backbone.grid) == (56, 7)
    assert backbone.encode(image()).levels[8].shape[2:] == (7, 7)
