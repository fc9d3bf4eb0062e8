"""Search of an image's patches anywhere in the shots, and what is normal for such distances.

Two things make the distance of a normal patch large: its surroundings vary among the shots too
(cereal, foil), and the image as a whole differs from them (another table, another light). Both are
taken off, ours:

- **variation**: of the distance to the nearest patch of the shots, a share of that patch's own
  distance to the nearest patch of the other shots. (PatchCore, Roth et al., CVPR 2022, Eq. 7, also
  weighs a distance by how isolated the nearest patch is, in the feature space of one bank.)
- **background**: what is common to a whole map, its median and up to its 0.9-quantile; see
  :func:`without_background`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.memory.change import smoothed
from fmlad.memory.patch_features import PatchFeatures, ShotPatches
from fmlad.memory.patch_index import PatchIndex, flatten

Join = Literal["mean", "product"]
LEAST_SHOTS = 3  # for a variation: with one shot left out there are two, each with another
HIGH = 0.9  # quantile that is still background
SMALL = 1e-6


@dataclass(frozen=True)
class Variation:
    """Distances of one level of a shot to the other shots, with any single one left out.

    Attributes:
        nearest: float32 ``(n,)``: distance of each patch to the nearest one of the other shots.
        owner: int64 ``(n,)``: the shot that has it.
        second: float32 ``(n,)``: the same without the owner; infinite where there is no other.
    """

    nearest: Tensor
    owner: Tensor
    second: Tensor

    def without(self, shot: int | None) -> Tensor:
        """Distances ``(n,)`` as if a shot had never been given."""
        if shot is None:
            return self.nearest
        return torch.where(self.owner == shot, self.second, self.nearest)


@dataclass(frozen=True)
class FreeSearch:
    """Nearest patches over a set of shots and their symmetric copies.

    Attributes:
        memory: Shots first, in order, then their symmetric copies.
        share: Share in [0, 1] of the variation that is taken off.
        join: How the maps of several levels become one: their mean, or geometric mean.
        known: Variations by number in the memory and level that need not be computed again.
    """

    memory: tuple[ShotPatches, ...]
    share: float = 0.0
    join: Join = "mean"
    known: dict[tuple[int, int], Variation] = field(default_factory=dict, repr=False)
    _indices: dict[tuple[int, int], PatchIndex] = field(default_factory=dict, repr=False)
    _maps: dict[tuple[int, float], Tensor] = field(default_factory=dict, repr=False)
    _rare: dict[tuple[int, int, frozenset[int]], Tensor] = field(default_factory=dict, repr=False)

    @property
    def shots(self) -> int:
        """Number of shots, symmetric copies not counted."""
        return 1 + max(item.shot for item in self.memory)

    @property
    def varies(self) -> bool:
        """Whether a variation is taken off."""
        return self.share > 0 and self.shots >= LEAST_SHOTS

    def map(self, features: PatchFeatures, exclude: frozenset[int], sigma: float) -> Tensor:
        """Distances ``(h, w)`` on the grid of the finest level, smoothed by ``sigma`` of its cells.

        Args:
            exclude: Shots left out, not all of them.
        """
        own = self._number(features)
        if own is None or exclude != {self.memory[own].shot}:
            return self._joined(features, exclude, sigma)
        # A left-out shot is judged twice: when the bank learns what is normal, and for the scales.
        if (own, sigma) not in self._maps:
            self._maps[own, sigma] = self._joined(features, exclude, sigma)
        return self._maps[own, sigma]

    def variation(self, number: int, level: int) -> Variation:
        """Of a member of the memory that is no symmetric copy."""
        if (number, level) not in self.known:
            item = self.memory[number]
            patches = flatten(item.features.levels[level])
            nearest = torch.full((len(patches),), torch.inf, device=patches.device)
            second, owner = nearest.clone(), torch.full_like(nearest, -1, dtype=torch.int64)
            for shot in (one for one in range(self.shots) if one != item.shot):
                gap = self._gap(patches, level, shot)
                closer = gap < nearest
                second = torch.where(closer, nearest, torch.minimum(second, gap))
                owner = torch.where(closer, shot, owner)
                nearest = torch.where(closer, gap, nearest)
            self.known[number, level] = Variation(nearest, owner, second)
        return self.known[number, level]

    def _gap(self, patches: Tensor, level: int, shot: int) -> Tensor:
        """Distance of each patch ``(n,)`` to the nearest one of a shot and its copies."""
        members = [n for n, item in enumerate(self.memory) if item.shot == shot]
        return torch.stack([self._index(n, level).search(patches)[0] for n in members]).amin(0)

    def _joined(self, features: PatchFeatures, exclude: frozenset[int], sigma: float) -> Tensor:
        levels = range(len(features.levels))
        return joined([self._level(features, n, exclude) for n in levels], self.join, sigma)

    def _level(self, features: PatchFeatures, level: int, exclude: frozenset[int]) -> Tensor:
        patches = flatten(features.levels[level])
        best = torch.full((len(patches),), torch.inf, device=patches.device)
        expected = torch.zeros_like(best)
        for number, item in enumerate(self.memory):
            if item.shot in exclude:
                continue
            distances, rows = self._index(number, level).search(patches)
            closer = distances < best
            best = torch.where(closer, distances, best)
            if self.varies:
                own = self._expected(number, level, exclude)
                own = own[rows] if own.ndim else own
                expected = torch.where(closer, own, expected)
        best = (best - self.share * expected).clamp_min(0)
        return best.view(features.levels[level].shape[-2:])

    def _expected(self, number: int, level: int, exclude: frozenset[int]) -> Tensor:
        """Variation of each patch ``(n,)``; of a symmetric copy its shot's median, ``()``."""
        shot = self.memory[number].shot
        if len(exclude) > 1:  # the same picture more than once among the shots
            own = self._rarely_expected(shot, level, exclude)
        else:
            own = self.variation(shot, level).without(next(iter(exclude), None))
        return own if number == shot else own.median()

    def _rarely_expected(self, shot: int, level: int, exclude: frozenset[int]) -> Tensor:
        """Variation ``(n,)`` of a shot with several others left out, by searching again."""
        key = (shot, level, exclude)
        if key not in self._rare:
            patches = flatten(self.memory[shot].features.levels[level])
            others = [one for one in range(self.shots) if one != shot and one not in exclude]
            gaps = [self._gap(patches, level, other) for other in others]
            # Of a shot without another nothing is known.
            self._rare[key] = torch.stack(gaps).amin(0) if gaps else patches.new_zeros(len(patches))
        return self._rare[key]

    def _number(self, features: PatchFeatures) -> int | None:
        finest = features.levels[0]
        found = (n for n, i in enumerate(self.memory) if i.features.levels[0] is finest)
        return next(found, None)

    def _index(self, number: int, level: int) -> PatchIndex:
        """The index of one level of one image, built once for all sets of left-out shots."""
        if (number, level) not in self._indices:
            features = self.memory[number].features.levels[level]
            self._indices[number, level] = PatchIndex(flatten(features))
        return self._indices[number, level]


def joined(maps: Sequence[Tensor], join: Join, sigma: float = 0.0) -> Tensor:
    """Maps ``(h, w)`` of several levels as one on the grid of the first, smoothed by ``sigma``."""
    size = maps[0].shape
    rest = [F.interpolate(m[None, None], size, mode="bilinear")[0, 0] for m in maps[1:]]
    on_one_grid = [smoothed(distances, sigma) for distances in (maps[0], *rest)]
    if not rest:
        return on_one_grid[0]
    stack = torch.stack(on_one_grid)
    return stack.mean(0) if join == "mean" else stack.clamp_min(SMALL).log().mean(0).exp()


def excess(distances: Tensor) -> float:
    """0.9-quantile of a map above its median."""
    return float(distances.quantile(HIGH) - distances.median())


def without_background(distances: Tensor, most: float) -> Tensor:
    """A map ``(h, w)`` less its median and less its :func:`excess`, never below 0.

    Args:
        most: Largest excess that counts as background, so that a defect on more than a tenth of the
            image is not taken for it.
    """
    level = distances.median() + min(excess(distances), most)
    return (distances - level).clamp_min(0)
