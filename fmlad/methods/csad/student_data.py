"""What CSAD's students are trained on: images with their encoder's levels, copies, penalties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmlad.errors import DatasetError
from fmlad.io.images import IMAGE_SUFFIXES, load_image
from fmlad.methods.csad.student_config import StudentConfig
from fmlad.methods.shared_encoder import Levels, SharedEncoder
from fmlad.networks.feature_maps import normalised
from fmlad.progress import Progress
from fmlad.training.augment import jitter

AT_ONCE = 8  # images that the encoder sees together


@dataclass(frozen=True)
class Source:
    """Images as teacher and students see them.

    Attributes:
        squares: uint8 ``(B, 3, side, side)``.
        levels: Of the encoder, ``(B, C, h, w)`` each, finest first.
    """

    squares: Tensor
    levels: Levels

    def teachers(self, config: StudentConfig) -> Levels:
        """What the teacher joins."""
        return taught(self.levels, config)

    def local(self, config: StudentConfig, wanted: Tensor) -> Tensor:
        """What the local student sees, of which ``wanted`` is the teacher's map."""
        if config.source == "around":
            return wanted
        return self._pixels if config.source == "pixels" else self.levels[0]

    def across(self, config: StudentConfig) -> Tensor:
        """What the global student sees."""
        return self._pixels if config.source == "pixels" else self.levels[-1]

    @property
    def _pixels(self) -> Tensor:
        return normalised(self.squares.to(self.levels[0].device))


def taught(levels: Sequence[Any], config: StudentConfig) -> tuple[Any, ...]:
    """The teacher's levels, or what belongs to each, out of three, finest first."""
    return tuple(levels[1:] if config.taught == "deep" else levels[:2])


class Kept:
    """Images whose levels are computed once and kept in half precision, or each time anew.

    Attributes:
        squares: uint8 ``(3, side, side)`` each.
    """

    _targets: Tensor | None = None

    def __init__(
        self, squares: Sequence[Tensor], encoder: SharedEncoder, keep: bool, progress: Progress,
        what: str,
    ) -> None:  # fmt: skip
        self.squares, self._encoder = list(squares), encoder
        self._levels: list[Levels] | None = [] if keep else None
        for start in range(0, len(self.squares) if keep else 0, AT_ONCE):
            some = encoder.encode(torch.stack(self.squares[start : start + AT_ONCE]))
            done = start + len(some[0])
            assert self._levels is not None  # keep
            halves = [level.half().cpu() for level in some]
            self._levels += [tuple(one) for one in zip(*halves, strict=True)]
            progress(done, len(self.squares), what)

    def __len__(self) -> int:
        return len(self.squares)

    def source(self, rows: Sequence[int]) -> Source:
        """Some of them together."""
        squares = torch.stack([self.squares[row] for row in rows])
        if self._levels is None:
            return Source(squares, self._encoder.encode(squares))
        own = [self._levels[row] for row in rows]
        device = self._encoder.device
        levels = [torch.stack(maps).float().to(device) for maps in zip(*own, strict=True)]
        return Source(squares, tuple(levels))

    @torch.no_grad()
    def teach(self, teacher: nn.Module, config: StudentConfig) -> None:
        """Computes the teacher's maps once, where levels are kept; its moments must be set."""
        if self._levels:
            each = (self.source([row]).teachers(config) for row in range(len(self)))
            self._targets = torch.cat([teacher(one).half().cpu() for one in each])

    def wanted(
        self, rows: Sequence[int], source: Source, teacher: nn.Module, config: StudentConfig
    ) -> Tensor:
        """The teacher's maps of some of them, whose ``source`` is at hand."""
        if self._targets is None:
            found: Tensor = teacher(source.teachers(config))
            return found
        return self._targets[list(rows)].float().to(self._encoder.device)


def jittered_squares(
    squares: Sequence[Tensor], copies: int, amount: float, seed: int | np.random.Generator
) -> list[Tensor]:
    """So many sets of copies, each image in other colours, one set after another.

    One of brightness, contrast and saturation is changed (EfficientAD, Algorithm 1).
    """
    rng = np.random.default_rng((seed, 0, 3, 1)) if isinstance(seed, int) else seed
    found = []
    for square in [*squares] * copies:
        amounts = np.zeros(3)
        amounts[rng.integers(3)] = amount
        pixels = jitter(square.permute(1, 2, 0).numpy(), rng, *amounts.tolist())
        found.append(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())
    return found


def penalty_squares(
    folder: str | None, side: int, grey: float, most: int, seed: int
) -> list[Tensor]:
    """Pictures of anything else, uint8 ``(3, side, side)``: the middle of twice the size.

    EfficientAD, Algorithm 1; a share ``grey`` of them without colour.

    Raises:
        DatasetError: The folder holds no pictures.
        InvalidImageError: One cannot be read.
    """
    if folder is None:
        return []
    place = Path(folder).expanduser()
    files = sorted(path for path in place.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DatasetError(
            f"penalty={folder!r} holds no pictures; give a folder of pictures of anything but the "
            f"product, or leave it out."
        )
    rng = np.random.default_rng((seed, 0, 4, 1))
    chosen = sorted(rng.permutation(len(files))[:most].tolist())
    found = []
    for number in chosen:
        pixels = torch.from_numpy(np.array(load_image(files[number]))).permute(2, 0, 1)[None]
        whole = F.interpolate(pixels, (2 * side, 2 * side), mode="bilinear", antialias=True)[0]
        middle = slice(side // 2, side // 2 + side)
        square = whole[:, middle, middle].contiguous()
        if rng.random() < grey:
            weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]  # ITU-R BT.601
            luma = (square.float() * weights).sum(0, keepdim=True).round()
            square = luma.to(torch.uint8).expand(3, -1, -1).contiguous()
        found.append(square)
    return found
