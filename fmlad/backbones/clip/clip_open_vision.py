"""Vision towers of open_clip models, run functionally so that any input size will do.

Works on open_clip's own vision transformer and on timm's as the SigLIP family uses it. The
attribute names used here are those of the checkpoints, which makes them as stable as these.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmlad.backbones.clip.clip_towers import Vision, VisionOutput, resize_positions, run_blocks
from fmlad.backbones.clip.naclip import LastBlock
from fmlad.backbones.hub import unavailable


def vision_of(model: Any, source: str) -> Vision:
    """The vision tower of an open_clip model.

    Raises:
        WeightsUnavailableError: It is no plain vision transformer, so that NACLIP has no meaning.
    """
    visual = model.visual
    if _is_plain(visual):
        return PlainVision(visual)
    if _is_pooled_timm(visual):
        return PooledTimmVision(visual)
    kind = type(getattr(visual, "trunk", visual)).__name__
    raise unavailable(
        source,
        f"its vision tower ({kind}) is not a plain vision transformer with a class token, nor one "
        f"of the SigLIP family, so patches cannot be compared with words; choose a ViT-* model",
    )


def _is_plain(visual: Any) -> bool:
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    return (
        blocks is not None
        and type(blocks[-1]).__name__ == "ResidualAttentionBlock"
        and getattr(visual, "attn_pool", None) is None
        and getattr(visual, "pool_type", "") in ("tok", "avg")
        and getattr(visual, "proj", None) is not None
    )


def _is_pooled_timm(visual: Any) -> bool:
    trunk: Any = getattr(visual, "trunk", None)
    if type(trunk).__name__ != "VisionTransformer":
        return False
    attention = trunk.blocks[-1].attn
    plain = all(
        type(getattr(attention, part, None)).__name__ in ("Identity", "NoneType")
        for part in ("q_norm", "k_norm", "norm", "gate")
    )
    return bool(
        plain
        and hasattr(attention, "qkv")
        and trunk.num_prefix_tokens == 0
        and trunk.pos_embed is not None
        and trunk.attn_pool is not None
        and trunk.attn_pool.pos_embed is None
    )


class PlainVision:
    """open_clip's ``VisionTransformer``: a class token, position table, blocks, norm, matrix."""

    prefix = 1

    def __init__(self, visual: Any) -> None:
        self._visual = visual
        self.patch = int(visual.patch_size[0])
        self.native = int(visual.image_size[0])
        block = visual.transformer.resblocks[-1]
        _, key, value = _thirds(block.attn.in_proj_weight, block.attn.in_proj_bias)
        # ls_1 is the identity but in models with layer scale.
        out = nn.Sequential(block.attn.out_proj, block.ls_1)
        self.block = LastBlock(block.ln_1, key, value, out, int(block.attn.num_heads))

    def encode(self, pixels: Tensor) -> VisionOutput:
        visual = self._visual
        grid = visual.conv1(pixels)
        front = visual.class_embedding.expand(len(pixels), 1, -1)
        tokens = torch.cat([front, grid.flatten(2).transpose(1, 2)], dim=1)
        table = resize_positions(visual.positional_embedding, grid.shape[-1], self.prefix)
        tokens = visual.ln_pre(tokens + table)
        *stages, before = run_blocks(tokens, visual.transformer.resblocks)
        return VisionOutput(tuple(stages), before, self._pool(stages[-1]))

    def project(self, tokens: Tensor) -> Tensor:
        projected: Tensor = self._visual.ln_post(tokens) @ self._visual.proj
        return projected

    def _pool(self, tokens: Tensor) -> Tensor:
        visual = self._visual
        if not visual.final_ln_after_pool:
            tokens = visual.ln_post(tokens)
        pooled = tokens[:, 0] if visual.pool_type == "tok" else tokens[:, 1:].mean(dim=1)
        if visual.final_ln_after_pool:
            pooled = visual.ln_post(pooled)
        embedding: Tensor = pooled @ visual.proj
        return embedding


class PooledTimmVision:
    """timm's ``VisionTransformer`` without class token, pooled by attention (SigLIP).

    The image embedding is what an attention pool makes of all tokens. A single token's embedding
    is what the same pool makes of that token alone: attention over one token is 1, so it passes
    through the pool's value, output projection and MLP.
    """

    prefix = 0

    def __init__(self, visual: Any) -> None:
        self._visual, self._trunk = visual, visual.trunk
        self.patch = int(self._trunk.patch_embed.patch_size[0])
        self.native = int(visual.image_size[0])
        block = self._trunk.blocks[-1]
        _, key, value = _thirds(block.attn.qkv.weight, block.attn.qkv.bias)
        out = nn.Sequential(block.attn.proj, block.ls1)
        self.block = LastBlock(block.norm1, key, value, out, int(block.attn.num_heads))

    def encode(self, pixels: Tensor) -> VisionOutput:
        trunk = self._trunk
        grid = trunk.patch_embed.proj(pixels)
        tokens = trunk.patch_embed.norm(grid.flatten(2).transpose(1, 2))
        tokens = trunk.norm_pre(tokens + resize_positions(trunk.pos_embed[0], grid.shape[-1], 0))
        *stages, before = run_blocks(tokens, trunk.blocks)
        return VisionOutput(tuple(stages), before, self._pool(trunk.norm(stages[-1])))

    def project(self, tokens: Tensor) -> Tensor:
        batch, length, width = tokens.shape
        alone = self._trunk.norm(tokens).reshape(batch * length, 1, width)
        return self._pool(alone).reshape(batch, length, -1)

    def _pool(self, normed: Tensor) -> Tensor:
        embedding: Tensor = self._visual.head(self._trunk.forward_head(normed))
        return embedding


def _thirds(weight: Tensor, bias: Tensor | None) -> tuple[partial[Tensor], ...]:
    """Query, key and value layers of one joint projection ``(3 W, W)``."""
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return tuple(
        partial(F.linear, weight=part, bias=shift)
        for part, shift in zip(weight.chunk(3), biases, strict=True)
    )
