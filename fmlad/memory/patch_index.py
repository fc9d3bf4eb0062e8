"""Patch distances: to the nearest patch anywhere in the shots, or around the same place."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Patches per block of the distance matrix, of the query and of the bank: bounds its memory.
CHUNK, BANK_CHUNK = 4096, 65_536


def flatten(level: Tensor) -> Tensor:
    """``(1, C, h, w)`` -> patches ``(h * w, C)``, row by row."""
    return level[0].flatten(1).T.contiguous()


class PatchIndex:
    """Exact nearest-neighbour search over the patches of one image.

    faiss on the CPU, torch on an accelerator; both are exact, so the answer is the same.
    """

    def __init__(self, patches: Tensor) -> None:
        """Indexes patches ``(n, C)``, float32."""
        self._bank = patches
        self._index = None
        if patches.device.type == "cpu":
            import faiss

            self._index = faiss.IndexFlatL2(patches.shape[1])
            self._index.add(patches.numpy())

    def search(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest neighbour of each patch ``(n, C)``: Euclidean distance and row, ``(n,)`` each."""
        if self._index is None:
            return nearest(patches, self._bank)
        squared, rows = self._index.search(patches.numpy(), 1)
        distances = torch.from_numpy(squared[:, 0]).clamp_min(0).sqrt()
        return distances, torch.from_numpy(rows[:, 0])


def nearest(patches: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest patch of a bank ``(m, C)`` to each of ``(n, C)``: distance and row, ``(n,)`` each.

    On the device of the tensors, block by block.
    """
    distances, rows = [], []
    for block in torch.split(patches, CHUNK):
        best = torch.full((len(block),), torch.inf, device=block.device)
        row = torch.zeros(len(block), dtype=torch.int64, device=block.device)
        norms = block.square().sum(1, keepdim=True)
        for start in range(0, len(bank), BANK_CHUNK):
            part = bank[start : start + BANK_CHUNK]
            squared, index = (norms - 2 * block @ part.T + part.square().sum(1)).min(1)
            row = torch.where(squared < best, index + start, row)
            best = torch.minimum(best, squared)
        distances.append(best.clamp_min(0).sqrt())
        rows.append(row)
    return torch.cat(distances), torch.cat(rows)


def same_place_distances(query: Tensor, shot: Tensor, grid: Tensor, radius: int) -> Tensor:
    """Euclidean distance of each query cell to the best shot cell around the same place.

    The shot's map is resampled onto the query's cells, so that a shift by a fraction of a cell
    costs nothing; then all offsets up to ``radius`` cells compete.

    Args:
        query: ``(1, C, h, w)``.
        shot: ``(1, C, h', w')``.
        grid: Where the query's cells lie in the shot, ``(1, h, w, 2)`` for ``grid_sample``.
        radius: Half width of the search window in cells; 0 compares the very same place.

    Returns:
        ``(h, w)``.
    """
    height, width = query.shape[-2:]
    aligned = F.grid_sample(shot, grid, padding_mode="border", align_corners=False)
    padded = F.pad(aligned, (radius, radius, radius, radius), mode="replicate")
    best = torch.full((height, width), torch.inf, device=query.device)
    for top in range(2 * radius + 1):
        for left in range(2 * radius + 1):
            there = padded[..., top : top + height, left : left + width]
            best = torch.minimum(best, (query - there).square().sum(1)[0])
    return best.sqrt()
