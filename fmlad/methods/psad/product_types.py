"""Which labelled image an unlabelled one belongs to: the nearest to the pretrained encoder.

PSAD, "Handling Multiple Types of Products": products of one category differ in type, and the areas
of the parts are comparable within a type alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


def pooled(levels: Sequence[Tensor], inside: Sequence[tuple[float, float]]) -> Tensor:
    """Global means of an encoder's deepest map.

    Args:
        levels: float ``(B, C, h, w)`` each, the finest first.
        inside: Shares of rows and columns that the image fills, the rest being padding; one an
            image.

    Returns:
        float32 ``(B, C)``.
    """
    deepest = levels[-1].float()
    rows, columns = deepest.shape[-2:]
    means = [
        one[:, : max(1, round(rows * high)), : max(1, round(columns * wide))].mean((1, 2))
        for one, (high, wide) in zip(deepest, inside, strict=True)
    ]
    return torch.stack(means)


def nearest_labelled(unlabelled: Tensor, labelled: Tensor) -> list[int]:
    """For each unlabelled image the row of the labelled one next to it (Euclidean distance).

    Args:
        unlabelled: float ``(U, C)``, from :func:`pooled`.
        labelled: float ``(L, C)``, ``L >= 1``.
    """
    return [int(row) for row in torch.cdist(unlabelled, labelled).argmin(dim=1)]


class ProductTypes(nn.Module):
    """The labelled image of each unlabelled one; a module, so that a checkpoint has it."""

    rows: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.full((count,), -1))

    @property
    def known(self) -> bool:
        """Whether they were chosen."""
        return bool((self.rows >= 0).all())

    def settle(self, rows: Sequence[int]) -> None:
        """Chooses them."""
        self.rows.copy_(torch.tensor(rows))

    def of(self, rows: Iterable[int]) -> list[int]:
        """Those of some unlabelled images."""
        return [int(self.rows[row]) for row in rows]
