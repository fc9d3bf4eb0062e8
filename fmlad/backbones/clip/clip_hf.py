"""CLIP and SigLIP models as transformers saves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fmlad.backbones import hub
from fmlad.backbones.clip.clip_towers import (
    Towers,
    VisionOutput,
    check_tokenizer,
    files_hash,
    quarters,
)
from fmlad.backbones.clip.naclip import LastBlock
from fmlad.backbones.colours import preprocessor_colours
from fmlad.backbones.hub import loading, unavailable

# Beside the config, what decides what comes out; names of weights, single or in shards.
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "spiece.model")


def from_folder(folder: Path, source: str, device: str) -> Towers:
    """A CLIP or SigLIP model in transformers' folder layout, with tokenizer and preprocessor.

    Raises:
        WeightsUnavailableError: A file is missing, damaged or belongs to another model.
    """
    from transformers import AutoTokenizer, CLIPModel, SiglipModel

    model = hub.from_folder({"clip": CLIPModel, "siglip": SiglipModel}, folder, source, "clip")
    kind = model.config.model_type
    mean, std = preprocessor_colours(folder, source, "clip")
    if kind == "siglip" and not model.vision_model.use_head:
        raise unavailable(source, "it has no attention pool, so its images match no text")
    with loading(source, "its tokenizer", "clip"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = model.eval().requires_grad_(False).to(device)
    text = TransformersText(model, tokenizer, kind, device)
    rows = int(model.text_model.get_input_embeddings().weight.shape[0])
    check_tokenizer(lambda texts: text.tokens(texts)["input_ids"], rows, source)
    scale = float(model.logit_scale.exp())
    return Towers(TransformersVision(model, kind), text, mean, std, scale, _digest(folder))


class TransformersVision:
    """Vision tower of ``CLIPModel`` or ``SiglipModel``, through its public forward pass.

    CLIP projects its class token with a matrix, and every other token with the same. SigLIP has no
    class token and pools all tokens by attention; a single token's embedding is what that pool
    makes of the token alone: attention over one token is 1, so it passes through the pool's value,
    output projection and MLP.
    """

    def __init__(self, model: Any, kind: str) -> None:
        self._vision = model.vision_model
        self._matrix = model.visual_projection if kind == "clip" else None
        self.prefix = 1 if kind == "clip" else 0
        config = model.config.vision_config
        self.patch, self.native = int(config.patch_size), int(config.image_size)
        self._quarters = quarters(int(config.num_hidden_layers))
        layer = self._vision.encoder.layers[-1]
        attention = layer.self_attn
        self.block = LastBlock(
            layer.layer_norm1,
            attention.k_proj,
            attention.v_proj,
            attention.out_proj,
            int(config.num_attention_heads),
        )

    def encode(self, pixels: Tensor) -> VisionOutput:
        # interpolate_pos_encoding is bicubic, by size and without antialiasing, as it should be.
        out = self._vision(
            pixel_values=pixels, interpolate_pos_encoding=True, output_hidden_states=True
        )
        states = out.hidden_states  # the embeddings, then the output of every block, not normed
        stages = tuple(states[number] for number in self._quarters)
        pooled = out.pooler_output if self._matrix is None else self._matrix(out.pooler_output)
        return VisionOutput(stages, states[-2], pooled)

    def project(self, tokens: Tensor) -> Tensor:
        normed: Tensor = self._vision.post_layernorm(tokens)
        if self._matrix is not None:
            projected: Tensor = self._matrix(normed)
            return projected
        batch, length, width = normed.shape
        pooled: Tensor = self._vision.head(normed.reshape(batch * length, 1, width))
        return pooled.reshape(batch, length, -1)


class TransformersText:
    """Text tower and tokenizer of a CLIP or SigLIP model."""

    def __init__(self, model: Any, tokenizer: Any, kind: str, device: str) -> None:
        self._model, self._tokenizer, self._kind = model, tokenizer, kind
        self._length = int(model.config.text_config.max_position_embeddings)
        self._device = device

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token ids int64 ``(n, length)`` and, for CLIP, the mask of what is padding."""
        # SigLIP was trained on texts padded to their full length, and without a mask.
        tokens = self._tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self._length,
            return_tensors="pt",
        )
        wanted = ("input_ids", "attention_mask") if self._kind == "clip" else ("input_ids",)
        return {name: tokens[name] for name in wanted}

    def embed(self, texts: Sequence[str]) -> Tensor:
        tokens = {name: ids.to(self._device) for name, ids in self.tokens(texts).items()}
        embeddings: Tensor = self._model.get_text_features(**tokens).pooler_output
        return embeddings

    def knows(self, text: str) -> bool:
        unknown = self._tokenizer.unk_token_id
        return unknown not in self._tokenizer(text, add_special_tokens=False).input_ids


def _digest(folder: Path) -> str:
    weights = next((found for p in WEIGHTS if (found := sorted(folder.glob(p)))), [])
    words = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    return files_hash([folder / "config.json", *weights, *words])
