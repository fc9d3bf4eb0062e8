"""What the patch bank knows of an image, and of a shot."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from fmlad.memory.registration import Edges, Fan, fan


@dataclass(frozen=True)
class PatchFeatures:
    """What is compared of an image.

    Attributes:
        levels: Features ``(1, C, h, w)`` of the compared levels, finest first.
        pooled: ``(C,)``.
        edges: For registration; None for a symmetric copy, which serves the free search alone.
        appearance: Features ``(1, C, h, w)`` to compare at the same place; None: the levels.
    """

    levels: tuple[Tensor, ...]
    pooled: Tensor
    edges: Edges | None
    appearance: Tensor | None = None

    @property
    def aligned(self) -> tuple[Tensor, ...]:
        """What is compared at the same place."""
        return self.levels if self.appearance is None else (self.appearance,)


@dataclass(frozen=True)
class ShotPatches:
    """One shot, or a symmetric copy of one.

    Attributes:
        shot: Index of the shot it came from.
        features: Of the image.
    """

    shot: int
    features: PatchFeatures

    @cached_property
    def fan(self) -> Fan:
        """The shot's side of registration."""
        return fan(edges_of(self.features))


def edges_of(features: PatchFeatures) -> Edges:
    """Edges of an image that is registered."""
    if features.edges is None:
        raise RuntimeError("a symmetric copy is never registered")
    return features.edges
