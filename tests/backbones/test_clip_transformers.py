"""CLIP and SigLIP through transformers, with tiny random weights in its real formats."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.clip import clip
from fmlad.backbones.clip.clip_text import imagenet_templates
from fmlad.backbones.clip.naclip import neighbourhood_bias
from fmlad.backbones.roles import TextAligner
from fmlad.errors import PromptError, WeightsUnavailableError
from tests.backbones import tiny_clip_models as tiny
from tests.conftest import picture

transformers = pytest.importorskip("transformers")
KINDS = ("clip", "siglip")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("transformers")
    return {kind: tiny.save_transformers(home / kind, kind) for kind in KINDS}


def image(seed: int = 0, size: int = tiny.SIDE) -> Tensor:
    return torch.from_numpy(picture(seed, size=(size, size))).permute(2, 0, 1)[None]


def by_hand(vision: Any, tokens: Tensor, bias: Tensor) -> Tensor:
    """The reduced last block head by head, and the norm behind it."""
    layer = vision.encoder.layers[-1]
    attention = layer.self_attn
    normed = layer.layer_norm1(tokens)
    keys, values = attention.k_proj(normed), attention.v_proj(normed)
    size = tiny.WIDTH // 3
    heads = []
    for start in range(0, tiny.WIDTH, size):
        k, v = keys[..., start : start + size], values[..., start : start + size]
        heads.append((k @ k.mT / math.sqrt(size) + bias).softmax(-1) @ v)
    return vision.post_layernorm(attention.out_proj(torch.cat(heads, -1)))


def alone(vision: Any, normed: Tensor) -> Tensor:
    """What SigLIP's pool makes of a single token, step by step."""
    pool = vision.head
    _, _, weight = pool.attention.in_proj_weight.chunk(3)
    _, _, bias = pool.attention.in_proj_bias.chunk(3)
    mixed = pool.attention.out_proj(F.linear(normed, weight, bias))
    return mixed + pool.mlp(pool.layernorm(mixed))


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_images_are_the_models_own_and_the_formula(kind: str, folders: dict[str, Path]) -> None:
    backbone = clip.load(f"clip:{folders[kind]}#side={tiny.SIDE}")
    assert isinstance(backbone, TextAligner)
    pyramid = backbone.encode(image())

    model = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    pixels = tiny.native_pixels(image())
    pooled = model.get_image_features(pixel_values=pixels).pooler_output
    torch.testing.assert_close(pyramid.pooled, F.normalize(pooled, dim=-1), atol=1e-5, rtol=0)

    states = model.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states
    prefix = 1 if kind == "clip" else 0
    normed = by_hand(model.vision_model, states[-2], neighbourhood_bias(4, 4, prefix=prefix))
    projected = model.visual_projection(normed) if prefix else alone(model.vision_model, normed)
    level = pyramid.levels[tiny.PATCH].flatten(2).mT
    torch.testing.assert_close(level, F.normalize(projected[:, prefix:], dim=-1), atol=1e-5, rtol=0)
    for number, stage in enumerate(pyramid.stages, start=1):
        theirs = states[number][:, prefix:]
        torch.testing.assert_close(stage.flatten(2).mT, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_larger_input_and_a_batch(kind: str, folders: dict[str, Path]) -> None:
    backbone = clip.load(f"clip:{folders[kind]}")
    assert backbone.side == 64
    both = backbone.encode(torch.cat([image(0, 64), image(1, 64)]))
    model = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    for index in range(2):
        pooled = model.get_image_features(
            pixel_values=tiny.native_pixels(image(index, 64)), interpolate_pos_encoding=True
        ).pooler_output
        expected = F.normalize(pooled, dim=-1)[0]
        torch.testing.assert_close(both.pooled[index], expected, atol=1e-5, rtol=0)
        one = backbone.encode(image(index, 64))
        torch.testing.assert_close(both.levels[8][index], one.levels[8][0], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_plain_attention_projects_the_class_token_to_the_image_embedding(
    folders: dict[str, Path],
) -> None:
    backbone = clip.load(f"clip:{folders['clip']}#side={tiny.SIDE},attention=plain")
    vision = backbone._vision
    projected = vision.project(vision.encode(tiny.native_pixels(image())).stages[-1])
    pooled = backbone.encode(image()).pooled
    torch.testing.assert_close(F.normalize(projected[:, 0], dim=-1), pooled, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_text_is_the_models_own_ensemble(kind: str, folders: dict[str, Path]) -> None:
    backbone = clip.load(f"clip:{folders[kind]}")
    model = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[kind])
    each = []
    for template in imagenet_templates():
        tokens = tokenizer(
            [template.replace("{}", "red screw")],
            padding="max_length",
            max_length=20,
            truncation=True,
            return_tensors="pt",
        )
        if kind == "siglip":  # as it was trained: padded to the full length, no mask
            tokens = {"input_ids": tokens["input_ids"]}
        else:
            tokens.pop("token_type_ids", None)
        each.append(F.normalize(model.get_text_features(**tokens).pooler_output[0], dim=-1))
    expected = F.normalize(torch.stack(each).mean(0), dim=-1)
    torch.testing.assert_close(backbone.text(["red screw"])[0], expected, atol=1e-5, rtol=0)
    maps = backbone.ground(backbone.encode(image()), ["red screw", "bottle"])
    assert maps.shape == (2, 16, 16)


def test_a_word_that_the_tokenizer_does_not_have_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(PromptError, match="does not know 'red zebra'"):
        clip.load(f"clip:{folders['clip']}").text(["red zebra"])


# --- what is refused -----------------------------------------------------------------------------


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders["clip"], tmp_path / "copy"))


