"""What the CLIP backbone asks of a model, whichever package it comes from, and shared checks."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.clip.naclip import LastBlock
from fmlad.backbones.hub import file_hash, unavailable

# Single words, so that a tokenizer that knows none of them gives the same row for each.
PROBES = ("red", "screw", "bottle", "orange", "background")


@dataclass(frozen=True)
class VisionOutput:
    """One forward pass of a vision tower, float32.

    Attributes:
        stages: Tokens after each quarter of the blocks, ``(B, L, W)``, shallow to deep.
        before: Tokens that enter the last block, ``(B, L, W)``.
        pooled: The model's ordinary image embedding, ``(B, D)``, not normalised.
    """

    stages: tuple[Tensor, ...]
    before: Tensor
    pooled: Tensor


class Vision(Protocol):
    """A vision transformer with its way into the space that it shares with text.

    Attributes:
        patch: Pixels along a side of a patch.
        native: Pixels along a side of the images that it was trained on.
        prefix: Tokens in front of the patches.
        block: Of its last block, what NACLIP needs.
    """

    patch: int
    native: int
    prefix: int
    block: LastBlock

    def encode(self, pixels: Tensor) -> VisionOutput:
        """Normalised float32 ``(B, 3, S, S)``, S a multiple of the patch, to all its tokens."""

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens behind the last block ``(B, L, W)`` -> ``(B, L, D)``, each as if pooled alone."""


class Text(Protocol):
    """A text tower with its tokenizer."""

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Text embeddings, float32 ``(n, D)``, not normalised."""

    def knows(self, text: str) -> bool:
        """Whether the tokenizer has a token for every piece of the text."""


@dataclass(frozen=True)
class Towers:
    """A loaded model.

    ``mean`` and ``std`` are of RGB in [0, 1]; ``scale`` is what it multiplies cosines by before a
    softmax (100 in most); ``weights``: SHA-256 of its files.
    """

    vision: Vision
    text: Text
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float
    weights: str


def run_blocks(tokens: Tensor, blocks: Sequence[Callable[[Tensor], Tensor]]) -> tuple[Tensor, ...]:
    """Tokens after each quarter of the blocks, and last of all the input of the last block."""
    wanted = quarters(len(blocks))
    outputs: dict[int, Tensor] = {}
    before = tokens
    for number, block in enumerate(blocks, start=1):
        before = tokens
        tokens = block(tokens)
        if number in wanted:
            outputs[number] = tokens
    return (*(outputs[number] for number in wanted), before)


def quarters(blocks: int) -> tuple[int, int, int, int]:
    """Numbers, from 1, of the blocks that end a quarter: 6, 12, 18, 24 of 24 (CLIP-LAD)."""
    first, second, third, last = (math.ceil(blocks * part / 4) for part in (1, 2, 3, 4))
    return first, second, third, last


def resize_positions(table: Tensor, side: int, prefix: int) -> Tensor:
    """A position embedding for another grid: bicubic, by size, without antialiasing.

    float32 ``(prefix + n * n, W)`` -> ``(prefix + side * side, W)``; the rows of the prefix belong
    to no patch and stay as they are.
    """
    front, patches = table[:prefix], table[prefix:]
    native = math.isqrt(len(patches))
    if native == side:
        return table
    grid = patches.T.reshape(1, -1, native, native)
    grid = F.interpolate(grid, (side, side), mode="bicubic", antialias=False, align_corners=False)
    return torch.cat([front, grid[0].flatten(1).T])


def check_tokenizer(encode: Callable[[list[str]], Tensor], rows: int, source: str) -> None:
    """Catches a tokenizer that fell back to something else without a word.

    ``encode``: texts -> ids int64 ``(n, length)``; ``rows`` of the model's token embedding.

    Raises:
        WeightsUnavailableError: It maps all words to one, or to ids that the model does not have.
    """
    ids = encode(list(PROBES))
    if len(torch.unique(ids, dim=0)) == 1:
        why = "its tokenizer takes every word for the same; its vocabulary is missing"
        raise unavailable(source, why, "clip")
    if (most := int(ids.max())) >= rows:
        why = (
            f"its tokenizer gives token {most}, but the model has {rows} of them; the tokenizer "
            f"belongs to another model"
        )
        raise unavailable(source, why, "clip")


def files_hash(files: Iterable[Path], salt: str = "") -> str:
    """SHA-256 over names and contents, in order of name; ``salt`` for what is in no file."""
    digest = hashlib.sha256(salt.encode())
    for path in sorted(files, key=lambda path: path.name):
        digest.update(path.name.encode())
        digest.update(bytes.fromhex(file_hash(path)))
    return digest.hexdigest()
