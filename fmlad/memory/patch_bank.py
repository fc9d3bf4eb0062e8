"""All patches of all training images in one matrix, and the nearest one to each of a query.

:class:`fmlad.memory.free_search.FreeSearch` searches image by image, because it needs to know how
a patch varies among the shots. Here the distance alone counts, and one product of matrices gives it
in a fifth of the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fmlad.errors import OptionError
from fmlad.memory.coreset import k_centre

BLOCK = 8192  # patches of the bank in one product: bounds the memory


class PatchBank:
    """Patches of some images, any of which may be left out (PSAD's ``M_patch``).

    Attributes:
        maps: float32 ``(h, w, C)`` of each image, whole.
    """

    def __init__(self, maps: Sequence[Tensor], share: float = 1.0) -> None:
        """Remembers maps ``(h, w, C)``, float32, one an image; grids may differ, C may not.

        Args:
            maps: At least one.
            share: Share of the patches of each image that queries are compared with, in (0, 1]:
                its :func:`spread_out` ones. Image by image, so that any may be left out; 1 is PSAD.
        """
        flat = [one.reshape(-1, one.shape[-1]) for one in maps]
        kept = [spread_out(one, round(share * len(one))) if share < 1 else one for one in flat]
        self.maps = list(maps)
        self._rows = torch.cat(kept)
        self._squares = self._rows.square().sum(1)
        ends = torch.tensor([len(one) for one in kept]).cumsum(0).tolist()
        self._places = [slice(end - len(one), end) for end, one in zip(ends, kept, strict=True)]
        if share == 1:  # one memory for both
            pairs = zip(self._places, maps, strict=True)
            self.maps = [self._rows[place].view(one.shape) for place, one in pairs]

    def distances(self, query: Tensor, exclude: frozenset[int] = frozenset()) -> Tensor:
        """Euclidean distance ``(h, w)`` of each patch ``(h, w, C)`` to the nearest in the bank.

        Args:
            query: On the bank's device.
            exclude: Indices of images left out.

        Raises:
            OptionError: All images are.
        """
        squares = self._left(exclude)
        patches = query.reshape(-1, query.shape[-1])
        best = torch.full((len(patches),), torch.inf, device=query.device)
        row = torch.zeros(len(patches), dtype=torch.int64, device=query.device)
        for start in range(0, len(self._rows), BLOCK):
            some = slice(start, start + BLOCK)
            # Less the square of the query, which is the same for all.
            found = torch.addmm(squares[some][None], patches, self._rows[some].T, alpha=-2)
            least, index = found.min(1)
            closer = least < best
            row = torch.where(closer, index + start, row)
            best = torch.where(closer, least, best)
        # Anew from the difference: rounding would leave a distance between equal patches.
        exact: Tensor = torch.linalg.vector_norm(patches - self._rows[row], dim=1)
        return exact.view(query.shape[:2])

    def left(self, exclude: frozenset[int] = frozenset()) -> list[Tensor]:
        """Patches ``(n_i, C)`` of each image that is not left out."""
        self._left(exclude)
        places = enumerate(self._places)
        return [self._rows[place] for number, place in places if number not in exclude]

    def _left(self, exclude: frozenset[int]) -> Tensor:
        """Squares ``(n,)`` of all patches, infinite where an image is left out."""
        if len(exclude.intersection(range(len(self.maps)))) == len(self.maps):
            raise OptionError("All training images are excluded; at least one must stay.")
        if not exclude:
            return self._squares
        squares = self._squares.clone()
        for number in exclude:
            squares[self._places[number]] = torch.inf
        return squares


def spread_out(patches: Tensor, count: int) -> Tensor:
    """Patches that are far from one another: k-centre from the patch farthest from the mean.

    Args:
        patches: float ``(n, C)``.
        count: 1 at least, whatever is asked; n at most.

    Returns:
        ``(count, C)``.
    """
    first = int(torch.linalg.vector_norm(patches - patches.mean(0), dim=1).argmax())
    return patches[k_centre(patches, min(count, len(patches)), first)]
