"""What ULSAD is trained on: the encoder's maps of images, kept or computed anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fmlad.methods.shared_encoder import Levels, SharedEncoder
from fmlad.methods.ulsad.training_config import TrainingConfig
from fmlad.networks.feature_maps import normalised
from fmlad.networks.reconstruction import Aggregator
from fmlad.progress import Progress

AT_ONCE = 8  # images that the encoder is given together


def given(squares: Tensor, levels: Levels, config: TrainingConfig) -> Tensor:
    """What the global autoencoder is given of images.

    Args:
        squares: uint8 ``(B, 3, side, side)``.
        levels: Of the encoder, ``(B, C, h, w)`` each.
        config: Says which.
    """
    if config.source == "levels":
        return levels[-1]
    return normalised(squares.to(levels[-1].device))


class Images:
    """Training images, uint8 ``(3, side, side)`` each, with what the encoder makes of them."""

    def __init__(
        self, squares: Sequence[Tensor], encoder: SharedEncoder, aggregator: Aggregator,
        config: TrainingConfig, progress: Progress,
    ) -> None:  # fmt: skip
        """Runs the encoder over all images where its maps are to be kept."""
        self._squares, self._encoder, self._aggregator = list(squares), encoder, aggregator
        self._config = config
        self._kept: list[tuple[Tensor, Tensor]] = []
        for start in range(0, len(squares) if config.cached else 0, AT_ONCE):
            rows = range(start, min(start + AT_ONCE, len(squares)))
            maps, deepest = self._seen(rows)
            if config.source == "pixels":
                deepest = deepest[:, :0]  # not needed
            self._kept += zip(maps.half().cpu(), deepest.half().cpu(), strict=True)
            progress(len(self._kept), len(squares), "reconstruction: features")

    def __len__(self) -> int:
        return len(self._squares)

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What is to be reconstructed of some images, and what the autoencoder is given of them."""
        maps, deepest = self._maps(rows)
        target: Tensor = self._aggregator.standard(maps)
        return target, self._given(rows, deepest)

    def each(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Of one image after another, ``(1, C, h, w)``: its maps, not normalised, and the same."""
        for row in range(len(self)):
            maps, deepest = self._maps([row])
            yield maps, self._given([row], deepest)

    def _given(self, rows: Sequence[int], deepest: Tensor) -> Tensor:
        squares = torch.stack([self._squares[row] for row in rows])
        return given(squares, (deepest,), self._config)

    def _maps(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        if not self._kept:
            return self._seen(rows)
        maps, deepest = zip(*(self._kept[row] for row in rows), strict=True)
        device = self._encoder.device
        return torch.stack(maps).float().to(device), torch.stack(deepest).float().to(device)

    @torch.no_grad()
    def _seen(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Joined maps and the deepest level, as the encoder has them."""
        levels = self._encoder.encode(torch.stack([self._squares[row] for row in rows]))
        return self._aggregator.raw(levels[1:]), levels[-1]
