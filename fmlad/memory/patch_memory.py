"""The patch bank over a set of shots: search anywhere, or around the same place.

PSAD's patch bank (Kim et al., AAAI 2024, section 3.4; PatchCore's memory without a coreset). Where
a query registers to a shot, a patch is compared around the same place only, so that a normal patch
in a wrong place has a large distance too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.io.tensors import TensorReader
from fmlad.memory.patch_index import PatchIndex, flatten, same_place_distances
from fmlad.memory.registration import (
    COARSE,
    REFINE,
    Edges,
    Fan,
    Registration,
    fan,
    register,
    sample_grid,
)


@dataclass(frozen=True)
class PatchFeatures:
    """What is compared of an image.

    Attributes:
        levels: Features ``(1, C, h, w)`` of the compared levels, finest first.
        pooled: ``(C,)``.
        edges: For registration; None for a symmetric copy, which serves the free search alone.
    """

    levels: tuple[Tensor, ...]
    pooled: Tensor
    edges: Edges | None


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
        return fan(_edges_of(self.features))


Registered = tuple[ShotPatches, Registration]


@dataclass(frozen=True)
class PatchMemory:
    """State of the patch bank.

    Attributes:
        memory: Shots first, in order, then their symmetric copies.
        placed: Whether the shots register to each other, so that patches are compared in place.
        ratio: Factor that brings distances found anywhere onto the scale of those found at the
            same place, measured on the shots.
        baseline: Largest distance at the same place of a left-out shot; 0 unless ``placed``.
    """

    memory: tuple[ShotPatches, ...]
    placed: bool
    ratio: float = 1.0
    baseline: float = 0.0
    _indices: dict[tuple[int, int], PatchIndex] = field(default_factory=dict, repr=False)
    _between: dict[tuple[int, int], Registration] = field(default_factory=dict, repr=False)

    @property
    def shots(self) -> int:
        """Number of shots, symmetric copies not counted."""
        return 1 + max(item.shot for item in self.memory)

    def kept(self, exclude: frozenset[int]) -> list[ShotPatches]:
        """Memory without some shots."""
        kept = [item for item in self.memory if item.shot not in exclude]
        if not kept:
            raise OptionError("All shots are excluded; at least one must stay.")
        return kept

    def with_place(
        self, at_place: Sequence[float], anywhere: Sequence[float], of: int
    ) -> PatchMemory:
        """A copy with ``placed``, ``ratio`` and ``baseline`` measured.

        By the largest distance of each shot that registered, ``of`` so many that were left out in
        turn: at the same place, and in the free search.
        """
        placed = 2 * len(at_place) > of
        ratio = max(at_place) / max(*anywhere, 1e-6) if placed else 1.0
        # Searching a window can only find what searching everywhere finds too.
        baseline = max(at_place) if placed else 0.0
        return replace(self, placed=placed, ratio=max(1.0, ratio), baseline=baseline)

    def registered(
        self, features: PatchFeatures, exclude: frozenset[int], least: float, references: int
    ) -> list[Registered]:
        """The nearest shots (at most ``references``) to which an image registers."""
        if features.edges is None:
            return []
        shots = [item for item in self.kept(exclude) if item.features.edges is not None]
        shots.sort(key=lambda item: float((item.features.pooled - features.pooled).norm()))
        # A left-out shot is registered twice: when places are learned and when it is judged.
        known = next((item for item in self.memory if item.features.edges is features.edges), None)
        found = [
            (item, self.between(known, item) if known else register(features.edges, item.fan))
            for item in shots[:references]
        ]
        return [(item, r) for item, r in found if r.confidence >= least]

    def between(self, item: ShotPatches, base: ShotPatches) -> Registration:
        """How one shot lies in another; estimated once."""
        key = (item.shot, base.shot)
        if key not in self._between:
            self._between[key] = register(_edges_of(item.features), base.fan)
        return self._between[key]

    def at_place(self, features: PatchFeatures, found: Sequence[Registered], window: int) -> Tensor:
        """Distances ``(h, w)`` around the same place in the shots found."""
        half = _edges_of(features).half
        maps = []
        for index, level in enumerate(features.levels):
            best = torch.full(level.shape[-2:], torch.inf, device=level.device)
            for item, registration in found:
                size = (level.shape[-2], level.shape[-1])
                grid = sample_grid(registration, half, item.fan.edges.half, size)
                there = item.features.levels[index]
                gap = same_place_distances(level, there, grid.to(level.device), window)
                best = torch.minimum(best, gap)
            maps.append(best)
        return _mean_map(maps)

    def anywhere(self, features: PatchFeatures, exclude: frozenset[int]) -> Tensor:
        """Distances ``(h, w)`` to the nearest patch of all shots that are not excluded."""
        kept = self.kept(exclude)
        maps = []
        for number, level in enumerate(features.levels):
            patches = flatten(level)
            found = [self._index(item, number).distances(patches) for item in kept]
            maps.append(torch.stack(found).amin(0).view(level.shape[-2:]))
        return _mean_map(maps)

    def _index(self, item: ShotPatches, level: int) -> PatchIndex:
        """The index of one shot's level, built once for all sets of left-out shots."""
        key = (id(item), level)
        if key not in self._indices:
            self._indices[key] = PatchIndex(flatten(item.features.levels[level]))
        return self._indices[key]

    def tensors(self) -> dict[str, Tensor]:
        """Features, pooled vectors and edges of everything remembered."""
        named = {}
        for number, item in enumerate(self.memory):
            named[f"{number}.pooled"] = item.features.pooled
            for level, features in enumerate(item.features.levels):
                named[f"{number}.level{level}"] = features
            if item.features.edges is not None:
                named[f"{number}.edges.coarse"] = item.features.edges.coarse
                for size, canvas in zip(REFINE, item.features.edges.fine, strict=True):
                    named[f"{number}.edges.{size}"] = canvas
        return {name: tensor.cpu().contiguous() for name, tensor in named.items()}

    def meta(self) -> dict[str, Any]:
        """Owners, picture shapes and the two facts learned from the shots."""
        edges = [item.features.edges for item in self.memory]
        return {
            "shots": [item.shot for item in self.memory],
            "levels": len(self.memory[0].features.levels),
            "halves": [list(e.half) if e else None for e in edges],
            "placed": self.placed,
            "ratio": self.ratio,
            "baseline": self.baseline,
        }

    @classmethod
    def restore(cls, reader: TensorReader, meta: Mapping[str, Any]) -> PatchMemory:
        """Inverse of :meth:`tensors` and :meth:`meta`.

        Raises:
            CorruptDetectorError: A tensor is missing or of another shape.
            KeyError, TypeError, ValueError: The description is unusable.
        """
        memory: list[ShotPatches] = []
        count, placed = meta["levels"], meta["placed"]
        ratio, baseline = float(meta["ratio"]), float(meta["baseline"])
        owners = list(zip(meta["shots"], meta["halves"], strict=True))
        for number, (shot, half) in enumerate(owners):
            first = memory[0].features if memory else None
            levels = tuple(
                reader.level(f"{number}.level{i}", first.levels[i].shape[1] if first else None)
                for i in range(int(count))
            )
            pooled = reader.take(f"{number}.pooled", (len(first.pooled) if first else None,))
            features = PatchFeatures(levels, pooled, _read_edges(reader, number, half))
            memory.append(ShotPatches(int(shot), features))
        originals = [item.shot for item in memory if item.features.edges is not None]
        if not originals and placed is False:  # without registration nothing has edges
            originals = list(dict.fromkeys(item.shot for item in memory))
        if (
            not memory
            or not memory[0].features.levels
            or originals != list(range(len(originals)))
            or not {item.shot for item in memory} <= set(originals)
            or not isinstance(placed, bool)
            or not (0 < ratio < math.inf and 0 <= baseline < math.inf)
        ):
            raise CorruptDetectorError("The saved bank's description contradicts itself.")
        return cls(tuple(memory), placed, ratio, baseline)


def _edges_of(features: PatchFeatures) -> Edges:
    if features.edges is None:
        raise RuntimeError("a symmetric copy is never registered")
    return features.edges


def _read_edges(reader: TensorReader, number: int, half: Sequence[float] | None) -> Edges | None:
    if half is None:
        return None
    width, height = (float(value) for value in half)
    if max(width, height) != 1 or min(width, height) <= 0:
        raise ValueError(f"halves of shot {number} are {half}")
    # Registration runs on the CPU: its canvases are small.
    coarse = reader.take(f"{number}.edges.coarse", (COARSE, COARSE)).cpu()
    fine = tuple(reader.take(f"{number}.edges.{size}", (size, size)).cpu() for size in REFINE)
    return Edges(coarse, fine, (width, height))


def _mean_map(maps: Sequence[Tensor]) -> Tensor:
    """Mean of maps ``(h, w)`` of different levels on the finest grid."""
    size = maps[0].shape
    rest = [F.interpolate(m[None, None], size, mode="bilinear")[0, 0] for m in maps[1:]]
    return torch.stack([maps[0], *rest]).mean(0)
