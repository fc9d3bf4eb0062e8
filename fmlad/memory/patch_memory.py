"""The patch bank over a set of shots: search anywhere, or around the same place.

PSAD's patch bank (Kim et al., AAAI 2024, section 3.4; PatchCore's memory without a coreset). Where
a query registers to a shot, a patch is compared around the same place only, so that a normal patch
in a wrong place has a large distance too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fmlad.errors import CorruptDetectorError, OptionError
from fmlad.io.tensors import TensorReader
from fmlad.memory.free_search import FreeSearch, Join, Variation, joined, without_background
from fmlad.memory.patch_features import PatchFeatures, ShotPatches, edges_of
from fmlad.memory.patch_index import same_place_distances
from fmlad.memory.registration import COARSE, REFINE, Edges, Registration, register, sample_grid

Registered = tuple[ShotPatches, Registration]


@dataclass(frozen=True)
class PatchMemory:
    """State of the patch bank.

    Attributes:
        search: The search anywhere, over shots first, in order, then their symmetric copies.
        placed: Whether the shots register to each other, so that patches are compared in place.
        ratio: Factor that brings distances found anywhere onto the scale of those found at the
            same place, measured on the shots.
        baseline: Largest distance at the same place of a left-out shot; 0 unless ``placed``.
        background: Factor on the shots' largest excess (:func:`.free_search.excess`) up to which a
            map's own counts as background; None: maps keep their background.
        excesses: Excess of the map of each left-out shot, or of each altered copy of a single one;
            empty where maps keep their background.
    """

    search: FreeSearch
    placed: bool
    ratio: float = 1.0
    baseline: float = 0.0
    background: float | None = None
    excesses: tuple[float, ...] = ()
    _between: dict[tuple[int, int], Registration] = field(default_factory=dict, repr=False)

    @property
    def memory(self) -> tuple[ShotPatches, ...]:
        """Shots and symmetric copies."""
        return self.search.memory

    @property
    def shots(self) -> int:
        """Number of shots, symmetric copies not counted."""
        return self.search.shots

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

        Args:
            at_place: Largest distance of each left-out shot that registered, at the same place.
            anywhere: Those of the same shots in the free search.
            of: Number of shots that were left out in turn.
        """
        placed = 2 * len(at_place) > of
        ratio = max(at_place) / max(*anywhere, 1e-6) if placed else 1.0
        if self.memory[0].features.appearance is None:
            # Searching a window can only find what searching everywhere finds too.
            ratio = max(1.0, ratio)
        baseline = max(at_place) if placed else 0.0
        return replace(self, placed=placed, ratio=ratio or 1.0, baseline=baseline)

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
            self._between[key] = register(edges_of(item.features), base.fan)
        return self._between[key]

    def at_place(self, features: PatchFeatures, found: Sequence[Registered], window: int) -> Tensor:
        """Distances ``(h, w)`` around the same place in the shots found, on the finest grid."""
        half = edges_of(features).half
        maps = []
        for index, level in enumerate(features.aligned):
            best = torch.full(level.shape[-2:], torch.inf, device=level.device)
            for item, registration in found:
                size = (level.shape[-2], level.shape[-1])
                grid = sample_grid(registration, half, item.fan.edges.half, size)
                there = item.features.aligned[index]
                gap = same_place_distances(level, there, grid.to(level.device), window)
                best = torch.minimum(best, gap)
            maps.append(best)
        return joined(maps, self.search.join)

    def anywhere(
        self, features: PatchFeatures, exclude: frozenset[int], sigma: float = 0.0
    ) -> Tensor:
        """Distances ``(h, w)`` to the nearest patch of all shots that are not excluded.

        Smoothed by ``sigma`` of the finest level's cells, without background if that is wished.
        """
        self.kept(exclude)
        distances = self.search.map(features, exclude, sigma)
        if self.background is None:
            return distances
        # A single shot's excesses are those of its copies: nothing is left out of them.
        kept = [e for n, e in enumerate(self.excesses) if self.shots == 1 or n not in exclude]
        return without_background(distances, self.background * max(kept, default=0.0))

    def tensors(self) -> dict[str, Tensor]:
        """Features, pooled vectors and edges of everything remembered."""
        named = {}
        for number, item in enumerate(self.memory):
            named[f"{number}.pooled"] = item.features.pooled
            for level, features in enumerate(item.features.levels):
                named[f"{number}.level{level}"] = features
                if number < self.shots and self.search.varies:
                    variation = self.search.variation(number, level)
                    named[f"{number}.variation{level}"] = torch.stack(
                        [variation.nearest, variation.second, variation.owner.float()]
                    )
            if item.features.appearance is not None:
                named[f"{number}.appearance"] = item.features.appearance
            if item.features.edges is not None:
                named[f"{number}.edges.coarse"] = item.features.edges.coarse
                for size, canvas in zip(REFINE, item.features.edges.fine, strict=True):
                    named[f"{number}.edges.{size}"] = canvas
        return {name: tensor.cpu().contiguous() for name, tensor in named.items()}

    def meta(self) -> dict[str, Any]:
        """Owners, picture shapes, settings of the search and what was learned from the shots."""
        edges = [item.features.edges for item in self.memory]
        return {
            "shots": [item.shot for item in self.memory],
            "levels": len(self.memory[0].features.levels),
            "halves": [list(e.half) if e else None for e in edges],
            "placed": self.placed,
            "ratio": self.ratio,
            "baseline": self.baseline,
            "appearance": self.memory[0].features.appearance is not None,
            "variation": self.search.share,
            "join": self.search.join,
            "background": self.background,
            "excesses": list(self.excesses),
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
        share, background = float(meta["variation"]), meta["background"]
        excesses = tuple(float(value) for value in meta["excesses"])
        owners = list(zip(meta["shots"], meta["halves"], strict=True))
        known: dict[tuple[int, int], Variation] = {}
        for number, (shot, half) in enumerate(owners):
            first = memory[0].features if memory else None
            levels = tuple(
                reader.level(f"{number}.level{i}", first.levels[i].shape[1] if first else None)
                for i in range(int(count))
            )
            pooled = reader.take(f"{number}.pooled", (len(first.pooled) if first else None,))
            appearance = None
            if meta["appearance"] and half is not None:  # symmetric copies are never at a place
                channels = (
                    first.appearance.shape[1] if first and first.appearance is not None else None
                )
                appearance = reader.level(f"{number}.appearance", channels)
            edges = _read_edges(reader, number, half)
            memory.append(ShotPatches(int(shot), PatchFeatures(levels, pooled, edges, appearance)))
        search = FreeSearch(tuple(memory), share, _join(meta["join"]), known)
        originals = [item.shot for item in memory if item.features.edges is not None]
        if not originals and placed is False:  # without registration nothing has edges
            originals = list(dict.fromkeys(item.shot for item in memory))
        if (
            not memory
            or not memory[0].features.levels
            or originals != list(range(len(originals)))
            or not {item.shot for item in memory} <= set(originals)
            or not isinstance(placed, bool)
            or not (0 < ratio < math.inf and 0 <= baseline < math.inf and 0 <= share <= 1)
            or not all(0 <= value < math.inf for value in excesses)
            or not (background is None or 0 <= float(background) < math.inf)
            or (background is None) != (not excesses)
            or (bool(excesses) and search.shots > 1 and len(excesses) != search.shots)
        ):
            raise CorruptDetectorError("The saved bank's description contradicts itself.")
        for number in range(search.shots if search.varies else 0):
            for level, features in enumerate(memory[number].features.levels):
                cells = features.shape[-2] * features.shape[-1]
                table = reader.take(f"{number}.variation{level}", (3, cells))
                known[number, level] = Variation(table[0], table[2].long(), table[1])
        background = None if background is None else float(background)
        return cls(search, placed, ratio, baseline, background, excesses)


def _join(name: Any) -> Join:
    if name not in ("mean", "product"):
        raise ValueError(f"levels are joined by {name!r}")
    return "mean" if name == "mean" else "product"


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
