"""Checkpoints of RAM++ with random weights, under the published names and in any sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

DESCRIPTIONS = 51


@dataclass(frozen=True)
class Config:
    """As the repository's configuration files have it; the defaults are tiny."""

    width: int = 8
    depths: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (1, 2, 2, 4)
    window: int = 2
    space: int = 12
    tags: int = 5
    hidden: int = 16
    inner: int = 24
    layers: int = 2

    @property
    def side(self) -> int:
        return 32 * self.window


PUBLISHED = Config(192, (2, 2, 18, 2), (6, 12, 24, 48), 12, 512, 4585, 768, 3072, 2)
WORDS = ("screw", "3D glasses", "bottle", "T-shirt", "nut")


def used(config: Config = Config(), seed: int = 0, spread: float = 0.3) -> dict[str, Tensor]:
    """The tensors that inference needs."""
    rng = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def draw(name: str, *shape: int, centre: float = 0.0) -> None:
        state[name] = centre + spread * torch.randn(shape, generator=rng)

    def linear(name: str, out: int, into: int, bias: bool = True) -> None:
        state[f"{name}.weight"] = torch.randn(out, into, generator=rng) / into**0.5
        if bias:
            draw(f"{name}.bias", out)

    def norm(name: str, width: int) -> None:
        draw(f"{name}.weight", width, centre=1)
        draw(f"{name}.bias", width)

    swin = "visual_encoder"
    draw(f"{swin}.patch_embed.proj.weight", config.width, 3, 4, 4)
    draw(f"{swin}.patch_embed.proj.bias", config.width)
    norm(f"{swin}.patch_embed.norm", config.width)
    for stage, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
        width = config.width * 2**stage
        for number in range(depth):
            block = f"{swin}.layers.{stage}.blocks.{number}"
            norm(f"{block}.norm1", width)
            table = (2 * config.window - 1) ** 2
            draw(f"{block}.attn.relative_position_bias_table", table, heads)
            linear(f"{block}.attn.qkv", 3 * width, width)
            linear(f"{block}.attn.proj", width, width)
            norm(f"{block}.norm2", width)
            linear(f"{block}.mlp.fc1", 4 * width, width)
            linear(f"{block}.mlp.fc2", width, 4 * width)
        if stage < len(config.depths) - 1:
            merging = f"{swin}.layers.{stage}.downsample"
            linear(f"{merging}.reduction", 2 * width, 4 * width, bias=False)
            norm(f"{merging}.norm", 4 * width)
    deepest = config.width * 2 ** (len(config.depths) - 1)
    norm(f"{swin}.norm", deepest)
    linear("image_proj", config.space, deepest)
    draw("label_embed", config.tags * DESCRIPTIONS, config.space)
    linear("wordvec_proj", config.hidden, config.space)
    for number in range(config.layers):
        layer = f"tagging_head.encoder.layer.{number}"
        linear(f"{layer}.crossattention.self.query", config.hidden, config.hidden)
        linear(f"{layer}.crossattention.self.key", config.hidden, config.space)
        linear(f"{layer}.crossattention.self.value", config.hidden, config.space)
        linear(f"{layer}.crossattention.output.dense", config.hidden, config.hidden)
        norm(f"{layer}.crossattention.output.LayerNorm", config.hidden)
        linear(f"{layer}.intermediate.dense", config.inner, config.hidden)
        linear(f"{layer}.output.dense", config.hidden, config.inner)
        norm(f"{layer}.output.LayerNorm", config.hidden)
    linear("fc", 1, config.hidden)
    return state


def unused(config: Config = Config()) -> dict[str, Tensor]:
    """What lies beside them: buffers, a scale of the training, and BERT's parts that RAM drops."""
    state = {"logit_scale": torch.tensor(math.log(1 / 0.07))}
    cells = config.window**2
    for stage, depth in enumerate(config.depths):
        for number in range(depth):
            block = f"visual_encoder.layers.{stage}.blocks.{number}"
            state[f"{block}.attn.relative_position_index"] = torch.zeros(cells, cells).long()
            windows = (config.side // 4 // 2**stage // config.window) ** 2
            if number % 2 and windows > 1:
                state[f"{block}.attn_mask"] = torch.zeros(windows, cells, cells)
    state["tagging_head.embeddings.word_embeddings.weight"] = torch.zeros(3, config.hidden)
    state["tagging_head.encoder.layer.0.attention.self.query.bias"] = torch.zeros(config.hidden)
    return state


def save(
    path: Path, state: dict[str, Tensor] | None = None, words: tuple[str, ...] | None = WORDS
) -> Path:
    """As a training leaves it, with an optimiser's state and settings beside the model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model = {**used(), **unused()} if state is None else state
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-5}]}
    config = {"image_size": 384, "vit": "swin_l"}
    torch.save({"model": model, "optimizer": optimizer, "config": config, "epoch": 4}, path)
    if words is not None:
        (path.parent / "ram_tag_list.txt").write_text("\n".join(words) + "\n")
    return path