def refused(folder: Path, match: str) -> None:
    with pytest.raises(WeightsUnavailableError, match=match):
        clip.load(f"clip:{folder}")


def test_a_folder_of_something_else(copy: Path) -> None:
    (copy / "config.json").write_text('{"model_type": "bert"}')
    refused(copy, "'bert' model, and 'clip' or 'siglip' was expected")
    (copy / "config.json").write_text("{")
    refused(copy, "'unknown' model")
    (copy / "config.json").unlink()
    refused(copy, r"no config\.json")


def test_a_damaged_checkpoint(copy: Path) -> None:
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[: len(data) // 2])
    refused(copy, "cannot be loaded")


def test_a_checkpoint_that_lacks_weights_is_not_filled_with_random_ones(copy: Path) -> None:
    from safetensors.torch import save_file

    tensors = tiny.read_tensors(copy / "model.safetensors")
    name = "vision_model.encoder.layers.1.mlp.fc1.weight"
    shape = tensors.pop(name).shape
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    refused(copy, r"lacks 'vision_model\.encoder\.layers\.1\.mlp")
    tensors[name] = torch.zeros(shape[0] + 1, shape[1])
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    refused(copy, "cannot be loaded")


def test_a_half_precision_checkpoint_runs_in_full_precision(copy: Path) -> None:
    from safetensors.torch import save_file

    tensors = {k: v.half() for k, v in tiny.read_tensors(copy / "model.safetensors").items()}
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    pyramid = clip.load(f"clip:{copy}").encode(image())
    assert pyramid.pooled.dtype == pyramid.levels[8].dtype == torch.float32


def test_a_tokenizer_without_its_vocabulary(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    refused(copy, "tokenizer")
    # transformers' CLIP tokenizer then maps every word to one, and says nothing.
    settings = {"tokenizer_class": "CLIPTokenizer"}
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    refused(copy, "tokenizer")


def test_a_tokenizer_of_another_model(copy: Path) -> None:
    tiny.save_tokenizer(copy, (*tiny.WORDS, "more", "words", "than", "rows"))
    refused(copy, "belongs to another model")


def test_a_preprocessor_without_colours_is_not_guessed(copy: Path) -> None:
    (copy / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5]}')
    refused(copy, "does not say the mean and std")
    (copy / "preprocessor_config.json").unlink()
    refused(copy, "does not say the mean and std")
    nested = {"image_processor": {"image_mean": tiny.MEAN, "image_std": tiny.STD}}
    (copy / "processor_config.json").write_text(json.dumps(nested))
    assert clip.load(f"clip:{copy}")._towers.mean == tiny.MEAN


def test_an_identifier_that_is_not_here() -> None:
    with pytest.raises(WeightsUnavailableError, match="HF_HUB_OFFLINE"):
        clip.load("clip:nobody/nothing")
