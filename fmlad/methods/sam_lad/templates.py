"""SAM-LAD's template bank: which shots a query is compared with (sections 3.2 and 3.3).

Equation 2 draws one of the k most alike shots; all later equations use all k of them, and so does
this. A coreset bounds the number of templates, so that 4 and 400 shots cost a query the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

CELLS = 16  # a side of the grid on which whole images are compared (the paper's own size)


def image_vector(level: Tensor) -> npt.NDArray[np.float32]:
    """A feature map ``(1, C, h, w)`` as one vector ``(C * 256,)``."""
    small = F.adaptive_avg_pool2d(level, CELLS)
    return np.ascontiguousarray(small.flatten().cpu().numpy(), dtype=np.float32)


class TemplateIndex:
    """Exact search for the most alike images (faiss)."""

    def __init__(self, vectors: Sequence[npt.NDArray[np.float32]]) -> None:
        import faiss

        self._index = faiss.IndexFlatL2(len(vectors[0]))
        self._index.add(np.stack(vectors))

    def nearest(
        self, vector: npt.NDArray[np.float32], count: int, exclude: frozenset[int] = frozenset()
    ) -> list[int]:
        """Numbers of the ``count`` most alike images but some, the most alike first."""
        asked = min(count + len(exclude), self._index.ntotal)
        _, found = self._index.search(vector[None], asked)
        return [int(number) for number in found[0] if int(number) not in exclude][:count]


def coreset(vectors: Sequence[npt.NDArray[np.float32]], count: int) -> list[int]:
    """Numbers of ``count`` images, in order, that leave no other far from all of them.

    Greedy k-centre, from the image nearest to the mean (PatchCore's subsampling, on whole images).
    """
    if len(vectors) <= count:
        return list(range(len(vectors)))
    points = np.stack(vectors).astype(np.float64)
    first = int(np.linalg.norm(points - points.mean(0), axis=1).argmin())
    chosen, gaps = [first], np.linalg.norm(points - points[first], axis=1)
    while len(chosen) < count:
        chosen.append(int(gaps.argmax()))
        gaps = np.minimum(gaps, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return sorted(set(chosen))
