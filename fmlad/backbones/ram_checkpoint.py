"""The published checkpoint of RAM++ under the names of :mod:`fmlad.networks.ram_plus`.

Its Swin transformer has the names of the first Swin repository, where a stage ends with the
merging of patches; in timm of today the next stage begins with it. Every size but the number of
the decoder's heads follows from the tensors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from fmlad.networks.ram_plus import DESCRIPTIONS, HEADS, RamPlus, RamSizes

SWIN, DECODER = "visual_encoder.", "tagging_head.encoder.layer."
EARLIER = "vision_multi."  # what the first checkpoints of RAM call their tagging_head
# Layers of the decoder, theirs of BERT.
LAYERS = {
    "query": "crossattention.self.query",
    "key": "crossattention.self.key",
    "value": "crossattention.self.value",
    "joined": "crossattention.output.dense",
    "joined_norm": "crossattention.output.LayerNorm",
    "wide": "intermediate.dense",
    "narrow": "output.dense",
    "narrow_norm": "output.LayerNorm",
}
# What inference has no use for: tables that follow from the sizes, a scale that the repository's
# inference does not read either, BERT's word embeddings and self-attention, which RAM takes out.
UNUSED = re.compile(
    r"visual_encoder\.layers\.\d+\.blocks\.\d+\.(attn\.relative_position_index|attn_mask)"
    r"|logit_scale"
    r"|tagging_head\.embeddings\..*"
    r"|tagging_head\.encoder\.layer\.\d+\.attention\..*"
)
# The published checkpoint does not hold the scale; the repository's constructor sets it.
SCALE = math.log(1 / 0.07)


def network_of(state: Mapping[str, Tensor], tags: int) -> RamPlus:
    """The network of a checkpoint's tensors, in evaluation mode, float32, memory shared.

    Args:
        state: Tensors by the checkpoint's own names.
        tags: How many tags there must be.

    Raises:
        KeyError: A tensor is missing; it is named.
        ValueError: A tensor is of no part of RAM++, or has another shape than the rest asks for.
    """
    given = {re.sub(f"^{re.escape(EARLIER)}", "tagging_head.", k): v for k, v in state.items()}
    given.setdefault("reweight_scale", torch.tensor(SCALE))
    network = RamPlus(sizes_of(given, tags))
    names = {name: published(name) for name in network.state_dict()}
    left = sorted(name for name in given.keys() - names.values() if not UNUSED.fullmatch(name))
    if left:
        raise ValueError(f"it holds {left[0]!r}, which is no part of RAM++ ({len(left)} such)")
    loaded = {name: given[theirs].float() for name, theirs in names.items()}
    for name, expected in network.state_dict().items():
        if loaded[name].shape != expected.shape:
            raise ValueError(
                f"{names[name]!r} has the shape {tuple(loaded[name].shape)}, and "
                f"{tuple(expected.shape)} was expected"
            )
    network.load_state_dict(loaded, assign=True)
    return network.eval().requires_grad_(False)


def published(name: str) -> str:
    """The checkpoint's name of a tensor of :class:`.RamPlus`."""
    if found := re.fullmatch(r"decoder\.(\d+)\.(\w+)\.(\w+)", name):
        number, layer, part = found.groups()
        return f"{DECODER}{number}.{LAYERS[layer]}.{part}"
    if found := re.fullmatch(r"encoder\.layers\.(\d+)\.(downsample\..*)", name):
        return f"{SWIN}layers.{int(found[1]) - 1}.{found[2]}"
    return re.sub(r"^encoder\.", SWIN, name)


def sizes_of(state: Mapping[str, Tensor], tags: int) -> RamSizes:
    """Sizes by the shapes of some tensors; errors as :func:`network_of`."""
    patches = state[f"{SWIN}patch_embed.proj.weight"]
    depths = _numbered(state, rf"{re.escape(SWIN)}layers\.(\d+)\.blocks\.(\d+)\..*")
    layers = _numbered(state, rf"{re.escape(DECODER)}()(\d+)\.crossattention\..*")
    if not depths:
        raise KeyError(f"{SWIN}layers.0.blocks.0.attn.relative_position_bias_table")
    if not layers:
        raise KeyError(f"{DECODER}0.{LAYERS['query']}.weight")
    tables = [
        state[f"{SWIN}layers.{stage}.blocks.0.attn.relative_position_bias_table"]
        for stage in range(len(depths))
    ]
    hidden = int(state["wordvec_proj.weight"].shape[0])
    if hidden % HEADS:
        raise ValueError(f"its decoder has {hidden} channels, no multiple of {HEADS} heads")
    rows, texts = len(tables[0]), len(state["label_embed"])
    window = (math.isqrt(rows) + 1) // 2
    if (2 * window - 1) ** 2 != rows:
        raise ValueError(f"its tables of relative positions have {rows} rows, no odd square")
    if texts != tags * DESCRIPTIONS:
        raise ValueError(
            f"'label_embed' has {texts} rows; with {DESCRIPTIONS} descriptions a tag, {tags} tags "
            f"need {tags * DESCRIPTIONS}"
        )
    return RamSizes(
        patch=int(patches.shape[-1]),
        width=int(patches.shape[0]),
        depths=depths,
        heads=tuple(int(table.shape[1]) for table in tables),
        window=window,
        space=int(state["image_proj.weight"].shape[0]),
        tags=tags,
        hidden=hidden,
        inner=int(state[f"{DECODER}0.{LAYERS['wide']}.weight"].shape[0]),
        layers=layers[0],
    )


def _numbered(state: Mapping[str, Tensor], pattern: str) -> tuple[int, ...]:
    """How many inner numbers, from 0, each outer number has, in the order of the outer ones."""
    most: dict[int, int] = {}
    for found in filter(None, (re.fullmatch(pattern, name) for name in state)):
        outer, inner = int(found[1] or 0), int(found[2])
        most[outer] = max(most.get(outer, 0), inner + 1)
    return tuple(most.get(outer, 0) for outer in range(max(most, default=-1) + 1))
