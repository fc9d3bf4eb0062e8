"""Whole images remembered as templates: a coreset of the shots, and the nearest of them (faiss)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.memory.coreset import k_centre

CELLS = 16  # a side of the grid on which whole images are compared (SAM-LAD's own size)


def image_vector(level: Tensor) -> npt.NDArray[np.float32]:
    """A feature map ``(1, C, h, w)`` as one vector ``(C * 256,)``."""
    small = F.adaptive_avg_pool2d(level, CELLS)
    return np.ascontiguousarray(small.flatten().cpu().numpy(), dtype=np.float32)


class TemplateIndex:
    """Exact search for the nearest images by Euclidean distance."""

    def __init__(self, vectors: Sequence[npt.NDArray[np.float32]]) -> None:
        import faiss

        self._index = faiss.IndexFlatL2(len(vectors[0]))
        self._index.add(np.stack(vectors))

    def nearest(
        self, vector: npt.NDArray[np.float32], count: int, exclude: frozenset[int] = frozenset()
    ) -> list[int]:
        """Numbers of the ``count`` nearest images that are not excluded, the nearest first."""
        asked = min(count + len(exclude), self._index.ntotal)
        _, found = self._index.search(vector[None], asked)
        return [int(number) for number in found[0] if int(number) not in exclude][:count]


def coreset(vectors: Sequence[npt.NDArray[np.float32]], count: int) -> list[int]:
    """Numbers of ``count`` images, in order, that leave no other far from all of them.

    Greedy k-centre, from the image nearest to the mean (PatchCore's subsampling, on whole images).
    """
    if len(vectors) <= count:
        return list(range(len(vectors)))
    points = torch.from_numpy(np.stack(vectors)).double()
    first = int(torch.linalg.vector_norm(points - points.mean(0), dim=1).argmin())
    return sorted(set(k_centre(points, count, first)))
