"""What matching is like between normal images: whose objects are always found again, whose not.

Being left over is a surprise only where it is rare. Each template is matched with the others; how
often an object finds its like there says what its absence from a query means, and how much is
usually left over in a query says what a further object means (ours; the paper scores neither).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fmlad.io.tensors import TensorReader

Floats = npt.NDArray[np.float64]

UNKNOWN = -1.0  # two templates that were not compared
CHANCE = 0.5  # half a match and half a failure that were never seen


@dataclass(frozen=True)
class MatchStatistics:
    """Results of matching templates with each other.

    Attributes:
        found: Per template ``(n, Z)``: 1 where its object has a like in the other template, 0 where
            it has none, ``UNKNOWN`` where the two were not compared.
        surplus: ``(Z, Z)``: weight of the objects of the first template, taken as a query, that are
            left over before the second; ``UNKNOWN`` where not compared.
    """

    found: tuple[Floats, ...]
    surplus: Floats

    def missing(self, template: int, exclude: frozenset[int]) -> Floats:
        """Surprise in nats, ``(n,)``, at a query that lacks each object of a template."""
        known = self._known(self.found[template], exclude)
        times, seen = (known == 1).sum(1), (known >= 0).sum(1)
        if not known.shape[1]:  # one template: absence is judged by the object's weight alone
            return np.full(len(known), math.log(1 / CHANCE))
        return np.asarray(-np.log(1 - (times + CHANCE) / (seen + 1)), dtype=np.float64)

    def extra(self, exclude: frozenset[int]) -> float:
        """Surprise in nats at one object that no template has."""
        kept = [i for i in range(len(self.surplus)) if i not in exclude]
        values = self.surplus[np.ix_(kept, kept)]
        values = values[values >= 0]
        if not len(values):
            return math.log(1 / CHANCE)
        rate = (values.sum() + CHANCE) / (len(values) + 1)
        return math.log(1 + 1 / rate)

    def unknown(self) -> MatchStatistics:
        """As if no two templates had been compared."""
        found = tuple(np.full_like(one, UNKNOWN) for one in self.found)
        return MatchStatistics(found, np.full_like(self.surplus, UNKNOWN))

    def _known(self, found: Floats, exclude: frozenset[int]) -> Floats:
        kept = [i for i in range(found.shape[1]) if i not in exclude]
        columns = found[:, kept]
        return columns[:, (columns >= 0).all(0)] if len(columns) else columns[:, :0]

    def tensors(self) -> dict[str, Tensor]:
        """float32 copies, to be saved."""
        named = {f"found.{i}": _saved(found) for i, found in enumerate(self.found)}
        return {**named, "surplus": _saved(self.surplus)}

    @classmethod
    def restore(cls, reader: TensorReader, objects: Sequence[int]) -> MatchStatistics:
        """Inverse of :meth:`tensors`, given the number of objects of each template.

        Raises:
            CorruptDetectorError: A tensor is missing or of another shape.
        """
        count = len(objects)
        found = tuple(
            reader.take(f"statistics.found.{i}", (number, count)).cpu().double().numpy()
            for i, number in enumerate(objects)
        )
        surplus = reader.take("statistics.surplus", (count, count)).cpu().double().numpy()
        return cls(found, surplus)


def _saved(array: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
